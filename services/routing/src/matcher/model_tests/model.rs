//! The naive model: every item against every agent, written plainly.

use std::collections::BTreeMap;

use super::super::feedback::RunningMean;
use super::super::*;

/// The model's item: what the engine was told, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Thing {
    pub(super) spec: ItemSpec,
    pub(super) place: Place,
    /// Refusals that still count, and when each may be forgiven.
    pub(super) refusals: BTreeMap<AgentKey, u32>,
    pub(super) forgiven_at: Vec<(Millis, AgentKey)>,
    /// The deadline it is ranked by, as decided when it was placed.
    pub(super) due: Millis,
    /// Whether it was waiting for the agent who knows the customer, as decided when it was placed.
    pub(super) preferring: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    With(AgentKey, Stage, bool),
}

#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) spec: AgentSpec,
    pub(super) presence: Presence,
    pub(super) idle_since: Millis,
    pub(super) missed: Vec<Millis>,
}

/// The naive model.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) policy: Policy,
    pub(super) things: BTreeMap<u128, Thing>,
    pub(super) people: BTreeMap<AgentKey, Person>,
    pub(super) answers: Vec<RunningMean>,
    pub(super) now: Millis,
}

impl Model {
    pub(super) fn open(&self, person: &Person, channel: Channel) -> bool {
        person.spec.channels.contains(&channel)
            && match &person.presence {
                Presence::Available => true,
                Presence::AvailableFor(list) => list.contains(&channel),
                Presence::Away | Presence::NotResponding { .. } | Presence::Draining | Presence::Offline => {
                    false
                }
            }
    }

    pub(super) fn there(&self, person: &Person) -> bool {
        person.spec.channels.iter().any(|c| self.open(person, *c))
    }

    pub(super) fn in_hand(&self, agent: AgentKey) -> Vec<(Channel, Stage)> {
        self.things
            .values()
            .filter_map(|t| match t.place {
                Place::With(who, stage, _) if who == agent && stage != Stage::Parked => {
                    Some((t.spec.channel, stage))
                }
                Place::With(..) | Place::Waiting => None,
            })
            .collect()
    }

    pub(super) fn units(&self, person: &Person, channel: Channel) -> u32 {
        let rule = &self.policy.channels[usize::from(channel.0)];
        if rule.whole { person.spec.units } else { rule.units }
    }

    pub(super) fn used(&self, person: &Person) -> u32 {
        self.in_hand(person.spec.key)
            .iter()
            .map(|(c, _)| self.units(person, *c))
            .sum()
    }

    pub(super) fn fits(&self, person: &Person, channel: Channel) -> bool {
        let rule = &self.policy.channels[usize::from(channel.0)];
        let hands = self.in_hand(person.spec.key);
        let pending = hands
            .iter()
            .filter(|(_, s)| matches!(s, Stage::Offered { .. }))
            .count();
        let own_cap = person
            .spec
            .caps
            .iter()
            .find(|(c, _)| *c == channel)
            .map(|(_, cap)| *cap);
        let cap = own_cap.unwrap_or(rule.max_at_once) as usize;
        let paused: u32 = self
            .things
            .values()
            .filter(|t| {
                let name = &self.policy.channels[usize::from(t.spec.channel.0)].name;
                t.spec.pausable && rule.pauses.contains(name)
            })
            .filter(|t| {
                matches!(t.place, Place::With(who, Stage::Active | Stage::Wrapping, _) if who == person.spec.key)
            })
            .map(|t| self.units(person, t.spec.channel))
            .sum();
        self.open(person, channel)
            && (person.spec.bot
                || self
                    .policy
                    .offers
                    .pending_per_person
                    .is_none_or(|limit| pending < limit as usize))
            && hands.iter().filter(|(c, _)| *c == channel).count() < cap
            && self.used(person) - paused + self.units(person, channel) <= person.spec.units
    }

    pub(super) fn whole(&self, channel: Channel) -> bool {
        self.policy.channels[usize::from(channel.0)].whole
    }

    pub(super) fn takes_calls(&self, person: &Person) -> bool {
        !person.spec.bot
            && person
                .spec
                .channels
                .iter()
                .any(|c| self.whole(*c) && self.open(person, *c))
    }

