//! What routing decides: pure, `now` is an argument.

mod agent;
pub mod hours;
mod item;
mod policy;
mod rules;

pub use agent::{Agent, Presence};
pub use item::{
    Answered, Asked, ConsultEnd, Destination, Done, Exclusion, Hand, Handover, HandoverNote, Hold, Manner,
    Rejected, Request, Rest, Returned, Second, State, Wanted, Way, WithdrawReason, Withdrawal, WorkItem,
    is_newer, request, tombstone,
};
pub use policy::*;
pub use rules::Rules;
