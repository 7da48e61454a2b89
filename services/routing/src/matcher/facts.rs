//! What happens to work: the facts the caller tells, from the queue to the end.

use super::engine::{Engine, Held, Item, State};
use super::spec::{ItemSpec, Presence, Stage};
use super::timers::Timer;
use super::words::{AgentKey, ItemKey, Millis};

impl Engine {
    /// Puts an item into the queue. A known one is placed anew, as the spec says, wherever it was.
    ///
    /// # Panics
    /// When the spec has no step or names a channel the policy does not have: both are the caller's mistakes.
    pub fn enqueue(&mut self, spec: ItemSpec, now: Millis) {
        assert!(
            !spec.steps.is_empty(),
            "an item requires something, if only nothing"
        );
        assert!(
            usize::from(spec.channel.0) < self.policy.channels.len(),
            "channels are numbered by the policy"
        );
        let key = spec.key;
        let item = match self.item_index.get(&key).copied() {
            Some(known) => {
                self.lift(known, now);
                if let Some(it) = self.items[known].as_mut() {
                    it.spec = spec;
                }
                known
            }
            None => {
                let first = &spec.steps[0].requirement;
                if self.whole & (1 << spec.channel.0) != 0
                    && let Some(language) = first.language
                {
                    self.calls.arrived(language, now);
                }
                let it = Item {
                    spec,
                    state: State::Nowhere,
                    token: 0,
                    declined: Vec::new(),
                    accepted_at: None,
                };
                let place = if let Some(place) = self.spare_items.pop() {
                    self.items[place] = Some(it);
                    place
                } else {
                    self.items.push(Some(it));
                    self.items.len() - 1
                };
                self.item_index.insert(key, place);
                place
            }
        };
        self.place(item, now);
    }

    /// The item is gone for a reason that says nothing about us (withdrawn, merged, closed). Unknown ones are none.
    pub fn remove(&mut self, key: ItemKey, now: Millis) {
        if let Some(item) = self.item_index.get(&key).copied() {
            self.lift(item, now);
            self.forget_item(item);
        }
    }

    /// The customer gave up; it counts against the goal unless they did so at once.
    pub fn abandoned(&mut self, key: ItemKey, now: Millis) {
        const AT_ONCE_MS: Millis = 5_000;
        if let Some(it) = self.item(key)
            && it.accepted_at.is_none()
            && now - it.spec.clock_start - it.spec.carried_ms >= AT_ONCE_MS
        {
            let cell = it.spec.cell;
            self.results.count(cell, false, &self.policy.steering, now);
        }
        self.remove(key, now);
    }

    /// The item is in an agent's hands: how take-over loads work, and how the caller says what was done by hand.
    /// Capacity is not asked: what is, is. Returns false when one of them is not known.
    pub fn hold(&mut self, key: ItemKey, agent: AgentKey, stage: Stage, now: Millis) -> bool {
        let (Some(item), Some(agent)) = (
            self.item_index.get(&key).copied(),
            self.staff.index.get(&agent).copied(),
        ) else {
            return false;
        };
        self.lift(item, now);
        self.give_to(item, agent, stage);
        // What can be paused is room for who may pause it.
        self.mark_agent(agent);
        true
    }

    /// What an item takes of who has it in hand is this from now on; none: what its channel takes.
    pub fn takes(&mut self, key: ItemKey, units: Option<u32>) {
        let Some(it) = self.item_mut(key) else {
            return;
        };
        it.spec.units = units;
        if let State::Held(held) = it.state {
            self.recount(held.agent);
            self.resettle(held.agent);
            self.mark_agent(held.agent);
        }
    }

    /// The offer was accepted.
    pub fn accepted(&mut self, key: ItemKey, agent: AgentKey, now: Millis) -> bool {
        let Some(it) = self.item(key) else {
            return false;
        };
        let (cell, first) = (it.spec.cell, it.accepted_at.is_none());
        let in_time = now <= it.spec.due_at + it.spec.carried_ms;
        if let State::Held(Held {
            stage: Stage::Offered { until },
            ..
        }) = it.state
        {
            let channel = it.spec.channel;
            let offered_at = until - self.policy.rule(channel).offer_timeout_ms;
            self.answers[usize::from(channel.0)].measured(now - offered_at);
        }
        if !self.hold(key, agent, Stage::Active, now) {
            return false;
        }
        if first {
            self.results.count(cell, in_time, &self.policy.steering, now);
        }
        if let Some(it) = self.item_mut(key) {
            it.accepted_at.get_or_insert(now);
        }
        true
    }

