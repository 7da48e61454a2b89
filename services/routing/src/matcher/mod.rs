//! The matcher: who waits, who has room, and who gets what.
//!
//! One [`Engine`] is one routing domain: one writer, in memory, synchronous and deterministic. It has no clock, no
//! task and no store; `now` is an argument and ids are the caller's. The dispatcher serves with it, `trama routing
//! engine` and the simulator run days through it: it is the same code.
//!
//! - Waiting work goes by least time to breach, on the clock of the customer's whole journey ([`Policy`]).
//! - What an item requires widens with time; items of equal requirement form a class, and only its head is ranked.
//! - Agents of equal ability and equal room form a line, longest idle first.
//! - A decision looks at what changed since the last one, so its cost does not grow with the queue.

mod bits;
mod check;
mod choose;
mod decide;
mod engine;
mod explain;
mod facts;
mod feedback;
#[cfg(test)]
mod model_tests;
mod passed;
mod people;
mod policy;
mod queue;
#[cfg(test)]
mod rule_tests;
mod spec;
mod staff;
mod timers;
mod words;

pub use check::{CheckCursor, Violation};
pub use decide::{Decision, Proposal};
pub use engine::Engine;
pub use explain::{Because, Obstacle, Passed, Waiting, Why};
pub use feedback::CellResult;
pub use policy::{ChannelRule, Choice, Offers, Policy, Preferred, Ranking, Reserve, ReserveSize, Steering};
pub use spec::{AgentSpec, AskedFirst, ItemSpec, Presence, Requirement, Stage, Step};
pub use words::{AgentKey, Cell, Channel, ItemKey, Language, Millis, Skill, Team, Vocabulary};
