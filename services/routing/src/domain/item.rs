//! "Somebody must act on this case": the states of a work item and how they follow each other.

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId},
};

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

/// Where an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waiting in its queue.
    Pending,
    /// Held for one agent.
    Offered(Hold),
    /// An agent works on it.
    Assigned {
        /// The offer that was accepted.
        offer: OfferId,
        /// Who.
        agent: AgentId,
        /// Units in use.
        units: i32,
        /// Since when.
        at: DateTime<Utc>,
    },
    /// Done.
    Completed {
        /// By whom.
        agent: AgentId,
        /// When they had taken it.
        assigned_at: DateTime<Utc>,
        /// When.
        at: DateTime<Utc>,
    },
    /// No longer wanted before anybody took it.
    Cancelled {
        /// When.
        at: DateTime<Utc>,
    },
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
    /// By when it must be answered.
    pub due_at: DateTime<Utc>,
    /// Kind of channel of the customer's last word.
    pub channel: ChannelKind,
    /// Since when the customer waits; kept over channel switches.
    pub waiting_since: DateTime<Utc>,
    /// Who should get it if available.
    pub preferred: Option<AgentId>,
    /// Who declined it or let it lapse.
    pub excluded: Vec<AgentId>,
    /// Encoded context, when it is new; what is stored stays otherwise.
    pub snapshot: Option<Vec<u8>>,
    /// First answer.
    pub answered: Option<Answered>,
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
}

/// Somebody must act, as parsed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The case.
    pub case_id: CaseId,
    /// Grows with every request.
    pub revision: i64,
    /// Kind of channel of the customer's last word.
    pub channel: ChannelKind,
    /// Since when the customer waits.
    pub waiting_since: DateTime<Utc>,
    /// Who should get it if available.
    pub preferred: Option<AgentId>,
    /// Encoded context.
    pub snapshot: Vec<u8>,
    /// Where it shall wait.
    pub route: Route,
}

/// Why nobody needs to act any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawReason {
    /// The need is met.
    Resolved,
    /// The case is part of another one.
    Merged,
    /// It was answered and waits for the customer.
    Answered,
}

/// Work that an agent finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Who.
    pub agent: AgentId,
    /// The offer by which they had it.
    pub offer: OfferId,
    /// Units that are free again.
    pub units: i32,
    /// From acceptance to completion.
    pub handle_seconds: i64,
}

/// What a withdrawal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// It was over already, or goes on.
    Nothing,
    /// It left the queue.
    Cancelled,
    /// It was taken back from an agent who had not answered.
    Rescinded(Hold),
    /// The agent's part is done.
    Completed(Done),
}

/// Whether a message with this revision says anything new. A withdrawal may carry the revision of what it withdraws.
pub fn is_newer(last: Option<&WorkItem>, revision: i64, withdrawal: bool) -> bool {
    last.is_none_or(|item| revision > item.revision || (withdrawal && revision == item.revision))
}

/// Works in a request: the open item learns, or the case gets its next one.
pub fn request(tenant: &TenantId, last: Option<WorkItem>, request: Request) -> WorkItem {
    let number = match last {
        Some(item) if item.is_open() => return item.learn(request),
        Some(item) => item.number + 1,
        None => 1,
    };
    let (case, count) = (request.case_id.uuid(), number.to_be_bytes());
    WorkItem {
        id: WorkItemId::derived(&[b"work-item", tenant.as_str().as_bytes(), case.as_bytes(), &count]),
        case_id: request.case_id,
        number,
        version: 0,
        revision: request.revision,
        due_at: request.waiting_since + request.route.target,
        route: request.route,
        channel: request.channel,
        waiting_since: request.waiting_since,
        preferred: request.preferred,
        excluded: Vec::new(),
        snapshot: Some(request.snapshot),
        answered: None,
        state: State::Pending,
    }
}

impl WorkItem {
    /// Whether it is neither done nor cancelled.
    pub fn is_open(&self) -> bool {
        match self.state {
            State::Pending | State::Offered(_) | State::Assigned { .. } => true,
            State::Completed { .. } | State::Cancelled { .. } => false,
        }
    }

    /// Who has it in hand, and by which offer.
    pub fn in_hand(&self) -> Option<(&AgentId, OfferId)> {
        match &self.state {
            State::Offered(hold) => Some((&hold.agent, hold.offer)),
            State::Assigned { agent, offer, .. } => Some((agent, *offer)),
            State::Pending | State::Completed { .. } | State::Cancelled { .. } => None,
        }
    }

    /// The order in which waiting work is offered.
    pub fn rank(&self) -> impl Ord + use<> {
        (
            std::cmp::Reverse(self.route.priority),
            self.due_at,
            self.waiting_since,
            self.id,
        )
    }

    /// Takes in what a later request says; its place stays: the customer waits since they began to.
    fn learn(mut self, request: Request) -> Self {
        self.revision = request.revision;
        self.waiting_since = self.waiting_since.min(request.waiting_since);
        self.due_at = self.waiting_since + request.route.target;
        self.route = request.route;
        self.channel = request.channel;
        self.preferred = request.preferred.or(self.preferred);
        self.snapshot = Some(request.snapshot);
        self
    }

