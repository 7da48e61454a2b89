//! The engine checks itself, in slices, while it serves.

use super::choose::Choosing;
use super::engine::{Engine, State};
use super::spec::Stage;
use super::staff::{InHand, units_of};
use super::words::{AgentKey, Channel, ItemKey, Millis};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// An agent holds more than they can.
    OverCapacity(AgentKey),
    /// An agent's counts do not match what they hold.
    WrongCounts(AgentKey),
    /// An item is in nobody's hands, or in several.
    Lost(ItemKey),
    /// A waiting item is not in its class.
    Unreachable(ItemKey),
    /// A class and its head differ.
    WrongHead(ItemKey),
    /// An item waits although somebody could take it and no rule holds it back.
    NeedlessWait(ItemKey, AgentKey),
    /// An item waits for one agent longer than it may.
    HeldTooLong(ItemKey),
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckCursor {
    agent: usize,
    item: usize,
    class: usize,
}

impl Engine {
    /// Checks everything at once. Right after [`Engine::decide`] at the same `now`, nothing may come back.
    pub fn check(&self, now: Millis) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut cursor = CheckCursor::default();
        while let Some(next) = self.check_slice(cursor, 4_096, now, &mut found) {
            cursor = next;
        }
        found
    }

    /// Checks at most so many things, and says where to go on; none when it came to the end.
    pub fn check_slice(
        &self,
        from: CheckCursor,
        at_most: usize,
        now: Millis,
        found: &mut Vec<Violation>,
    ) -> Option<CheckCursor> {
        let mut left = at_most.max(1);
        let mut at = from;
        while left > 0 {
            left -= 1;
            if at.agent < self.staff.agents.len() {
                self.check_agent(at.agent, found);
                at.agent += 1;
            } else if at.item < self.items.len() {
                self.check_item(at.item, now, found);
                at.item += 1;
            } else if at.class < self.queue.classes.len() {
                self.check_class(at.class, now, found);
                at.class += 1;
            } else {
                return None;
            }
        }
        Some(at)
    }

    /// Counts what waits, by what is most in its way, from a class on; so many pairs of agent and class at most, and one
    /// class at least. Returns where to go on; nothing when that was all.
    pub fn count_obstacles(
        &self,
        from: usize,
        at_most: usize,
        counts: &mut std::collections::HashMap<String, i64>,
    ) -> Option<usize> {
        let agents = self.staff.agents.len().max(1);
        let mut left = at_most;
        for class in from..self.queue.classes.len() {
            let waits = self.queue.classes[class].as_ref().map_or(0, |c| c.journey.len());
            if waits == 0 {
                continue;
            }
            let obstacles = self.obstacles(class);
            let reason = obstacles.first().map_or_else(
                || "there is no agent".to_owned(),
                |(obstacle, _)| self.obstacle_in_words(*obstacle),
            );
            *counts.entry(reason).or_insert(0) += i64::try_from(waits).unwrap_or(i64::MAX);
            left = left.saturating_sub(agents);
            if left == 0 {
                return Some(class + 1);
            }
        }
        None
    }

    fn check_agent(&self, agent: usize, found: &mut Vec<Violation>) {
        let Some(it) = &self.staff.agents[agent] else {
            return;
        };
        let key = &self.staff.profile(it.profile).key;
        let mut counted = vec![InHand::default(); it.by_channel.len()];
        let (mut used, mut pending, mut in_hand, mut resumed) = (0, 0, 0, 0);
        for item in &it.held {
            let Some(Some(thing)) = self.items.get(*item) else {
                found.push(Violation::WrongCounts(it.spec.key));
                return;
            };
            let State::Held(held) = thing.state else {
                found.push(Violation::Lost(thing.spec.key));
                continue;
            };
            if held.agent != agent {
                found.push(Violation::Lost(thing.spec.key));
            }
            resumed += u32::from(held.resumed);
            let size = units_of(key, &self.policy, &thing.spec);
            let mine = &mut counted[usize::from(thing.spec.channel.0)];
            match held.stage {
                Stage::Parked => continue,
                Stage::Offered { .. } => pending += 1,
                Stage::Active | Stage::Wrapping => {
                    mine.active_units += if thing.spec.pausable { size } else { 0 };
                }
            }
            mine.count += 1;
            used += size;
            in_hand += 1;
        }
        if counted != it.by_channel
            || (used, pending, in_hand, resumed) != (it.used, it.pending, it.in_hand, it.resumed)
        {
            found.push(Violation::WrongCounts(it.spec.key));
        }
        if resumed == 0 && used > key.units + self.most_paused(&counted) {
            found.push(Violation::OverCapacity(it.spec.key));
        }
    }

    /// Units that may be paused, or have been and wait for room to go on.
    fn most_paused(&self, counted: &[InHand]) -> u32 {
        let channels = 0..self.policy.channels.len();
        let paused = channels.fold(0, |mask, n| mask | self.policy.paused_by(Channel(n as u8)));
        counted
            .iter()
            .enumerate()
            .filter(|(n, _)| paused & (1 << n) != 0)
            .map(|(_, it)| it.active_units)
            .sum()
    }

    fn check_item(&self, item: usize, now: Millis, found: &mut Vec<Violation>) {
        let Some(it) = &self.items[item] else {
            return;
        };
        let key = it.spec.key;
        match it.state {
            State::Nowhere => found.push(Violation::Lost(key)),
            State::Queued(at) => {
                let there = self
                    .queue
                    .classes
                    .get(at.class)
                    .and_then(Option::as_ref)
                    .is_some_and(|c| c.journey.contains(&(at.due, it.spec.order, item)));
                if !there {
                    found.push(Violation::Unreachable(key));
                    return;
                }
                let until = match self.queue.class(at.class).key.only {
                    Some(only) if only.pinned => it.spec.pinned_until,
                    Some(_) => it.spec.preferred_until,
                    None => None,
                };
                if until.is_some_and(|until| until <= now) {
                    found.push(Violation::HeldTooLong(key));
                }
            }
            State::Held(held) => {
                let holds = self
                    .staff
                    .agents
                    .get(held.agent)
                    .and_then(Option::as_ref)
                    .is_some_and(|a| a.held.iter().filter(|i| **i == item).count() == 1);
                if !holds {
                    found.push(Violation::Lost(key));
                }
            }
        }
    }

    fn check_class(&self, class: usize, now: Millis, found: &mut Vec<Violation>) {
        let Some(head) = self.queue.classes[class].as_ref().and_then(|c| c.journey.first()) else {
            return;
        };
        let key = self.item_at(head.2).spec.key;
        if !self.queue.head_is_right(class) {
            found.push(Violation::WrongHead(key));
        }
        // The most urgent item of a class decides for all of them: they differ in nothing else.
        if let Choosing::Found(agent) = self.choose(class, *head, now) {
            found.push(Violation::NeedlessWait(key, self.staff.agent(agent).spec.key));
        }
    }
}
