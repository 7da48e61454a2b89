//! What may become of a message: pure decisions.

mod backoff;
mod outcome;
mod route;

pub use backoff::{Backoff, pause};
pub use outcome::{Change, Receipt, Standing, receipt};
pub use route::{Decision, Question, Route, decide, needs_identity, way};