    /// Holds it for an agent.
    pub fn offer(mut self, hold: Hold) -> Result<Self, Rejected> {
        match self.state {
            State::Pending => {
                self.state = State::Offered(hold);
                Ok(self)
            }
            State::Offered(_)
            | State::Assigned { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => Err(Rejected::NotWaiting),
        }
    }

    /// The agent takes it.
    pub fn accept(mut self, offer: OfferId, agent: &AgentId, now: DateTime<Utc>) -> Result<Self, Rejected> {
        let hold = self.held(offer, agent)?.clone();
        if hold.until <= now {
            return Err(Rejected::Lapsed(hold.until));
        }
        self.state = State::Assigned {
            offer,
            agent: hold.agent,
            units: hold.units,
            at: now,
        };
        if self.answered.is_none() {
            self.answered = Some(Answered {
                at: now,
                channel: self.channel,
                in_target: now <= self.due_at,
            });
        }
        Ok(self)
    }

    /// The offer came to nothing; the item keeps its place. `exclude`: not to this agent again.
    pub fn give_back(
        mut self,
        offer: OfferId,
        agent: &AgentId,
        exclude: bool,
    ) -> Result<(Self, Hold), Rejected> {
        let hold = self.held(offer, agent)?.clone();
        if exclude && !self.excluded.contains(&hold.agent) {
            self.excluded.push(hold.agent.clone());
        }
        self.state = State::Pending;
        Ok((self, hold))
    }

    /// The agent's part is done.
    pub fn complete(mut self, now: DateTime<Utc>) -> Result<(Self, Done), Rejected> {
        match self.state {
            State::Assigned {
                offer,
                agent,
                units,
                at,
            } => {
                let handle_seconds = (now - at).num_seconds().max(0);
                self.state = State::Completed {
                    agent: agent.clone(),
                    assigned_at: at,
                    at: now,
                };
                Ok((
                    self,
                    Done {
                        agent,
                        offer,
                        units,
                        handle_seconds,
                    },
                ))
            }
            State::Pending | State::Offered(_) | State::Completed { .. } | State::Cancelled { .. } => {
                Err(Rejected::NotAssigned)
            }
        }
    }

    /// Nobody needs to act any more. Who works on it goes on when it was only answered.
    pub fn withdraw(
        mut self,
        revision: i64,
        reason: WithdrawReason,
        now: DateTime<Utc>,
    ) -> (Self, Withdrawal) {
        self.revision = self.revision.max(revision);
        match self.state {
            State::Pending => {
                self.state = State::Cancelled { at: now };
                (self, Withdrawal::Cancelled)
            }
            State::Offered(hold) => {
                self.state = State::Cancelled { at: now };
                (self, Withdrawal::Rescinded(hold))
            }
            State::Assigned {
                offer,
                agent,
                units,
                at,
            } => match reason {
                WithdrawReason::Resolved | WithdrawReason::Merged => {
                    let handle_seconds = (now - at).num_seconds().max(0);
                    self.state = State::Completed {
                        agent: agent.clone(),
                        assigned_at: at,
                        at: now,
                    };
                    (
                        self,
                        Withdrawal::Completed(Done {
                            agent,
                            offer,
                            units,
                            handle_seconds,
                        }),
                    )
                }
                WithdrawReason::Answered => {
                    self.state = State::Assigned {
                        offer,
                        agent,
                        units,
                        at,
                    };
                    (self, Withdrawal::Nothing)
                }
            },
            State::Completed { .. } | State::Cancelled { .. } => (self, Withdrawal::Nothing),
        }
    }

    fn held(&self, offer: OfferId, agent: &AgentId) -> Result<&Hold, Rejected> {
        match &self.state {
            State::Offered(hold) if hold.offer == offer && hold.agent == *agent => Ok(hold),
            State::Offered(hold) if hold.offer == offer => Err(Rejected::NotYours),
            State::Offered(_)
            | State::Pending
            | State::Assigned { .. }
            | State::Completed { .. }
            | State::Cancelled { .. } => Err(Rejected::NotOffered),
        }
    }
}

/// What stands for a case whose withdrawal overtook its request: number 0, cancelled, kept for its revision.
pub fn tombstone(tenant: &TenantId, case_id: CaseId, revision: i64, now: DateTime<Utc>) -> WorkItem {
    let (case, count) = (case_id.uuid(), 0_i32.to_be_bytes());
    WorkItem {
        id: WorkItemId::derived(&[b"work-item", tenant.as_str().as_bytes(), case.as_bytes(), &count]),
        case_id,
        number: 0,
        version: 0,
        revision,
        route: Route::nowhere(),
        due_at: now,
        channel: ChannelKind::Unspecified,
        waiting_since: now,
        preferred: None,
        excluded: Vec::new(),
        snapshot: None,
        answered: None,
        state: State::Cancelled { at: now },
    }
}