    /// Entirely free, and kept from that channel's work by the reserve.
    pub(super) fn reserved(&self, person: &Person, channel: Channel) -> bool {
        if !self.takes_calls(person) || self.used(person) > 0 {
            return false;
        }
        let rule = &self.policy.reserve;
        let ReserveSize::Fixed(digital) = rule.size else {
            unreachable!("the model knows fixed sizes only")
        };
        let size = if self.whole(channel) {
            rule.urgent_size
        } else {
            digital
        };
        person.spec.languages.iter().any(|language| {
            let callers: Vec<&Person> = self
                .people
                .values()
                .filter(|p| self.takes_calls(p) && p.spec.languages.contains(language))
                .collect();
            let free = callers
                .iter()
                .filter(|p| self.used(p) == 0 && p.spec.channels.iter().any(|c| self.fits(p, *c)))
                .count();
            let most = (callers.len() as f64 * rule.max_share) as u32;
            let kept = size.min(most);
            kept > 0 && free as u32 <= kept
        })
    }

    pub(super) fn meets(&self, person: &Person, requirement: &Requirement, human_only: bool) -> bool {
        let level = |skill: Skill| {
            person
                .spec
                .skills
                .iter()
                .find(|(s, _)| *s == skill)
                .map_or(0, |(_, l)| *l)
        };
        !(human_only && person.spec.bot)
            && requirement
                .language
                .is_none_or(|l| person.spec.languages.contains(&l))
            && requirement
                .skills
                .iter()
                .all(|(s, wanted)| level(*s) >= (*wanted).max(1))
    }

