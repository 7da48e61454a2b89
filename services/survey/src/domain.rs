//! Whether to ask, what an answer changes, and what answers amount to: pure decisions.

mod decide;
mod invitation;
mod scores;

pub use decide::{Decision, History, decide};
pub use invitation::{Answered, Invitation, Rejected, State, kind_of};
pub use scores::{Tally, score};
