//! Agents come, go and change; classes and profiles are introduced to each other.

use super::engine::{Engine, State};
use super::queue::{ClassKey, Manner};
use super::spec::{AgentSpec, Presence, Stage};
use super::staff::{InHand, units_of};
use super::words::{AgentKey, ItemKey, Millis};

impl Engine {
    /// Adds an agent (offline), or changes what is known of one; what they hold and their presence stay.
    ///
    /// # Panics
    /// When the spec names a channel the policy does not have: that is the caller's mistake.
    pub fn upsert_agent(&mut self, spec: AgentSpec, now: Millis) {
        let channels = self.policy.channels.len();
        assert!(
            spec.channels.iter().all(|c| usize::from(c.0) < channels),
            "channels are numbered by the policy"
        );
        let (profile, new) = self.staff.intern_profile(&spec, channels);
        if new {
            self.introduce_profile(profile);
        }
        let Some(agent) = self.staff.index.get(&spec.key).copied() else {
            let agent = self.staff.add(spec, profile, channels);
            let key = self.staff.agent(agent).spec.key;
            // Work that was pinned to them before they were known waits in classes of its own.
            let own: Vec<usize> = self
                .queue
                .waiting
                .iter()
                .filter(|c| self.queue.class(*c).key.only.is_some_and(|o| o.agent == key))
                .collect();
            self.staff.agent_mut(agent).own = own;
            return;
        };
        // Whatever they hold is counted anew: their capacity may be another one now.
        let it = self.staff.agent(agent);
        let (before, idle_since) = (it.presence.clone(), (it.open != 0).then_some(it.idle_since));
        self.stand_back(agent);
        let old = self.staff.agent(agent).profile;
        let it = self.staff.agent_mut(agent);
        it.spec = spec;
        it.profile = profile;
        self.staff.profile_mut(profile).members += 1;
        if self.staff.leave_profile(old) {
            self.forget_profile(old);
        }
        self.recount(agent);
        self.set_presence(agent, before, now);
        if let Some(since) = idle_since {
            // To learn something is no work: they keep their place in line.
            self.staff.agent_mut(agent).idle_since = since;
            self.resettle(agent);
        }
        if old != profile {
            self.weigh_acquaintance(agent, now);
        }
    }

    /// The agent is gone. What they held waits again, at its old place.
    pub fn remove_agent(&mut self, key: AgentKey, now: Millis) {
        let Some(agent) = self.staff.index.get(&key).copied() else {
            return;
        };
        self.set_presence(agent, Presence::Offline, now);
        for item in self.staff.agent(agent).held.clone() {
            self.lift(item, now);
            self.place(item, now);
        }
        self.stand_back(agent);
        let profile = self.staff.agent(agent).profile;
        self.staff.forget(agent);
        if self.staff.leave_profile(profile) {
            self.forget_profile(profile);
        }
    }

    /// What the agent is doing now. Unknown agents are none. Work in hand stays in hand.
    pub fn presence(&mut self, key: AgentKey, presence: Presence, now: Millis) {
        if let Some(agent) = self.staff.index.get(&key).copied() {
            self.set_presence(agent, presence, now);
        }
    }

    /// What the agent is doing, as far as the engine knows.
    pub fn presence_of(&self, key: AgentKey) -> Option<&Presence> {
        let agent = self.staff.index.get(&key)?;
        Some(&self.staff.agent(*agent).presence)
    }

    /// What an agent has in hand.
    pub fn in_hand(&self, key: AgentKey) -> Vec<(ItemKey, Stage)> {
        let Some(agent) = self.staff.index.get(&key) else {
            return Vec::new();
        };
        let stage_of = |item: &usize| match self.item_at(*item).state {
            State::Held(held) => Some((self.item_at(*item).spec.key, held.stage)),
            State::Queued(_) | State::Nowhere => None,
        };
        self.staff
            .agent(*agent)
            .held
            .iter()
            .filter_map(stage_of)
            .collect()
    }