    /// The agent declined: the item waits again at its old place, and they are not asked again soon.
    pub fn declined(&mut self, key: ItemKey, agent: AgentKey, now: Millis) -> bool {
        let Some(item) = self.item_index.get(&key).copied() else {
            return false;
        };
        self.lift(item, now);
        let rule = &self.policy.offers;
        let (again, at_most) = (rule.ask_again_after_ms, rule.ask_at_most);
        if let Some(it) = self.items[item].as_mut() {
            let times = match it.declined.iter_mut().find(|(who, _)| *who == agent) {
                Some((_, times)) => {
                    *times += 1;
                    *times
                }
                None => {
                    it.declined.push((agent, 1));
                    1
                }
            };
            if !it.spec.excluded.contains(&agent) {
                it.spec.excluded.push(agent);
                if let Some(again) = again.filter(|_| times < at_most) {
                    self.set_timer(now + again, Timer::AskAgain { item: key, agent });
                }
            }
        }
        self.place(item, now);
        true
    }

    /// The offer rang out: as [`Engine::declined`], and the agent is not responding. Returns what they are now.
    pub fn timed_out(&mut self, key: ItemKey, agent: AgentKey, now: Millis) -> Option<Presence> {
        let known = self.declined(key, agent, now);
        let place = self.staff.index.get(&agent).copied().filter(|_| known)?;
        let rule = &self.policy.offers;
        let (window, until_away, back) = (
            rule.missed_window_ms,
            rule.missed_until_away,
            rule.missed_return_after_ms,
        );
        let it = self.staff.agent_mut(place);
        it.missed.retain(|at| now - at < window);
        it.missed.push(now);
        let presence = if back.is_some() && it.missed.len() >= until_away as usize {
            it.missed.clear();
            Presence::Away
        } else {
            Presence::NotResponding {
                until: back.map(|span| now + span),
            }
        };
        self.presence(agent, presence.clone(), now);
        Some(presence)
    }

    /// The offer came to nothing through nobody's fault: the item waits again at its old place.
    pub fn offer_lost(&mut self, key: ItemKey, now: Millis) -> bool {
        let Some(item) = self.item_index.get(&key).copied() else {
            return false;
        };
        self.lift(item, now);
        self.place(item, now);
        true
    }

    /// The work is answered; the agent finishes and still holds it.
    pub fn wrapping(&mut self, key: ItemKey, now: Millis) -> bool {
        self.restage(key, Stage::Wrapping, now)
    }

    /// The conversation is idle: it keeps its agent and gives its capacity back.
    pub fn parked(&mut self, key: ItemKey, now: Millis) -> bool {
        self.restage(key, Stage::Parked, now)
    }

    /// The idle conversation goes on, whether or not its agent has room.
    pub fn resumed(&mut self, key: ItemKey, now: Millis) -> bool {
        self.restage(key, Stage::Active, now)
    }

    /// The agent is done with the item: it is gone and its capacity is back.
    pub fn freed(&mut self, key: ItemKey, agent: AgentKey, now: Millis) -> bool {
        let Some(item) = self.item_index.get(&key).copied() else {
            return false;
        };
        let State::Held(held) = self.item_at(item).state else {
            return false;
        };
        if self.staff.agent(held.agent).spec.key != agent {
            return false;
        }
        let it = self.item_at(item);
        if self.whole & (1 << it.spec.channel.0) != 0
            && let Some(at) = it.accepted_at
        {
            self.calls.handled(now - at, self.policy.reserve.handle_time_ms);
        }
        self.lift(item, now);
        self.forget_item(item);
        true
    }

    /// The store refused an offer because the state had changed meanwhile: the proposal is forgotten, and the item
    /// with it, until the caller says what is true now.
    pub fn refuse(&mut self, key: ItemKey, now: Millis) {
        self.remove(key, now);
    }

    fn restage(&mut self, key: ItemKey, stage: Stage, now: Millis) -> bool {
        let Some(item) = self.item_index.get(&key).copied() else {
            return false;
        };
        let State::Held(held) = self.item_at(item).state else {
            return false;
        };
        let resumed = held.stage == Stage::Parked || held.resumed;
        let idle_since = self.staff.agent(held.agent).idle_since;
        self.lift(item, now);
        // Only the end of work makes an agent idle.
        self.staff.agent_mut(held.agent).idle_since = idle_since;
        self.give_to(item, held.agent, stage);
        self.mark_agent(held.agent);
        if resumed && stage != Stage::Parked {
            self.staff.agent_mut(held.agent).resumed += 1;
            if let Some(Item {
                state: State::Held(held),
                ..
            }) = self.items[item].as_mut()
            {
                held.resumed = true;
            }
        }
        true
    }
}
