//! What routing decides: pure, `now` is an argument.

mod agent;
mod item;
mod matcher;
#[cfg(test)]
mod model_tests;
mod route;

pub use agent::{Agent, Need, Presence};
pub use item::{
    Answered, Done, Hold, Rejected, Request, State, WithdrawReason, Withdrawal, WorkItem, is_newer, request,
    tombstone,
};
pub use matcher::{Match, decide};
pub use route::{Facts, Route, route};
