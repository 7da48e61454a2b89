//! What people and customers do, on paper.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use trama_proto::{common::v1::ChannelKind, ids::CaseId};
use uuid::Uuid;

use super::{Op, Paper, name, resources, tenant};
use crate::domain::{
    Asked, Destination, Hand, Handover, Presence, Request, Rest, Rules, Second, State, request,
};
impl Paper {
    /// Does what is asked, if it can be done now.
    pub(in crate::dispatcher::kept_tests) fn run(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Asks {
                case,
                channel,
                need,
                left,
                preferred,
            } => {
                self.revision += 1;
                let last = self.last.get(&case).and_then(|id| self.items.get(id)).cloned();
                let asked = Request {
                    case_id: CaseId::new(Uuid::from_u128(case)),
                    revision: self.revision,
                    channel,
                    waiting_since: now,
                    preferred: preferred.map(name),
                    customer_left: left,
                    calls_back: false,
                    snapshot: Vec::new(),
                    route: self.route(need),
                };
                let (item, what) = request(&tenant(), last, asked, now);
                self.last.insert(case, item.id);
                let item = match (&item.state, what) {
                    (State::Assigned { hand, .. }, Asked::ComesBack) => {
                        let units = self
                            .rules
                            .units(item.channel, self.agents[&hand.agent].capacity_units);
                        let agent = hand.agent.clone();
                        if self.agents[&agent].presence != Presence::Offline && self.room(&agent, units) {
                            item.resume(units).expect("rests")
                        } else {
                            let mut item = item.return_to_queue(now).expect("in hand").0;
                            item.preferred = Some(agent);
                            item
                        }
                    }
                    _ => item,
                };
                let item = self.fit(item);
                self.put(item);
            }
            Op::Withdrawn { case, reason } => {
                self.revision += 1;
                if let Some(item) = self.last.get(&case).and_then(|id| self.items.get(id)).cloned() {
                    self.put(item.withdraw(self.revision, reason, TimeDelta::zero(), now).0);
                }
            }
            Op::Is { agent, presence } => {
                let agent = name(agent);
                if presence == Presence::Offline {
                    self.leave(&agent);
                }
                self.become_now(&agent, presence);
            }
            Op::Takes { agent, kinds } => {
                let mut agent = self.agents[&name(agent)].clone();
                agent.available_kinds = if kinds {
                    vec![ChannelKind::WebChat, ChannelKind::Email]
                } else {
                    Vec::new()
                };
                self.put_agent(agent);
            }
            Op::Drains { agent, draining } => {
                if draining {
                    self.unpin(&name(agent));
                }
                let mut agent = self.agents[&name(agent)].clone();
                agent.draining = draining;
                self.put_agent(agent);
            }
            Op::Becomes { agent, able } => {
                let mut agent = self.agents[&name(agent)].clone();
                agent.languages = match able % 4 {
                    0 => Vec::new(),
                    1 => vec!["it".to_owned()],
                    2 => vec!["en-GB".to_owned(), "it".to_owned()],
                    _ => vec!["de".to_owned()],
                };
                agent.skills = if able % 3 == 0 {
                    BTreeMap::new()
                } else {
                    BTreeMap::from([("coffee".to_owned(), i32::from(able % 3) + 1)])
                };
                agent.max_at_once = if able % 5 == 0 {
                    BTreeMap::from([(ChannelKind::WebChat, 1)])
                } else {
                    BTreeMap::new()
                };
                agent.teams = if able % 7 == 0 {
                    Vec::new()
                } else {
                    vec!["turin".to_owned()]
                };
                agent.working_hours = if able % 11 == 0 {
                    "day".to_owned()
                } else {
                    String::new()
                };
                agent.capacity_units = [6, 8, 4][usize::from(able % 3)].max(agent.used_units);
                self.put_agent(agent);
            }
            Op::Accepts(agent) => {
                let agent = name(agent);
                let Some(item) = self.offered_to(&agent) else {
                    return;
                };
                let done = match &item.state {
                    State::Offered(hold) => {
                        let offer = hold.offer;
                        item.accept(offer, &agent, now).ok()
                    }
                    _ => {
                        let offer = item.second().and_then(Second::offer).expect("asked").0;
                        item.accept_second(offer, &agent, now).ok().map(|(item, _)| item)
                    }
                };
                if let Some(item) = done {
                    self.put(item);
                }
            }
            Op::Declines(agent) => {
                let agent = name(agent);
                let Some(item) = self.offered_to(&agent) else {
                    return;
                };
                let item = match &item.state {
                    State::Offered(hold) => {
                        let offer = hold.offer;
                        item.give_back(offer, &agent, Some(now)).expect("theirs").0
                    }
                    _ => {
                        let offer = item.second().and_then(Second::offer).expect("asked").0;
                        item.decline_second(offer, &agent).expect("theirs").0
                    }
                };
                self.put(item);
            }
            Op::Completes(agent) => {
                if let Some(item) = self.in_hand_of(&name(agent)) {
                    let wrap_up = TimeDelta::seconds(i64::from(item.route.wrap_up_seconds));
                    let done = match item.state {
                        State::Wrapping { .. } => item.finish_wrap_up(now),
                        _ => item.complete(wrap_up, now),
                    };
                    self.put(done.expect("in hand").0);
                }
            }
            Op::Parks(agent) => {
                if let Some(item) = self
                    .in_hand_of(&name(agent))
                    .filter(|i| i.channel != ChannelKind::Voice)
                    && let Ok(item) = item.rest(Rest::Parked)
                {
                    self.put(item);
                }
            }
            Op::Gives { agent, how, to } => {
                let by = name(agent);
                let Some(item) = self.in_hand_of(&by) else { return };
                let to = match to {
                    0..5 => Destination::Agent(name(to)),
                    5 => Destination::Skill("coffee".to_owned(), 2),
                    _ => Destination::Queue(Box::new(self.route(1))),
                };
                let told = Self::note(&by, how);
                let given = match how {
                    Handover::Blind => item.transfer(to, told, now).map(|(item, _)| item),
                    Handover::Warm | Handover::Consult => item.ask(to, told, now),
                };
                if let Ok(item) = given {
                    self.put(item);
                }
            }
            Op::EndsConsultation { agent, hand_over } => {
                if let Some(item) = self.in_hand_of(&name(agent))
                    && let Ok((item, _)) = item.end_consultation(hand_over)
                {
                    self.put(item);
                }
            }
            Op::Assigned { case, to } => {
                let to = name(to);
                let Some(item) = self.last.get(&case).and_then(|id| self.items.get(id)).cloned() else {
                    return;
                };
                let mut item = match &item.state {
                    State::Pending => item,
                    State::Offered(_) | State::Assigned { .. } => {
                        item.return_to_queue(now).expect("in hand").0
                    }
                    _ => return,
                };
                let held: i32 = self.items[&item.id]
                    .units()
                    .filter(|(a, _)| **a == to)
                    .map(|(_, u)| u)
                    .sum();
                let units = self.rules.units(item.channel, self.agents[&to].capacity_units);
                if self.room(&to, units - held) {
                    let offer = self.new_offer();
                    item.assign(
                        Hand {
                            offer,
                            agent: to,
                            units,
                            at: now,
                        },
                        now,
                    );
                    self.put(item);
                }
            }
            Op::Rules(rules) => {
                self.resources = resources(rules);
                self.rules = Rules::of(Some(&self.resources));
            }
            Op::Passes(seconds) => self.pass(seconds),
        }
    }
}
