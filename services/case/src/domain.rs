//! What a case is, where it may go and which need a word of the customer belongs to. Pure: `now` is an argument.

mod case;
mod line;
mod placement;
mod speaker;
mod state;

pub use case::{ASSISTANT, Case, Heard, Kind, NewCase};
pub use line::{Line, OutboundStatus};
pub use placement::{Expectation, Placement, Said, place};
pub use speaker::{Asked, Speaker};
pub use state::{Live, State};
