//! Policies of others, as they publish them, to be compared with ours: models of their rules, not their products.
//!
//! All share one mechanism ([`bench::Bench`]): items of equal requirement wait in one bucket, and only the first ones
//! of the buckets are compared.

mod bench;
mod floor;
mod strict;
mod time_to_breach;

use super::Router;

use self::{
    bench::Bench,
    strict::{EarliestDeadline, Fifo, StrictPriority},
    time_to_breach::TimeToBreach,
};

/// A baseline's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// One queue by age, longest idle agent: Asterisk's app_queue.
    Fifo,
    /// Strict weights of channels, then age: Asterisk's queue weights.
    AsteriskWeights,
    /// Strict priority of channel and entitlement, then age; targets widen: Twilio TaskRouter.
    TaskRouter,
    /// The same, and calls interrupt email and reviews, as Genesys and Salesforce do.
    TaskRouterInterrupt,
    /// Earliest deadline over all channels.
    EarliestDeadline,
    /// The prototype that ours grew from: least time to breach first, overdue work behind.
    TimeToBreach,
}

impl Baseline {
    /// All, from the simplest.
    pub const ALL: [Self; 6] = [
        Self::Fifo,
        Self::AsteriskWeights,
        Self::TaskRouter,
        Self::TaskRouterInterrupt,
        Self::EarliestDeadline,
        Self::TimeToBreach,
    ];

    /// As tables say it; the same names as in the reference simulator.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::AsteriskWeights => "asterisk_weights",
            Self::TaskRouter => "taskrouter",
            Self::TaskRouterInterrupt => "taskrouter_int",
            Self::EarliestDeadline => "edf",
            Self::TimeToBreach => "sla_slack",
        }
    }

    /// A fresh one for a day.
    pub fn router(self) -> Box<dyn Router> {
        match self {
            Self::Fifo => Box::new(Bench::new(Fifo)),
            Self::AsteriskWeights => Box::new(Bench::new(StrictPriority::ASTERISK)),
            Self::TaskRouter => Box::new(Bench::new(StrictPriority::TASK_ROUTER)),
            Self::TaskRouterInterrupt => Box::new(Bench::new(StrictPriority::TASK_ROUTER_INTERRUPT)),
            Self::EarliestDeadline => Box::new(Bench::new(EarliestDeadline)),
            Self::TimeToBreach => Box::new(Bench::new(TimeToBreach::default())),
        }
    }
}
