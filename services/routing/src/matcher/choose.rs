//! Choosing the agent, and whom the reserve keeps free.

use super::engine::{Engine, State};
use super::queue::{ClassKey, Place, span};
use super::staff::{Profile, Room};
use super::words::{AgentKey, Channel, Language, Millis};

/// What the reserve tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Needs the whole agent.
    Call,
    /// Everything else.
    Other,
}

/// The agent for an item, or what is in the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Choosing {
    Found(usize),
    /// Somebody would do, but is kept for calls.
    Reserved,
    Nobody,
}

impl Engine {
    /// With so much time left, items of such a class press: they may take a reserved agent.
    pub(super) fn pressing_left(&self, channel: Channel, target_ms: Millis) -> Millis {
        let rule = &self.policy.reserve;
        match self.work_of(channel) {
            Work::Call => rule.urgent_left_ms,
            Work::Other => span(target_ms, 1.0 - rule.release_share),
        }
    }

    pub(super) fn work_of(&self, channel: Channel) -> Work {
        if self.whole & (1 << channel.0) != 0 {
            Work::Call
        } else {
            Work::Other
        }
    }

    /// Remembers that only the reserve is in the way.
    pub(super) fn hold_back(&mut self, class: usize, now: Millis) {
        let press = self.queue.head(class).presses_at();
        let room = self.queue.class_mut(class);
        if !room.held {
            room.held = true;
            self.held_classes.push(class);
        }
        if press > now {
            self.press_again(class, press);
        }
    }

    /// Whether more callers of a language are free than are kept from that kind of work.
    pub(super) fn spare_callers(&self, language: Language, work: Work) -> bool {
        let place = usize::from(language.0);
        let free = self.staff.free_callers.get(place).copied().unwrap_or(0);
        let there = self.staff.callers.get(place).copied().unwrap_or(0);
        let rule = &self.policy.reserve;
        let size = match work {
            Work::Call => rule.urgent_size,
            Work::Other => self.calls.reserve(language),
        };
        let kept = size.min((f64::from(there) * rule.max_share) as u32);
        kept == 0 || free > kept
    }

    /// Whether an agent with that room is kept from that kind of work.
    pub(super) fn is_reserved(&self, profile: &Profile, room: &Room, work: Work) -> bool {
        room.free
            && !profile
                .key
                .languages
                .iter()
                .all(|language| self.spare_callers(*language, work))
    }

    /// The best agent for the item at the head of a class.
    pub(super) fn choose(&self, class: usize, place: Place, now: Millis) -> Choosing {
        let key = &self.queue.class(class).key;
        let bit = 1_u32 << key.channel.0;
        let work = self.work_of(key.channel);
        let item = self.item_at(place.2);
        // Whoever presses does so on the journey's clock, whichever clock ranks them.
        let journey = match item.state {
            State::Queued(at) => at.due,
            State::Held(_) | State::Nowhere => place.0,
        };
        let may_take_reserved = journey <= self.queue.head(class).pressing_line(now);
        if let Some(only) = key.only {
            return self.choose_only(key, only.agent, only.pinned || may_take_reserved);
        }
        let preferred = item.spec.preferred;
        let need = self.queue.need(key.need);
        let wish = &self.queue.need(key.wish).requirement.skills;
        let choice = &self.policy.choice;
        let asked_first = item.spec.asked_first;
        let mut best: Option<(bool, f64, Millis, AgentKey, usize)> = None;
        let mut reserved = false;
        if let Some(agent) = preferred.and_then(|key| self.staff.index.get(&key)).copied() {
            let it = self.staff.agent(agent);
            if let Some((room, _)) = it.place
                && room.fits & bit != 0
                && need.profiles.contains(it.profile)
                && !key.excluded.contains(&it.spec.key)
            {
                if may_take_reserved || !self.is_reserved(self.staff.profile(it.profile), &room, work) {
                    return Choosing::Found(agent);
                }
                reserved = true;
            }
        }
        for number in need
            .profiles
            .both(&self.staff.fitting[usize::from(key.channel.0)])
        {
            let profile = self.staff.profile(number);
            let mut fit = 0.0;
            for (skill, wanted) in wish {
                let (has, wanted) = (f64::from(profile.level(*skill)), f64::from(*wanted));
                fit += if has < wanted {
                    choice.level_below * (wanted - has)
                } else {
                    choice.level_above * (has - wanted)
                };
            }
            let later = asked_first.later(profile.key.bot);
            let caller = self.whole & bit == 0 && profile.key.channels & self.whole != 0;
            if caller {
                fit += choice.takes_calls;
            }
            for (room, line) in &profile.lines {
                if room.fits & bit == 0 || line.is_empty() {
                    continue;
                }
                let Some((since, who, agent)) = line
                    .iter()
                    .find(|(_, who, _)| !key.excluded.contains(who))
                    .copied()
                else {
                    continue;
                };
                if !may_take_reserved && self.is_reserved(profile, room, work) {
                    reserved = true;
                    continue;
                }
                let mut load = f64::from(room.in_hand);
                if caller && room.in_hand == 0 {
                    load = choice.free_caller_counts_as;
                }
                let pauses = if self.whole & bit != 0 && room.in_hand > 0 {
                    choice.pauses_work
                } else {
                    0.0
                };
                let idle = ((now - since) as f64 / 600_000.0).min(1.0);
                let price = fit + choice.item_in_hand * load + pauses - choice.idle * idle;
                let better = best.is_none_or(|(l, p, s, w, _)| {
                    later
                        .cmp(&l)
                        .then(price.total_cmp(&p))
                        .then_with(|| (since, who).cmp(&(s, w)))
                        .is_lt()
                });
                if better {
                    best = Some((later, price, since, who, agent));
                }
            }
        }
        match best {
            Some((.., agent)) => Choosing::Found(agent),
            None if reserved => Choosing::Reserved,
            None => Choosing::Nobody,
        }
    }

    fn choose_only(&self, key: &ClassKey, agent: AgentKey, may_take_reserved: bool) -> Choosing {
        let Some(agent) = self.staff.index.get(&agent).copied() else {
            return Choosing::Nobody;
        };
        let it = self.staff.agent(agent);
        let work = self.work_of(key.channel);
        let fits = it
            .place
            .is_some_and(|(room, _)| room.fits & (1 << key.channel.0) != 0);
        if !fits || key.excluded.contains(&it.spec.key) {
            return Choosing::Nobody;
        }
        let reserved = it
            .place
            .is_some_and(|(room, _)| self.is_reserved(self.staff.profile(it.profile), &room, work));
        if reserved && !may_take_reserved {
            return Choosing::Reserved;
        }
        Choosing::Found(agent)
    }
}
