//! What a case says: somebody must act, or nobody needs to any more.

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, TenantId, WorkItemId},
};

use super::{Done, Hold, Rest, State, WorkItem};
use crate::domain::Route;

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
    /// The caller hung up before anybody took the call.
    pub customer_left: bool,
    /// Encoded context.
    pub snapshot: Vec<u8>,
    /// Where it shall wait.
    pub route: Route,
}

/// What a request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It waits: new, or with what it learnt.
    Waits,
    /// Who has it in hand sees the news.
    InHand,
    /// The customer is back: who has it goes on, if they have room.
    ComesBack,
    /// The customer has left before anybody took it; the offer is rescinded.
    Left(Option<Hold>),
    /// Nothing but the revision.
    Nothing,
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

/// What a withdrawal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// It was over already.
    Nothing,
    /// It left the queue.
    Left,
    /// It was taken back from an agent who had not answered.
    Rescinded(Hold),
    /// The agent's part is done.
    Completed(Done),
    /// It was answered: the conversation may come to rest.
    GoesOn,
}

/// Whether a message with this revision says anything new. A withdrawal may carry the revision of what it withdraws.
pub fn is_newer(last: Option<&WorkItem>, revision: i64, withdrawal: bool) -> bool {
    last.is_none_or(|item| revision > item.revision || (withdrawal && revision == item.revision))
}

/// Works in a request: the open item learns, or the case gets its next one.
pub fn request(
    tenant: &TenantId,
    last: Option<WorkItem>,
    request: Request,
    now: DateTime<Utc>,
) -> (WorkItem, Asked) {
    let left = request.customer_left && request.channel == ChannelKind::Voice;
    let number = match last {
        Some(item) if item.is_open() => return item.learn(request, left, now),
        // Told again of the same caller who left: they are not counted twice.
        Some(mut item)
            if left
                && matches!(item.state, State::Abandoned { .. })
                && item.waiting_since == request.waiting_since =>
        {
            item.revision = request.revision;
            return (item, Asked::Nothing);
        }
        Some(item) => item.number + 1,
        None => 1,
    };
    let (case, count) = (request.case_id.uuid(), number.to_be_bytes());
    let item = WorkItem {
        id: WorkItemId::derived(&[b"work-item", tenant.as_str().as_bytes(), case.as_bytes(), &count]),
        case_id: request.case_id,
        number,
        version: 0,
        revision: request.revision,
        route: request.route,
        channel: request.channel,
        waiting_since: request.waiting_since,
        queued_at: now,
        preferred: request.preferred,
        pinned: None,
        excluded: Vec::new(),
        transfers: 0,
        handover: None,
        snapshot: Some(request.snapshot),
        answered: None,
        state: if left {
            State::Abandoned { at: now }
        } else {
            State::Pending
        },
    };
    (item, if left { Asked::Left(None) } else { Asked::Waits })
}

impl WorkItem {
    /// Takes in what a later request says; its place stays: the customer waits since they began to.
    fn learn(mut self, request: Request, left: bool, now: DateTime<Utc>) -> (Self, Asked) {
        self.revision = request.revision;
        self.snapshot = Some(request.snapshot);
        let was_live = self.channel == ChannelKind::Voice;
        match self.state {
            State::Pending | State::Offered(_) if left && was_live => {
                let hold = match self.state {
                    State::Offered(hold) => Some(hold),
                    State::Pending
                    | State::Assigned { .. }
                    | State::Wrapping { .. }
                    | State::Completed { .. }
                    | State::Cancelled { .. }
                    | State::Abandoned { .. } => None,
                };
                self.state = State::Abandoned { at: now };
                (self, Asked::Left(hold))
            }
            State::Pending | State::Offered(_) => {
                let queued = matches!(self.state, State::Pending);
                let transferred = self.transfers > 0;
                self.waiting_since = self.waiting_since.min(request.waiting_since);
                self.channel = request.channel;
                self.preferred = request.preferred.or(self.preferred);
                // Where a person sent it, it stays; the rules had their say before.
                if !transferred {
                    self.route = request.route;
                }
                (self, if queued { Asked::Waits } else { Asked::InHand })
            }
            State::Assigned { rest, .. } => {
                self.channel = request.channel;
                let back = rest == Rest::Parked && !left;
                (self, if back { Asked::ComesBack } else { Asked::InHand })
            }
            State::Wrapping { hand, .. } => {
                self.channel = request.channel;
                // The customer has more to say while the agent still has it all in mind.
                self.state = State::Assigned {
                    hand,
                    rest: Rest::No,
                    second: None,
                };
                (self, Asked::InHand)
            }
            State::Completed { .. } | State::Cancelled { .. } | State::Abandoned { .. } => {
                (self, Asked::Nothing)
            }
        }
    }

    /// Nobody needs to act any more. Who works on it goes on when it was only answered.
    pub fn withdraw(
        mut self,
        revision: i64,
        reason: WithdrawReason,
        wrap_up: chrono::TimeDelta,
        now: DateTime<Utc>,
    ) -> (Self, Withdrawal) {
        self.revision = self.revision.max(revision);
        let ended = match reason {
            WithdrawReason::Resolved | WithdrawReason::Merged => State::Cancelled { at: now },
            // Somebody answered without an offer.
            WithdrawReason::Answered => State::Completed {
                agent: None,
                assigned_at: None,
                at: now,
            },
        };
        match self.state {
            State::Pending => {
                self.state = ended;
                (self, Withdrawal::Left)
            }
            State::Offered(hold) => {
                self.state = ended;
                (self, Withdrawal::Rescinded(hold))
            }
            State::Assigned { .. } => match reason {
                WithdrawReason::Resolved | WithdrawReason::Merged => {
                    let before = self.clone();
                    match self.complete(wrap_up, now) {
                        Ok((item, done)) => (item, Withdrawal::Completed(done)),
                        Err(_) => (before, Withdrawal::Nothing),
                    }
                }
                WithdrawReason::Answered => (self, Withdrawal::GoesOn),
            },
            State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => (self, Withdrawal::Nothing),
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
        channel: ChannelKind::Unspecified,
        waiting_since: now,
        queued_at: now,
        preferred: None,
        pinned: None,
        excluded: Vec::new(),
        transfers: 0,
        handover: None,
        snapshot: None,
        answered: None,
        state: State::Cancelled { at: now },
    }
}
