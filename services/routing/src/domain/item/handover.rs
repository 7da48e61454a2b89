//! From hand to hand: blind, warm, or only asking.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trama_proto::ids::{AgentId, OfferId};

use super::{Hand, Hold, Rejected, Rest, Returned, State, WorkItem};
use crate::domain::Route;

/// How work is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// At once.
    Blind,
    /// The giver stays until somebody has taken it.
    Warm,
    /// Somebody is asked; the giver keeps the work until they say who goes on.
    Consult,
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A queue, as its route says.
    Queue(Box<Route>),
    /// An agent.
    Agent(AgentId),
    /// Whoever has a skill at this level; it is not relaxed.
    Skill(String, u8),
}

/// What the next agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverNote {
    /// How.
    pub how: Handover,
    /// By whom.
    pub from: AgentId,
    /// Their words.
    pub note: String,
}

/// A second agent is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// For what, by whom, with which words.
    pub told: HandoverNote,
    /// Queue whose agents may help.
    pub queue: String,
    /// Skills that are asked for.
    pub skills: BTreeMap<String, u8>,
    /// Who alone may help.
    pub pinned: Option<AgentId>,
    /// Who may not: the first agent, and who declined.
    pub excluded: Vec<AgentId>,
    /// Since when somebody is sought.
    pub since: DateTime<Utc>,
}

/// The second agent of a warm transfer or a consultation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Second {
    /// Sought.
    Wanted(Wanted),
    /// Asked.
    Offered(Wanted, Hold),
    /// Helps.
    Joined(Wanted, Hand),
}

/// How a consultation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsultEnd {
    /// The first agent keeps it; who was asked is free.
    Kept(Second),
    /// The second agent has it now.
    HandedOver {
        /// Who gave it.
        from: AgentId,
        /// The offer by which they had it.
        from_offer: OfferId,
        /// Who has it.
        to: AgentId,
        /// The offer by which they have it.
        to_offer: OfferId,
    },
}

impl Second {
    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        match self {
            Second::Wanted(wanted) | Second::Offered(wanted, _) | Second::Joined(wanted, _) => wanted,
        }
    }

    /// Who it is.
    pub fn agent(&self) -> Option<&AgentId> {
        self.units().map(|(agent, _)| agent)
    }

    /// Units that it holds.
    pub fn units(&self) -> Option<(&AgentId, i32)> {
        match self {
            Second::Wanted(_) => None,
            Second::Offered(_, hold) => Some((&hold.agent, hold.units)),
            Second::Joined(_, hand) => Some((&hand.agent, hand.units)),
        }
    }

    /// By which offer, and whether it is accepted.
    pub fn offer(&self) -> Option<(OfferId, bool)> {
        match self {
            Second::Wanted(_) => None,
            Second::Offered(_, hold) => Some((hold.offer, false)),
            Second::Joined(_, hand) => Some((hand.offer, true)),
        }
    }
}

impl WorkItem {
    /// Gives it away at once: it waits elsewhere with the same clock.
    pub fn transfer(
        self,
        to: Destination,
        told: HandoverNote,
        now: DateTime<Utc>,
    ) -> Result<(Self, Returned), Rejected> {
        let (mut item, returned) = self.return_to_queue(now)?;
        item.transfers += 1;
        item.exclude(&told.from, now);
        item.send_to(to);
        item.handover = Some(told);
        Ok((item, returned))
    }

    /// From now on it waits there.
    pub fn send_to(&mut self, to: Destination) {
        match to {
            Destination::Queue(route) => {
                self.route = *route;
                self.pinned = None;
            }
            Destination::Agent(agent) => {
                self.excluded.retain(|excluded| excluded.agent != agent);
                self.pinned = Some(agent);
            }
            Destination::Skill(skill, level) => {
                self.route.requirement.skills.insert(skill, level);
                self.route.steps.clear();
                self.pinned = None;
            }
        }
    }

