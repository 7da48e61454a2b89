//! Use cases.

mod outcome;
mod privacy;
mod queue;
mod receipts;
mod sender;
mod settle;

pub use privacy::Holding;
pub use queue::{Asked, queue};
pub use receipts::{Received, apply};
pub use sender::Sender;
