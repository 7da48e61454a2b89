//! A tenant's policy applied to one piece of work: where it waits, until when, and whom it asks for. Pure; figures and
//! `now` are arguments.

mod facts;
mod matching;
mod overflow;
mod route;
mod widen;

pub use facts::Facts;
pub use matching::matcher_policy;
pub use overflow::{Instead, Overflowed, QueueFigures, Stage, overflow};
pub use route::{Requirement, Route, Step, route, route_to};