    fn set_presence(&mut self, agent: usize, presence: Presence, now: Millis) {
        let open = match &presence {
            Presence::Available => u32::MAX,
            Presence::AvailableFor(channels) => channels.iter().fold(0, |mask, c| mask | 1 << c.0),
            Presence::Away | Presence::NotResponding { .. } | Presence::Draining | Presence::Offline => 0,
        };
        let back_at = match &presence {
            Presence::NotResponding { until } => *until,
            Presence::Available
            | Presence::AvailableFor(_)
            | Presence::Away
            | Presence::Draining
            | Presence::Offline => None,
        };
        let token = self.new_token();
        let it = self.staff.agent_mut(agent);
        let open = open & it.spec.channels.iter().fold(0, |mask, c| mask | 1 << c.0);
        if it.open == 0 && open != 0 {
            it.idle_since = now;
        }
        let (was, was_within_reach) = (it.open, it.within_reach());
        it.open = open;
        let takes_calls = !it.spec.bot;
        let languages = it.spec.languages.clone();
        it.presence = presence;
        let turned = it.within_reach() != was_within_reach;
        it.token = token;
        let profile = it.profile;
        if (was != 0) != (open != 0) {
            let online = &mut self.staff.profile_mut(profile).online;
            *online = if open != 0 { *online + 1 } else { *online - 1 };
        }
        let called = |open: u32| takes_calls && open & self.whole != 0;
        let (before, after) = (called(was), called(open));
        self.staff.count_caller(&languages, before, after);
        // The reserve is a share of who is there: with fewer of them it is smaller.
        self.reserve_eased |= before && !after;
        self.resettle(agent);
        self.mark_agent(agent);
        if let Some(at) = back_at {
            self.set_timer_return(agent, at);
        }
        if turned {
            self.weigh_acquaintance(agent, now);
        }
    }

    /// Who may wait for the agent who knows them is placed anew: that agent has come, gone or changed.
    fn weigh_acquaintance(&mut self, agent: usize, now: Millis) {
        let key = self.staff.agent(agent).spec.key;
        for item in self.acquainted.get(&key).cloned().unwrap_or_default() {
            let until = self.item_at(item).spec.preferred_until;
            if until.is_some_and(|end| now < end) {
                self.lift(item, now);
                self.place(item, now);
            }
        }
    }

    /// Out of every line and count, for the moment.
    fn stand_back(&mut self, agent: usize) {
        let it = self.staff.agent_mut(agent);
        let was_open = it.open != 0;
        let was_caller = !it.spec.bot && it.open & self.whole != 0;
        let languages = it.spec.languages.clone();
        it.open = 0;
        let profile = it.profile;
        self.staff.count_caller(&languages, was_caller, false);
        self.reserve_eased |= was_caller;
        if was_open {
            self.staff.profile_mut(profile).online -= 1;
        }
        self.resettle(agent);
    }

    /// Adds up what an agent holds, by the rules and the capacity of now.
    pub(super) fn recount(&mut self, agent: usize) {
        let key = self.staff.profile_of(agent).key.clone();
        let held: Vec<(usize, Stage, u32, bool)> = self
            .staff
            .agent(agent)
            .held
            .iter()
            .filter_map(|item| {
                let it = self.items[*item].as_ref()?;
                let State::Held(held) = it.state else {
                    return None;
                };
                let channel = it.spec.channel;
                Some((
                    usize::from(channel.0),
                    held.stage,
                    units_of(&key, &self.policy, &it.spec),
                    it.spec.pausable,
                ))
            })
            .collect();
        let channels = self.policy.channels.len();
        let it = self.staff.agent_mut(agent);
        it.by_channel = vec![InHand::default(); channels];
        (it.used, it.pending, it.in_hand) = (0, 0, 0);
        for (channel, stage, size, pausable) in held {
            if stage == Stage::Parked {
                continue;
            }
            it.used += size;
            it.in_hand += 1;
            it.by_channel[channel].count += 1;
            match stage {
                Stage::Offered { .. } => it.pending += 1,
                Stage::Active | Stage::Wrapping => {
                    it.by_channel[channel].active_units += if pausable { size } else { 0 };
                }
                Stage::Parked => {}
            }
        }
    }

