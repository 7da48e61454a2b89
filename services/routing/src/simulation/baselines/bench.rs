//! The mechanism that all baselines share: buckets of equal requirement, first ones compared.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashSet},
};

use super::{
    super::{
        Router,
        protocol::{Answer, Event, Offer},
    },
    floor::{Agent, AgentIndex, Floor, Item, ItemIndex, Place, Touched, level},
};

/// Times this close are the same instant.
const INSTANT_S: f64 = 1e-9;
/// Behind so many items that were declined, the search in a bucket ends.
const LOOK_BEHIND: usize = 20;

/// One widening step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// From so many seconds in the queue …
    pub(super) after_s: f64,
    /// … this level will do …
    pub(super) level: u8,
    /// … or only this agent.
    pub(super) only: Option<AgentIndex>,
}

/// What makes one baseline different from another.
pub(super) trait Rules {
    /// A call may pause email and reviews.
    const INTERRUPTS: bool = false;
    /// Looks at every bucket at every decision: for policies that leave agents idle on purpose.
    const LOOKS_AT_ALL: bool = false;

    /// Learns who works.
    fn open(&mut self, _floor: &Floor) {}
    /// Prepares one decision.
    fn before(&mut self, _floor: &Floor) {}
    /// Steps of widening.
    fn steps(&self, floor: &Floor, item: &Item) -> Vec<Step>;
    /// Order inside a bucket, smaller first.
    fn order(&self, item: &Item) -> f64;
    /// Order between buckets, larger first.
    fn priority(&self, floor: &Floor, item: &Item, now: f64) -> [f64; 2];
    /// Choice of the agent, smaller first.
    fn score(&self, _floor: &Floor, agent: AgentIndex, agent_state: &Agent, _item: &Item, _now: f64) -> f64 {
        let _ = agent;
        agent_state.idle_since
    }
    /// Whether the policy lets this agent have it.
    fn allows(&self, _floor: &Floor, _agent: &Agent, _item: &Item, _now: f64) -> bool {
        true
    }
    /// An offer was chosen.
    fn picked(&mut self, _floor: &Floor, _agent: &Agent) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    channel: usize,
    intent: usize,
    lang: usize,
    entitlement: usize,
    level: u8,
    only: Option<AgentIndex>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    order: f64,
    number: u64,
    item: ItemIndex,
}

/// A router by buckets.
pub(super) struct Bench<R> {
    rules: R,
    floor: Floor,
    buckets: BTreeMap<Requirement, Vec<Waiting>>,
    /// The valid place of an item; others are out of date.
    numbers: Vec<u64>,
    timers: BinaryHeap<Reverse<Timer>>,
    inserted: u64,
    touched: Vec<Touched>,
}

#[derive(Debug, Clone, Copy)]
struct Timer {
    at: f64,
    number: u64,
    item: ItemIndex,
}

/// The first of a bucket among others: the greatest is served first.
#[derive(Debug, Clone, Copy)]
struct First {
    priority: [f64; 2],
    number: u64,
    requirement: Requirement,
}

impl<R: Rules> Bench<R> {
    pub(super) fn new(rules: R) -> Self {
        Self {
            rules,
            floor: Floor::default(),
            buckets: BTreeMap::new(),
            numbers: Vec::new(),
            timers: BinaryHeap::new(),
            inserted: 0,
            touched: Vec::new(),
        }
    }