    /// Looks for a second agent.
    pub fn ask(mut self, to: Destination, told: HandoverNote, now: DateTime<Utc>) -> Result<Self, Rejected> {
        let (queue, mut skills) = (self.route.queue.clone(), self.route.requirement.skills.clone());
        match &mut self.state {
            State::Assigned { second: Some(_), .. } => Err(Rejected::AlreadyAsked),
            State::Assigned { hand, second, .. } => {
                let (queue, skills, pinned) = match to {
                    Destination::Queue(route) => (route.queue, route.requirement.skills, None),
                    Destination::Agent(agent) => (queue, BTreeMap::new(), Some(agent)),
                    Destination::Skill(skill, level) => {
                        skills.insert(skill, level);
                        (queue, skills, None)
                    }
                };
                *second = Some(Second::Wanted(Wanted {
                    told,
                    queue,
                    skills,
                    pinned,
                    excluded: vec![hand.agent.clone()],
                    since: now,
                }));
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

    /// Holds the second seat for an agent.
    pub fn offer_second(mut self, hold: Hold) -> Result<Self, Rejected> {
        match &mut self.state {
            State::Assigned {
                second: Some(second @ Second::Wanted(_)),
                ..
            } => {
                *second = Second::Offered(second.wanted().clone(), hold);
                Ok(self)
            }
            State::Assigned { .. }
            | State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotWaiting),
        }
    }

    /// The second agent joins; a warm transfer is complete by that.
    pub fn accept_second(
        mut self,
        offer: OfferId,
        agent: &AgentId,
        now: DateTime<Utc>,
    ) -> Result<(Self, Option<ConsultEnd>), Rejected> {
        let State::Assigned {
            second: Some(second), ..
        } = &mut self.state
        else {
            return Err(Rejected::NotOffered);
        };
        let Second::Offered(wanted, hold) = second else {
            return Err(Rejected::NotOffered);
        };
        if hold.offer != offer {
            return Err(Rejected::NotOffered);
        }
        if hold.agent != *agent {
            return Err(Rejected::NotYours);
        }
        if hold.until <= now {
            return Err(Rejected::Lapsed(hold.until));
        }
        let hand = Hand {
            offer,
            agent: hold.agent.clone(),
            units: hold.units,
            at: now,
        };
        let how = wanted.told.how;
        *second = Second::Joined(wanted.clone(), hand);
        match how {
            Handover::Consult => Ok((self, None)),
            Handover::Warm | Handover::Blind => {
                let (item, end) = self.end_consultation(true)?;
                Ok((item, Some(end)))
            }
        }
    }

    /// The second agent said no, or nothing: somebody else is sought, unless only they were asked.
    pub fn decline_second(mut self, offer: OfferId, agent: &AgentId) -> Result<(Self, Hold), Rejected> {
        let State::Assigned { second, .. } = &mut self.state else {
            return Err(Rejected::NotOffered);
        };
        let Some(Second::Offered(wanted, hold)) = second else {
            return Err(Rejected::NotOffered);
        };
        if hold.offer != offer {
            return Err(Rejected::NotOffered);
        }
        if hold.agent != *agent {
            return Err(Rejected::NotYours);
        }
        let (mut wanted, hold) = (wanted.clone(), hold.clone());
        *second = if wanted.pinned.is_some() {
            None
        } else {
            wanted.excluded.push(hold.agent.clone());
            Some(Second::Wanted(wanted))
        };
        Ok((self, hold))
    }

    /// Ends a consultation.
    pub fn end_consultation(mut self, hand_over: bool) -> Result<(Self, ConsultEnd), Rejected> {
        match self.state {
            State::Assigned {
                hand,
                rest,
                second: Some(second),
            } => match (hand_over, second) {
                (true, Second::Joined(wanted, next)) => {
                    let end = ConsultEnd::HandedOver {
                        from: hand.agent,
                        from_offer: hand.offer,
                        to: next.agent.clone(),
                        to_offer: next.offer,
                    };
                    self.state = State::Assigned {
                        hand: next,
                        rest: Rest::No,
                        second: None,
                    };
                    self.transfers += 1;
                    self.route.queue = wanted.queue;
                    self.handover = Some(wanted.told);
                    Ok((self, end))
                }
                (true, Second::Wanted(_) | Second::Offered(..)) => Err(Rejected::NotJoined),
                (false, second) => {
                    self.state = State::Assigned {
                        hand,
                        rest,
                        second: None,
                    };
                    Ok((self, ConsultEnd::Kept(second)))
                }
            },
            State::Assigned { .. } => Err(Rejected::NobodyAsked),
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned),
        }
    }
}
