//! Offer, accept, give back, complete, wrap up, rest.

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::ids::{AgentId, OfferId};

use super::{Answered, Hand, Hold, Rejected, Rest, Second, State, Way, WorkItem};

/// Work that an agent finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Who.
    pub agent: AgentId,
    /// The offer by which they had it.
    pub offer: OfferId,
    /// From acceptance to now.
    pub handle_seconds: i64,
    /// Who was asked about it, and is free again.
    pub second: Option<Second>,
}

/// Work that went back to its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Who had it.
    pub agent: AgentId,
    /// By which offer.
    pub offer: OfferId,
    /// True when it was only offered.
    pub unanswered: bool,
    /// Who was asked about it, and is free again.
    pub second: Option<Second>,
}

impl WorkItem {
    /// Holds it for an agent.
    pub fn offer(mut self, hold: Hold) -> Result<Self, Rejected> {
        match self.state {
            State::Pending => {
                self.state = State::Offered(hold);
                Ok(self)
            }
            State::Offered(_)
            | State::Assigned { .. }
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotWaiting),
        }
    }

    /// The agent takes it.
    pub fn accept(mut self, offer: OfferId, agent: &AgentId, now: DateTime<Utc>) -> Result<Self, Rejected> {
        let hold = self.held(offer, agent)?.clone();
        if hold.until <= now {
            return Err(Rejected::Lapsed(hold.until));
        }
        self.assign(
            Hand {
                offer,
                agent: hold.agent,
                units: hold.units,
                at: now,
            },
            now,
        );
        Ok(self)
    }

    /// An agent has it from now on, asked or not.
    pub fn assign(&mut self, hand: Hand, now: DateTime<Utc>) {
        self.state = State::Assigned {
            hand,
            rest: Rest::No,
            second: None,
        };
        self.pinned = None;
        if let Way::Callback { attempts, .. } = &mut self.manner.way {
            *attempts += 1;
        }
        if self.answered.is_none() {
            self.answered = Some(Answered {
                at: now,
                channel: self.channel,
                in_target: now <= self.route.due_at,
            });
        }
    }

    /// The offer came to nothing; the item keeps its place. `exclude`: not to this agent for a while from then.
    pub fn give_back(
        mut self,
        offer: OfferId,
        agent: &AgentId,
        exclude: Option<DateTime<Utc>>,
    ) -> Result<(Self, Hold), Rejected> {
        let hold = self.held(offer, agent)?.clone();
        if let Some(now) = exclude {
            self.exclude(&hold.agent, now);
            // Who was asked by name said no: anybody may have it now.
            self.pinned = self.pinned.take().filter(|pinned| *pinned != hold.agent);
        }
        self.state = State::Pending;
        Ok((self, hold))
    }

    /// Goes back to the queue from whoever has it, with the customer's clock. Wrap-up just ends.
    pub fn return_to_queue(mut self, now: DateTime<Utc>) -> Result<(Self, Returned), Rejected> {
        match self.state {
            State::Offered(hold) => {
                self.state = State::Pending;
                let returned = Returned {
                    agent: hold.agent,
                    offer: hold.offer,
                    unanswered: true,
                    second: None,
                };
                Ok((self, returned))
            }
            State::Assigned { hand, second, .. } => {
                self.state = State::Pending;
                self.queued_at = now;
                let returned = Returned {
                    agent: hand.agent,
                    offer: hand.offer,
                    unanswered: false,
                    second,
                };
                Ok((self, returned))
            }
            State::Pending
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned),
        }
    }

    /// The agent's part is done; where the queue grants time for it, they wrap up.
    pub fn complete(mut self, wrap_up: TimeDelta, now: DateTime<Utc>) -> Result<(Self, Done), Rejected> {
        match self.state {
            State::Assigned { hand, rest, second } => {
                let done = Done {
                    agent: hand.agent.clone(),
                    offer: hand.offer,
                    handle_seconds: (now - hand.at).num_seconds().max(0),
                    second,
                };
                // Who rested is busy with something else: there is nothing to wrap up in peace.
                self.state = if wrap_up > TimeDelta::zero() && rest == Rest::No {
                    State::Wrapping {
                        hand,
                        done_at: now,
                        until: now + wrap_up,
                    }
                } else {
                    State::Completed {
                        agent: Some(hand.agent),
                        assigned_at: Some(hand.at),
                        at: now,
                    }
                };
                Ok((self, done))
            }
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned),
        }
    }

    /// The wrap-up is over.
    pub fn finish_wrap_up(mut self, now: DateTime<Utc>) -> Result<(Self, Done), Rejected> {
        match self.state {
            State::Wrapping { hand, .. } => {
                self.state = State::Completed {
                    agent: Some(hand.agent.clone()),
                    assigned_at: Some(hand.at),
                    at: now,
                };
                let done = Done {
                    agent: hand.agent,
                    offer: hand.offer,
                    handle_seconds: (now - hand.at).num_seconds().max(0),
                    second: None,
                };
                Ok((self, done))
            }
            State::Pending
            | State::Offered(_)
            | State::Assigned { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotWrapping),
        }
    }

    /// Work in hand rests: its units are free.
    pub fn rest(mut self, why: Rest) -> Result<Self, Rejected> {
        match &mut self.state {
            State::Assigned { hand, rest, .. } => {
                hand.units = 0;
                *rest = why;
                Ok(self)
            }
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned),
        }
    }

    /// Work goes on with so many units: those of its channel now.
    pub fn resume(mut self, units: i32) -> Result<Self, Rejected> {
        match &mut self.state {
            State::Assigned { hand, rest, .. } => {
                hand.units = units;
                *rest = Rest::No;
                Ok(self)
            }
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned),
        }
    }

    /// The same, holding so many units of whoever has it in hand.
    #[must_use]
    pub fn using(mut self, units: i32) -> Self {
        match &mut self.state {
            State::Offered(hold) => hold.units = units,
            State::Assigned { hand, .. } | State::Wrapping { hand, .. } => hand.units = units,
            State::Pending | State::Completed { .. } | State::Cancelled { .. } | State::Abandoned { .. } => {}
        }
        self
    }

    /// Units of agents that this item holds now.
    pub fn units(&self) -> impl Iterator<Item = (&AgentId, i32)> {
        let owner = match &self.state {
            State::Offered(hold) => Some((&hold.agent, hold.units)),
            State::Assigned { hand, .. } | State::Wrapping { hand, .. } => Some((&hand.agent, hand.units)),
            State::Pending | State::Completed { .. } | State::Cancelled { .. } | State::Abandoned { .. } => {
                None
            }
        };
        owner.into_iter().chain(self.second().and_then(Second::units))
    }

    /// Who works on it now: has accepted it, and it does not rest.
    pub fn hands(&self) -> impl Iterator<Item = &AgentId> {
        let owner = match &self.state {
            State::Assigned {
                hand, rest: Rest::No, ..
            }
            | State::Wrapping { hand, .. } => Some(&hand.agent),
            State::Assigned {
                rest: Rest::Parked | Rest::Paused,
                ..
            }
            | State::Pending
            | State::Offered(_)
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => None,
        };
        let second = match self.second() {
            Some(Second::Joined(_, hand)) => Some(&hand.agent),
            Some(Second::Wanted(_) | Second::Offered(..)) | None => None,
        };
        owner.into_iter().chain(second)
    }

    fn held(&self, offer: OfferId, agent: &AgentId) -> Result<&Hold, Rejected> {
        match &self.state {
            State::Offered(hold) if hold.offer == offer && hold.agent == *agent => Ok(hold),
            State::Offered(hold) if hold.offer == offer => Err(Rejected::NotYours),
            State::Offered(_)
            | State::Pending
            | State::Assigned { .. }
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotOffered),
        }
    }
}
