//! "Somebody must act on this case": the states of a work item and how they follow each other.

mod handover;
mod manner;
mod requests;
#[cfg(test)]
mod state_tests;
mod work;

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, OfferId, WorkItemId},
};

pub use handover::{ConsultEnd, Destination, Handover, HandoverNote, Second, Wanted};
pub use manner::{Manner, Way};
pub use requests::{Asked, Request, WithdrawReason, Withdrawal, is_newer, request, tombstone};
pub use work::{Done, Returned};

use super::Route;

/// A work item held for one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The offer.
    pub offer: OfferId,
    /// For whom.
    pub agent: AgentId,
    /// Units of the agent that it holds.
    pub units: i32,
    /// When it lapses.
    pub until: DateTime<Utc>,
}

/// Whether work in hand is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It is.
    No,
    /// The conversation rests: its units are free until the customer comes back.
    Parked,
    /// The agent is on a call: its units are free until the call ends.
    Paused,
}

/// Work in an agent's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// The offer that was accepted.
    pub offer: OfferId,
    /// Who.
    pub agent: AgentId,
    /// Units in use; 0 while it rests.
    pub units: i32,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// Where an item stands.
#[expect(
    clippy::large_enum_variant,
    reason = "they live one at a time in a batch; a box each would cost more than it saves"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waiting in its queue.
    Pending,
    /// Held for one agent.
    Offered(Hold),
    /// An agent works on it.
    Assigned {
        /// Who.
        hand: Hand,
        /// Whether it rests.
        rest: Rest,
        /// Who is asked or takes over.
        second: Option<Second>,
    },
    /// Done but for the notes; the units are still held.
    Wrapping {
        /// Who.
        hand: Hand,
        /// When the work was done.
        done_at: DateTime<Utc>,
        /// When it ends by itself.
        until: DateTime<Utc>,
    },
    /// Done.
    Completed {
        /// By whom; nobody when it was answered without an offer.
        agent: Option<AgentId>,
        /// When they had taken it.
        assigned_at: Option<DateTime<Utc>>,
        /// When.
        at: DateTime<Utc>,
    },
    /// No longer wanted before anybody took it.
    Cancelled {
        /// When.
        at: DateTime<Utc>,
    },
    /// The customer left before anybody took it.
    Abandoned {
        /// When.
        at: DateTime<Utc>,
    },
}

impl State {
    /// What it is called.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Offered(_) => "offered",
            Self::Assigned { .. } => "assigned",
            Self::Wrapping { .. } => "wrapping",
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::Abandoned { .. } => "abandoned",
        }
    }
}

/// The first answer of an agent, as figures count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// When.
    pub at: DateTime<Utc>,
    /// On which kind of channel.
    pub channel: ChannelKind,
    /// Whether in time.
    pub in_target: bool,
}

/// One "somebody must act".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkItem {
    /// Id.
    pub id: WorkItemId,
    /// The case.
    pub case_id: CaseId,
    /// The how manieth of its case.
    pub number: i32,
    /// Optimistic version; 0 before it is stored.
    pub version: i64,
    /// Revision of the last request or withdrawal it knows.
    pub revision: i64,
    /// Where and how it waits.
    pub route: Route,
    /// Kind of channel of the customer's last word.
    pub channel: ChannelKind,
    /// Since when the customer waits; kept over channel switches.
    pub waiting_since: DateTime<Utc>,
    /// Since when it waits in this queue; a transfer starts this anew, not the customer's clock.
    pub queued_at: DateTime<Utc>,
    /// Who should get it if available.
    pub preferred: Option<AgentId>,
    /// Who alone may get it, for a while.
    pub pinned: Option<AgentId>,
    /// Who declined it or let it lapse.
    pub excluded: Vec<Exclusion>,
    /// How often it was handed over.
    pub transfers: i32,
    /// What the next agent is told about a hand-over.
    pub handover: Option<HandoverNote>,
    /// Encoded context, when it is new; what is stored stays otherwise.
    pub snapshot: Option<Vec<u8>>,
    /// Trace of the request that was last worked in: its offers belong to it.
    pub trace: Option<String>,
    /// First answer.
    pub answered: Option<Answered>,
    /// How the customer waits.
    pub manner: Manner,
    /// Where it stands.
    pub state: State,
}

