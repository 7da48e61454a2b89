//! Where work waits, who waits how long, and who gets it.

mod entitlement;
mod matching;
mod policy;
mod queue;
mod skills;
#[cfg(test)]
mod tests;
mod words;

pub use entitlement::EntitlementSpec;
pub use matching::{
    ChannelCapacity, ChoiceSpec, MatchingSpec, OffersSpec, RankingSpec, ReserveSize, ReserveSpec,
    SteeringSpec,
};
pub use policy::{AgentOrder, RoutingPolicySpec, RoutingRule, WideningStep};
pub use queue::{Asked, Callback, Overflow, OverflowAction, PreferredAgent, QueueSpec, ServiceLevel};
pub use skills::{LEVELS, Skills};
pub use words::{CASE_KINDS, CHANNELS, MOODS, QueueWords, WorkWords};

const fn one() -> f64 {
    1.0
}

fn positive(number: f64) -> bool {
    number > 0.0 && number.is_finite()
}
