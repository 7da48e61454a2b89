//! What a case says: somebody must act, or nobody needs to any more.

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, TenantId, WorkItemId},
};

use super::{Done, Hold, Manner, Rest, State, Way, WorkItem};
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
    /// Whoever hangs up in this queue is called back.
    pub calls_back: bool,
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
    /// The customer has left and is called back in their place; the offer is rescinded.
    CallsBack(Option<Hold>),
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
#[expect(
    clippy::large_enum_variant,
    reason = "they live one at a time in a batch; a box each would cost more than it saves"
)]
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
        // Told again of the same caller who left: they are neither counted nor called twice.
        Some(mut item) if left && item.number > 0 && item.waiting_since == request.waiting_since => {
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
        trace: None,
        answered: None,
        manner: Manner {
            way: if left && request.calls_back {
                Way::called_back()
            } else {
                Way::AsTheyCame
            },
            ..Manner::default()
        },
        state: if left && !request.calls_back {
            State::Abandoned { at: now }
        } else {
            State::Pending
        },
    };
    let what = match (left, request.calls_back) {
        (false, _) => Asked::Waits,
        (true, false) => Asked::Left(None),
        (true, true) => Asked::CallsBack(None),
    };
    (item, what)
}

impl WorkItem {
    /// Takes in what a later request says; its place stays: the customer waits since they began to.
    fn learn(mut self, request: Request, left: bool, now: DateTime<Utc>) -> (Self, Asked) {
        self.revision = request.revision;
        self.snapshot = Some(request.snapshot);
        // Who is called back, or has left a message, hangs up: that is not leaving.
        let was_live = self.channel == ChannelKind::Voice && self.manner.way == Way::AsTheyCame;
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
                if request.calls_back {
                    self.state = State::Pending;
                    self.manner.way = Way::called_back();
                    return (self, Asked::CallsBack(hold));
                }
                self.state = State::Abandoned { at: now };
                (self, Asked::Left(hold))
            }
            State::Pending | State::Offered(_) => {
                let queued = matches!(self.state, State::Pending);
                self.waiting_since = self.waiting_since.min(request.waiting_since);
                self.channel = self.manner.channel_after(self.channel, request.channel);
                self.preferred = request.preferred.or(self.preferred);
                // Where a person or an overflow sent it, it stays; the rules had their say before.
                if self.transfers == 0 && self.manner.left.first() != Some(&request.route.queue) {
                    if self.route.queue != request.route.queue {
                        self.manner.left.clear();
                        self.manner.told = None;
                    }
                    self.route = request.route;
                    self.keep_promise();
                }
                (self, if queued { Asked::Waits } else { Asked::InHand })
            }
            State::Assigned { rest, .. } => {
                let moves = self.channel != request.channel;
                // Who hung up before anybody answered is where they were.
                if rest == Rest::No || !left {
                    self.channel = request.channel;
                }
                let back = match rest {
                    Rest::No => false,
                    Rest::Parked => !left,
                    // They do not wait for the end of somebody else's call where the agent would answer at once.
                    Rest::Paused => moves && !left,
                };
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
        trace: None,
        answered: None,
        manner: Manner::default(),
        state: State::Cancelled { at: now },
    }
}