    pub(super) fn resettle(&mut self, agent: usize) {
        if self.staff.settle(agent, &self.policy, self.whole) {
            self.reserve_eased = true;
        }
    }

    /// This agent may be able to take something now.
    pub(super) fn mark_agent(&mut self, agent: usize) {
        let it = self.staff.agent_mut(agent);
        if !it.dirty && it.place.is_some() {
            it.dirty = true;
            self.dirty_agents.push(agent);
        }
    }

    /// The class of that key; a new one is introduced to everybody who can serve it.
    pub(super) fn class_of(&mut self, key: ClassKey) -> usize {
        let (need, only) = (key.need, key.only);
        let manner = Manner {
            is_live: self.policy.rule(key.channel).live,
            press_left_ms: self.pressing_left(key.channel, key.target_ms),
        };
        let (class, new) = self.queue.intern_class(key, manner);
        if !new {
            return class;
        }
        match only {
            Some(only) => {
                if let Some(agent) = self.staff.index.get(&only.agent).copied() {
                    self.staff.agent_mut(agent).own.push(class);
                }
            }
            None => {
                for profile in self.queue.need(need).profiles.iter() {
                    if let Some(Some(profile)) = self.staff.profiles.get_mut(profile) {
                        profile.classes.insert(class);
                    }
                }
            }
        }
        class
    }

    /// A class for one agent or around refusals is used once: it goes when it is empty.
    pub(super) fn retire_if_passing(&mut self, class: usize) {
        let key = &self.queue.class(class).key;
        if key.only.is_some() || !key.excluded.is_empty() {
            self.retire_class(class);
        }
    }

    fn retire_class(&mut self, class: usize) {
        let key = &self.queue.class(class).key;
        match key.only {
            Some(only) => {
                if let Some(agent) = self.staff.index.get(&only.agent).copied() {
                    self.staff.agent_mut(agent).own.retain(|c| *c != class);
                }
            }
            None => {
                for profile in self.queue.need(key.need).profiles.iter() {
                    if let Some(Some(profile)) = self.staff.profiles.get_mut(profile) {
                        profile.classes.remove(class);
                    }
                }
            }
        }
        self.queue.retire(class);
    }

    /// Empty classes are kept for their next item, but not without end.
    pub(super) fn tidy(&mut self) {
        if self.queue.class_count() > 4_096 + 2 * self.queue.waiting_classes {
            for class in self.queue.idle_classes() {
                self.retire_class(class);
            }
        }
    }

    pub(super) fn introduce_need(&mut self, need: usize) {
        let Some(it) = self.queue.needs[need].as_mut() else {
            return;
        };
        it.profiles = Default::default();
        for (n, profile) in self.staff.profiles.iter().enumerate() {
            if profile.as_ref().is_some_and(|p| p.meets(it)) {
                it.profiles.insert(n);
            }
        }
    }

    fn introduce_profile(&mut self, profile: usize) {
        let it = self.staff.profile(profile).clone();
        for need in self.queue.needs.iter_mut().flatten() {
            if it.meets(need) {
                need.profiles.insert(profile);
            }
        }
        let serves: Vec<usize> = self
            .queue
            .classes
            .iter()
            .enumerate()
            .filter_map(|(n, class)| Some((n, class.as_ref()?)))
            .filter(|(_, class)| {
                class.key.only.is_none() && self.queue.need(class.key.need).profiles.contains(profile)
            })
            .map(|(n, _)| n)
            .collect();
        let it = self.staff.profile_mut(profile);
        for class in serves {
            it.classes.insert(class);
        }
    }

    fn forget_profile(&mut self, profile: usize) {
        for need in self.queue.needs.iter_mut().flatten() {
            need.profiles.remove(profile);
        }
    }
}