    fn insert(&mut self, index: ItemIndex, now: f64) -> Requirement {
        self.inserted += 1;
        let number = self.inserted;
        if self.numbers.len() <= index {
            self.numbers.resize(index + 1, 0);
        }
        self.numbers[index] = number;
        let item = &self.floor.items[index];
        let steps = self.rules.steps(&self.floor, item);
        let waited = now - item.queued_at;
        let passed = steps
            .iter()
            .take_while(|step| step.after_s <= waited + INSTANT_S)
            .count();
        let current = steps[passed.max(1) - 1];
        if let Some(next) = steps.get(passed) {
            let at = item.queued_at + next.after_s;
            self.timers.push(Reverse(Timer {
                at,
                number,
                item: index,
            }));
        }
        let requirement = Requirement {
            channel: item.channel,
            intent: item.intent,
            lang: item.lang,
            entitlement: item.entitlement,
            level: current.level,
            only: current.only,
        };
        let waiting = Waiting {
            order: self.rules.order(item),
            number,
            item: index,
        };
        let bucket = self.buckets.entry(requirement).or_default();
        let behind = bucket.partition_point(|other| {
            other
                .order
                .total_cmp(&waiting.order)
                .then(other.number.cmp(&number))
                == Ordering::Less
        });
        bucket.insert(behind, waiting);
        requirement
    }

    fn is_waiting(&self, waiting: &Waiting) -> bool {
        self.numbers[waiting.item] == waiting.number && self.floor.items[waiting.item].place == Place::Queued
    }

    /// The first of a bucket, out-of-date ones thrown away; empty buckets are forgotten.
    fn first(&mut self, requirement: Requirement, now: f64) -> Option<First> {
        let bucket = self.buckets.get(&requirement)?;
        let stale = bucket
            .iter()
            .take_while(|waiting| !self.is_waiting(waiting))
            .count();
        let bucket = self.buckets.get_mut(&requirement)?;
        bucket.drain(..stale);
        let Some(first) = bucket.first() else {
            self.buckets.remove(&requirement);
            return None;
        };
        let item = &self.floor.items[first.item];
        Some(First {
            priority: self.rules.priority(&self.floor, item, now),
            number: first.number,
            requirement,
        })
    }

    fn work_in(&mut self, now: f64) -> (HashSet<AgentIndex>, HashSet<Requirement>) {
        let mut freed = HashSet::new();
        let mut new = HashSet::new();
        for Touched { item, agent } in std::mem::take(&mut self.touched) {
            if let Some(item) = item.filter(|item| self.floor.items[*item].place == Place::Queued) {
                new.insert(self.insert(item, now));
            }
            freed.extend(agent);
        }
        while let Some(Reverse(timer)) = self.timers.peek().copied() {
            if timer.at > now + INSTANT_S {
                break;
            }
            self.timers.pop();
            let waiting = Waiting {
                order: 0.0,
                number: timer.number,
                item: timer.item,
            };
            if self.is_waiting(&waiting) {
                new.insert(self.insert(timer.item, now));
            }
        }
        freed.retain(|agent| self.floor.agents[*agent].available);
        (freed, new)
    }

    fn match_up(&mut self, now: f64, freed: &HashSet<AgentIndex>, new: &HashSet<Requirement>) -> Vec<Offer> {
        self.rules.before(&self.floor);
        let look_at_all_agents = R::LOOKS_AT_ALL || !new.is_empty();
        let mut free: Vec<AgentIndex> = (0..self.floor.agents.len())
            .filter(|agent| look_at_all_agents || freed.contains(agent))
            .filter(|agent| self.floor.has_room(&self.floor.agents[*agent], R::INTERRUPTS))
            .collect();
        let requirements: Vec<Requirement> = self.buckets.keys().copied().collect();
        let mut firsts: BinaryHeap<First> = requirements
            .into_iter()
            .filter_map(|requirement| self.first(requirement, now))
            .collect();
        let mut offers = Vec::new();
        while !free.is_empty()
            && let Some(first) = firsts.pop()
        {
            let fresh = R::LOOKS_AT_ALL || new.contains(&first.requirement);
            let pool: Vec<AgentIndex> = (free.iter().copied())
                .filter(|agent| fresh || freed.contains(agent))
                .filter(|agent| fits(&self.floor.agents[*agent], &first.requirement))
                .collect();
            // Blocked for the rest of this decision when nobody can take anything of it.
            let Some((at, agent)) = self.find(&first.requirement, &pool, now) else {
                continue;
            };
            let waiting = self.buckets[&first.requirement][at];
            let own = First {
                priority: self
                    .rules
                    .priority(&self.floor, &self.floor.items[waiting.item], now),
                number: waiting.number,
                requirement: first.requirement,
            };
            if own.is_behind(&first) {
                // The first one had declined them all: this one is compared at its own rank.
                firsts.push(own);
                continue;
            }
            self.give(waiting.item, agent, &mut offers);
            if !self.floor.has_room(&self.floor.agents[agent], R::INTERRUPTS) {
                free.retain(|other| *other != agent);
            }
            firsts.extend(self.first(first.requirement, now));
        }
        offers
    }