    pub(super) fn step<'a>(&self, spec: &'a ItemSpec) -> &'a Requirement {
        let waited = self.now - spec.queued_at;
        let step = spec.steps.iter().rev().find(|s| s.after_ms <= waited);
        &step.unwrap_or(&spec.steps[0]).requirement
    }

    /// The only agent who may have it now.
    pub(super) fn pinned(&self, spec: &ItemSpec) -> Option<AgentKey> {
        spec.pinned
            .filter(|_| spec.pinned_until.is_none_or(|end| self.now < end))
    }

    /// Whether whoever knows the customer may be waited for.
    pub(super) fn within_reach(&self, person: &Person, channel: Channel) -> bool {
        person.spec.channels.contains(&channel)
            && match &person.presence {
                Presence::Available | Presence::Away | Presence::NotResponding { .. } => true,
                Presence::AvailableFor(list) => list.contains(&channel),
                Presence::Draining | Presence::Offline => false,
            }
    }

    /// Decided when an item is placed, and when whom it prefers comes or goes: does it wait for them?
    pub(super) fn would_prefer(&self, thing: &Thing) -> bool {
        let spec = &thing.spec;
        self.pinned(spec).is_none()
            && spec.preferred_until.is_some_and(|end| self.now < end)
            && spec.preferred.is_some_and(|key| {
                !spec.excluded.contains(&key)
                    && self.people.get(&key).is_some_and(|p| {
                        self.within_reach(p, spec.channel)
                            && self.meets(p, &spec.steps[spec.steps.len() - 1].requirement, spec.human_only)
                    })
            })
    }

    pub(super) fn can_take(&self, person: &Person, thing: &Thing) -> bool {
        let spec = &thing.spec;
        if spec.excluded.contains(&person.spec.key) || !self.fits(person, spec.channel) {
            return false;
        }
        if let Some(pinned) = self.pinned(spec) {
            return pinned == person.spec.key;
        }
        if thing.preferring {
            return spec.preferred == Some(person.spec.key);
        }
        self.meets(person, self.step(spec), spec.human_only)
    }

    pub(super) fn pressing(&self, thing: &Thing) -> bool {
        let (rule, spec) = (&self.policy.reserve, &thing.spec);
        let left = if self.whole(spec.channel) {
            rule.urgent_left_ms
        } else {
            (spec.target_ms as f64 * (1.0 - rule.release_share)).round() as Millis
        };
        thing.due <= self.now + left
    }

    /// Equal requirements: only one of these at a time may go next.
    pub(super) fn alike(&self, a: &Thing, b: &Thing) -> bool {
        let sorted = |thing: &Thing| {
            let mut list = thing.spec.excluded.clone();
            list.sort_unstable();
            list.dedup();
            list
        };
        let only = |t: &Thing| (self.pinned(&t.spec), t.preferring.then_some(t.spec.preferred));
        let needs = |t: &Thing| {
            let last = &t.spec.steps[t.spec.steps.len() - 1].requirement;
            if t.preferring {
                last.clone()
            } else {
                self.step(&t.spec).clone()
            }
        };
        let plain = |t: &Thing| (t.spec.channel, t.spec.target_ms, t.spec.cell, t.spec.human_only);
        plain(a) == plain(b)
            && a.spec.steps[0].requirement == b.spec.steps[0].requirement
            && needs(a) == needs(b)
            && only(a) == only(b)
            && sorted(a) == sorted(b)
    }

    /// The item of a group that would go next: of the oldest and the first that can still be in time, on either
    /// clock, the one of the best rank. With `pressing_only` just items that press, by the journey's clock.
    pub(super) fn next_of(&self, group: &[u128], pressing_only: bool) -> Option<(f64, Millis, u64, u128)> {
        let mut lines = vec![self.line(group, |t| Some(t.due), pressing_only)];
        if !pressing_only && self.policy.ranking.carried_only_helps {
            let leg = |t: &Thing| {
                let carried = t.spec.queued_at - t.spec.clock_start;
                (carried > 0).then_some(t.due + carried)
            };
            lines.push(self.line(group, leg, false));
        }
        let mut best: Option<(f64, Millis, u64, u128)> = None;
        for line in lines {
            let live = line.iter().find(|(due, ..)| *due > self.now);
            for (due, order, key) in line.first().into_iter().chain(live) {
                let spec = &self.things[key].spec;
                let is_live = self.policy.rule(spec.channel).live;
                let rank = self.policy.ranking.rank(*due, spec.target_ms, is_live, self.now);
                if best.is_none_or(|(known, ..)| rank > known) {
                    best = Some((rank, *due, *order, *key));
                }
            }
        }
        best
    }

    pub(super) fn line(
        &self,
        group: &[u128],
        due: impl Fn(&Thing) -> Option<Millis>,
        pressing_only: bool,
    ) -> Vec<(Millis, u64, u128)> {
        let mut line: Vec<(Millis, u64, u128)> = group
            .iter()
            .filter(|key| !pressing_only || self.pressing(&self.things[key]))
            .filter_map(|key| Some((due(&self.things[key])?, self.things[key].spec.order, *key)))
            .collect();
        line.sort_unstable();
        line
    }

    pub(super) fn price(&self, person: &Person, thing: &Thing) -> f64 {
        let (spec, choice) = (&thing.spec, &self.policy.choice);
        let mut fit = 0.0;
        for (skill, wanted) in &spec.steps[0].requirement.skills {
            let has = person
                .spec
                .skills
                .iter()
                .find(|(s, _)| s == skill)
                .map_or(0, |(_, l)| *l);
            let (has, wanted) = (f64::from(has), f64::from(*wanted));
            fit += if has < wanted {
                choice.level_below * (wanted - has)
            } else {
                choice.level_above * (has - wanted)
            };
        }
        let in_hand = self.in_hand(person.spec.key).len();
        let call = self.whole(spec.channel);
        let caller = !call && person.spec.channels.iter().any(|c| self.whole(*c));
        if caller {
            fit += choice.takes_calls;
        }
        let load = if caller && in_hand == 0 {
            choice.free_caller_counts_as
        } else {
            in_hand as f64
        };
        let pauses = if call && in_hand > 0 {
            choice.pauses_work
        } else {
            0.0
        };
        let idle = ((self.now - person.idle_since) as f64 / 600_000.0).min(1.0);
        fit + choice.item_in_hand * load + pauses - choice.idle * idle
    }

    /// Who would get it now; `Err` when only the reserve is in the way.
    pub(super) fn chosen(&self, thing: &Thing) -> Result<Option<AgentKey>, ()> {
        let spec = &thing.spec;
        let able: Vec<&Person> = self.people.values().filter(|p| self.can_take(p, thing)).collect();
        let (free, kept): (Vec<&Person>, Vec<&Person>) = able.into_iter().partition(|p| {
            self.pressing(thing) || self.pinned(spec).is_some() || !self.reserved(p, spec.channel)
        });
        if self.pinned(spec).is_none()
            && let Some(known) = free.iter().find(|p| Some(p.spec.key) == spec.preferred)
        {
            return Ok(Some(known.spec.key));
        }
        let best = free.into_iter().min_by(|a, b| {
            let later = |p: &Person| spec.asked_first.later(p.spec.bot);
            later(a)
                .cmp(&later(b))
                .then(self.price(a, thing).total_cmp(&self.price(b, thing)))
                .then((a.idle_since, a.spec.key).cmp(&(b.idle_since, b.spec.key)))
        });
        if best.is_none() && !kept.is_empty() {
            return Err(());
        }
        Ok(best.map(|p| p.spec.key))
    }

    /// The offers of this moment: again and again the best-ranked item that anybody may have.
    pub(super) fn decide(&mut self) -> Vec<(u128, AgentKey)> {
        let mut offers = Vec::new();
        loop {
            let mut groups: Vec<Vec<u128>> = Vec::new();
            for (key, thing) in self.things.iter().filter(|(_, t)| t.place == Place::Waiting) {
                match groups.iter_mut().find(|g| self.alike(&self.things[&g[0]], thing)) {
                    Some(group) => group.push(*key),
                    None => groups.push(vec![*key]),
                }
            }
            let possible = groups.iter().filter_map(|group| {
                let next = self.next_of(group, false)?;
                match self.chosen(&self.things[&next.3]) {
                    Ok(agent) => Some((next, agent?)),
                    Err(()) => {
                        let next = self.next_of(group, true)?;
                        Some((next, self.chosen(&self.things[&next.3]).ok()??))
                    }
                }
            });
            let found =
                possible.max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then((b.1, b.2).cmp(&(a.1, a.2))));
            let Some(((.., key), agent)) = found else {
                return offers;
            };
            let channel = usize::from(self.things[&key].spec.channel.0);
            let until = self.now + self.policy.channels[channel].offer_timeout_ms;
            self.things.get_mut(&key).unwrap().place = Place::With(agent, Stage::Offered { until }, false);
            offers.push((key, agent));
        }
    }

    /// Puts an item back among the waiting.
    pub(super) fn wait(&mut self, key: u128) {
        let mut thing = self.things[&key].clone();
        if let Place::With(who, stage, _) = thing.place
            && matches!(stage, Stage::Active | Stage::Wrapping)
        {
            self.people.get_mut(&who).unwrap().idle_since = self.now;
        }
        thing.place = Place::Waiting;
        thing.preferring = self.would_prefer(&thing);
        let channel = usize::from(thing.spec.channel.0);
        let answer = if self.policy.ranking.answer_ms == 0 {
            0.0
        } else {
            self.answers[channel].get()
        };
        thing.due = thing.spec.due_at - answer.round() as Millis;
        self.things.insert(key, thing);
    }

    pub(super) fn set_presence(&mut self, key: AgentKey, presence: Presence) {
        let Some(mut person) = self.people.get(&key).cloned() else {
            return;
        };
        let was = self.there(&person);
        let channels: Vec<Channel> = (0..32).map(Channel).collect();
        let reach = |presence: &Presence| -> Vec<bool> {
            let there = |channel| match presence {
                Presence::Available | Presence::Away | Presence::NotResponding { .. } => true,
                Presence::AvailableFor(list) => list.contains(channel),
                Presence::Draining | Presence::Offline => false,
            };
            channels.iter().map(there).collect()
        };
        let turned = reach(&person.presence) != reach(&presence);
        person.presence = presence;
        let is = self.there(&person);
        if is && !was {
            person.idle_since = self.now;
        }
        self.people.insert(key, person);
        if turned {
            self.weigh_acquaintance(key);
        }
    }

    /// Who they know waits for them, or does not any more.
    pub(super) fn weigh_acquaintance(&mut self, key: AgentKey) {
        let waiting: Vec<u128> = self
            .things
            .iter()
            .filter(|(_, t)| t.place == Place::Waiting && t.spec.preferred == Some(key))
            .filter(|(_, t)| {
                self.pinned(&t.spec).is_none() && t.spec.preferred_until.is_some_and(|end| self.now < end)
            })
            .map(|(k, _)| *k)
            .collect();
        for thing in waiting {
            self.wait(thing);
        }
    }

    /// Lets time pass; what falls due on the way happens at its moment.
    pub(super) fn tick(&mut self) {
        let now = self.now;
        let due: Vec<u128> = self.things.keys().copied().collect();
        for key in due {
            let mut thing = self.things[&key].clone();
            let forgiven: Vec<AgentKey> = thing
                .forgiven_at
                .iter()
                .filter(|(at, _)| *at <= now)
                .map(|(_, who)| *who)
                .collect();
            thing.forgiven_at.retain(|(at, _)| *at > now);
            thing.spec.excluded.retain(|who| !forgiven.contains(who));
            let over = (thing.preferring && thing.spec.preferred_until == Some(now))
                || (thing.spec.pinned.is_some() && thing.spec.pinned_until == Some(now));
            let waiting = thing.place == Place::Waiting;
            let replaced = waiting && (over || !forgiven.is_empty() || self.step_begins(&thing.spec));
            self.things.insert(key, thing);
            if replaced {
                self.wait(key);
            }
        }
    }

    pub(super) fn step_begins(&self, spec: &ItemSpec) -> bool {
        spec.steps
            .iter()
            .any(|s| s.after_ms > 0 && spec.queued_at + s.after_ms == self.now)
    }
}
