//! Use cases.

mod answer;
mod ask;
mod privacy;
mod resolved;

pub use answer::{Given, Undelivered, answered, one, undelivered};
pub use ask::{ASK, LAPSE, ask_due, lapse_due};
pub use privacy::Holding;
pub use resolved::{Resolved, invite};