    fn give(&mut self, item: ItemIndex, agent: AgentIndex, offers: &mut Vec<Offer>) {
        self.floor.offer(item, agent);
        self.rules.picked(&self.floor, &self.floor.agents[agent]);
        self.numbers[item] = 0;
        offers.push(Offer {
            item: self.floor.items[item].id.clone(),
            agent: self.floor.agents[agent].id.clone(),
        });
    }

    /// The first item of the bucket that one of these can take, and who takes it.
    fn find(&self, requirement: &Requirement, pool: &[AgentIndex], now: f64) -> Option<(usize, AgentIndex)> {
        if pool.is_empty() {
            return None;
        }
        for (at, waiting) in self.buckets.get(requirement)?.iter().enumerate() {
            if !self.is_waiting(waiting) {
                continue;
            }
            let item = &self.floor.items[waiting.item];
            let best = (pool.iter().copied())
                .filter(|agent| self.may_get(*agent, item, requirement, now))
                .map(|agent| (self.score(agent, item, now), agent))
                .min_by(|(one, first), (other, second)| {
                    let by_id = || self.floor.agents[*first].id.cmp(&self.floor.agents[*second].id);
                    one.total_cmp(other).then_with(by_id)
                });
            if let Some((_, agent)) = best {
                return Some((at, agent));
            }
            if item.excluded.is_empty() || at > LOOK_BEHIND {
                return None;
            }
        }
        None
    }

    fn score(&self, agent: AgentIndex, item: &Item, now: f64) -> f64 {
        self.rules
            .score(&self.floor, agent, &self.floor.agents[agent], item, now)
    }

    fn may_get(&self, index: AgentIndex, item: &Item, requirement: &Requirement, now: f64) -> bool {
        let agent = &self.floor.agents[index];
        requirement.only.is_none_or(|only| only == index)
            && !item.excluded.contains(&index)
            && self.floor.may_get(agent, item, R::INTERRUPTS)
            && self.rules.allows(&self.floor, agent, item, now)
    }
}

fn fits(agent: &Agent, requirement: &Requirement) -> bool {
    agent.channels.contains(&requirement.channel)
        && agent.langs.contains(&requirement.lang)
        && level(agent, requirement.intent) >= requirement.level
}

impl<R: Rules> Router for Bench<R> {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        let touched = self.floor.hear(event);
        self.touched.push(touched);
        if matches!(event, Event::Init { .. }) {
            self.rules.open(&self.floor);
        }
        Ok(())
    }

    fn decide(&mut self, at: f64) -> Answer {
        let (freed, new) = self.work_in(at);
        let offers = if R::LOOKS_AT_ALL || !freed.is_empty() || !new.is_empty() {
            self.match_up(at, &freed, &new)
        } else {
            Vec::new()
        };
        Answer {
            offers,
            wake: self.timers.peek().map(|Reverse(timer)| timer.at),
        }
    }
}

impl First {
    fn by_priority(&self, other: &Self) -> Ordering {
        self.priority[0]
            .total_cmp(&other.priority[0])
            .then(self.priority[1].total_cmp(&other.priority[1]))
    }

    fn is_behind(&self, other: &Self) -> bool {
        self.by_priority(other) == Ordering::Less
    }
}

impl Ord for First {
    fn cmp(&self, other: &Self) -> Ordering {
        self.by_priority(other).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for First {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for First {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for First {}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}