/// A command that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Only waiting work is offered.
    #[error("the work item is not waiting")]
    NotWaiting,
    /// Too late or too early.
    #[error("the offer is no longer open: it was accepted, declined, lapsed or rescinded")]
    NotOffered,
    /// Too late.
    #[error("the offer lapsed at {0}")]
    Lapsed(DateTime<Utc>),
    /// Somebody else's.
    #[error("the work is offered or assigned to another agent")]
    NotYours,
    /// Nobody works on it.
    #[error("the work item is not assigned")]
    NotAssigned,
    /// The work is not done yet.
    #[error("the work item is not in wrap-up")]
    NotWrapping,
    /// One at a time.
    #[error("somebody is asked already: end that first")]
    AlreadyAsked,
    /// Nobody was asked.
    #[error("nobody is asked about this work")]
    NobodyAsked,
    /// Only who has joined can go on.
    #[error("the second agent has not accepted yet")]
    NotJoined,
    /// A caller waits for each word.
    #[error("live work cannot rest: the customer is there")]
    Live,
    /// Only callers are called back.
    #[error("only who waits for a call can be called back")]
    NoCall,
    /// As often as the queue allows.
    #[error("they were called {0} times, as often as the queue allows: complete the work")]
    CalledEnough(u32),
    /// It is over.
    #[error("the work item is over")]
    Over,
}

impl WorkItem {
    /// Whether it is neither done nor cancelled.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Pending | State::Offered(_) | State::Assigned { .. } | State::Wrapping { .. } => true,
            State::Completed { .. } | State::Cancelled { .. } | State::Abandoned { .. } => false,
        }
    }

    /// Who has it in hand as its owner, and by which offer.
    pub fn in_hand(&self) -> Option<(&AgentId, OfferId)> {
        match &self.state {
            State::Offered(hold) => Some((&hold.agent, hold.offer)),
            State::Assigned { hand, .. } | State::Wrapping { hand, .. } => Some((&hand.agent, hand.offer)),
            State::Pending | State::Completed { .. } | State::Cancelled { .. } | State::Abandoned { .. } => {
                None
            }
        }
    }

    /// The second agent, if one is asked.
    pub fn second(&self) -> Option<&Second> {
        match &self.state {
            State::Assigned { second, .. } => second.as_ref(),
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => None,
        }
    }

    /// Every agent whom this item concerns now.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        let second = self.second().and_then(Second::agent);
        self.in_hand().map(|(agent, _)| agent).into_iter().chain(second)
    }

    /// Until when it is for the agent whom it was given to by name: then anybody may have it, so that it does not wait for
    /// ever for somebody who has no time.
    pub fn pinned_until(&self) -> DateTime<Utc> {
        self.queued_at + self.route.target
    }

    /// Who alone may get it now.
    pub fn pinned_now(&self, now: DateTime<Utc>) -> Option<&AgentId> {
        self.pinned.as_ref().filter(|_| now < self.pinned_until())
    }

    /// Until when it waits for the agent who knows it: never beyond the promise.
    pub fn preferred_until(&self) -> Option<DateTime<Utc>> {
        let wait = Some(self.route.preferred_wait).filter(|wait| *wait > TimeDelta::zero())?;
        Some(
            (self.queued_at + wait)
                .min(self.route.due_at)
                .min(self.route.ranking_due_at),
        )
    }

    fn exclude(&mut self, agent: &AgentId, now: DateTime<Utc>) {
        match self.excluded.iter_mut().find(|e| e.agent == *agent) {
            Some(known) => {
                known.times += 1;
                known.at = now;
            }
            None => self.excluded.push(Exclusion {
                agent: agent.clone(),
                at: now,
                times: 1,
            }),
        }
    }
}

/// Somebody who is not asked again for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Who.
    pub agent: AgentId,
    /// Since when.
    pub at: DateTime<Utc>,
    /// How often they gave it back.
    pub times: u32,
}

impl Exclusion {
    /// Until when. It grows with each time, but it ends: work that only one agent can do must not wait for ever.
    pub fn until(&self, ask_again: TimeDelta) -> DateTime<Utc> {
        let times = i32::try_from(self.times.clamp(1, 12)).unwrap_or(12);
        self.at + (ask_again * times).min(TimeDelta::hours(1))
    }
}
