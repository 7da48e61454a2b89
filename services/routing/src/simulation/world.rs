//! The world a router is put into: agents work, customers wait, leave and change channel; nothing is drawn here.
//!
//! A port of the reference simulator: the same operations in the same order, so that the same decisions give the same
//! log to the byte. That is why floating-point sums here must not be "simplified".

mod calendar;
mod handlers;
mod state;
mod telling;

use std::{collections::HashMap, time::Duration};

use self::calendar::{Calendar, Entry};

pub(super) use self::state::{AgentState, ItemState, ItemStatus, Transfer, Work};

use super::{
    Router,
    protocol::{AgentState as PresenceNow, Answer, Event, RequeueReason},
    trace::{Outcome, Trace, WorldRules},
};

/// An item, by its place in the trace.
pub(super) type ItemIndex = usize;
/// An agent, by its place in the trace.
pub(super) type AgentIndex = usize;

/// How often a router may try again at one instant after an offer that the world refuses.
const TRIES: usize = 50;

/// What happened, not yet put into words: the words are chosen when the router is told, as the reference does.
#[derive(Debug, Clone, Copy)]
enum Happened {
    Arrive(ItemIndex),
    Switch(ItemIndex),
    Abandon(ItemIndex, Option<AgentIndex>),
    Agent(AgentIndex, PresenceNow),
    Accepted(ItemIndex, AgentIndex),
    Declined(ItemIndex, AgentIndex),
    RangOut(ItemIndex, AgentIndex),
    Done(ItemIndex, AgentIndex),
    Free(ItemIndex, AgentIndex),
    Requeue(ItemIndex, AgentIndex, RequeueReason),
    Invalid(ItemIndex, AgentIndex),
}

/// What was counted on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counted {
    /// Offers made.
    pub offers: u64,
    /// Offers that the world had to refuse.
    pub invalid: u64,
    /// Offers declined.
    pub declines: u64,
    /// Offers that nobody answered.
    pub timeouts: u64,
    /// Offers whose customer left while it rang.
    pub rescinded: u64,
    /// Things that happened.
    pub events: u64,
    /// Times the router was asked.
    pub decisions: u64,
}

/// The world at one instant.
pub struct World<'a> {
    pub(super) trace: &'a Trace,
    pub(super) rules: Rules,
    pub(super) agents: Vec<AgentState>,
    pub(super) items: Vec<ItemState>,
    pub(super) counted: Counted,
    pub(super) router_time: Duration,
    pub(super) slowest: Duration,
    now: f64,
    calendar: Calendar,
    happened: Vec<(f64, Happened)>,
    agent_index: HashMap<&'a str, AgentIndex>,
    item_index: HashMap<&'a str, ItemIndex>,
}

/// A channel, by its place in the alphabet.
pub(super) type Channel = usize;

/// The rules by channel number instead of by name: looked at for every offer.
pub(super) struct Rules {
    pub(super) channels: Vec<String>,
    units: Vec<i64>,
    at_most: Vec<i64>,
    interruptible: Vec<bool>,
    offer_timeout_s: Vec<f64>,
    voice: Option<Channel>,
    pub(super) capacity: i64,
    rate: Vec<f64>,
}

impl Rules {
    fn new(rules: &WorldRules) -> Self {
        let channels: Vec<String> = rules.units.keys().cloned().collect();
        let each = |table: &std::collections::BTreeMap<String, f64>| {
            let value = |channel| table.get(channel).copied().unwrap_or(f64::INFINITY);
            channels.iter().map(value).collect()
        };
        Self {
            units: rules.units.values().copied().collect(),
            at_most: channels
                .iter()
                .map(|channel| rules.max_per_channel.get(channel).copied().unwrap_or(0))
                .collect(),
            interruptible: channels
                .iter()
                .map(|channel| rules.interruptible.contains(channel))
                .collect(),
            offer_timeout_s: each(&rules.offer_timeout_s),
            voice: channels.iter().position(|channel| channel == "voice"),
            capacity: rules.capacity_units,
            rate: rules.rate.clone(),
            channels,
        }
    }

    /// The number of a channel that the trace was checked to know.
    pub(super) fn channel(&self, name: &str) -> Channel {
        self.channels
            .iter()
            .position(|channel| channel == name)
            .unwrap_or(usize::MAX)
    }

    fn rate(&self, running: usize) -> f64 {
        self.rate[running.min(self.rate.len()) - 1]
    }
}

impl<'a> World<'a> {
    /// The world before the doors open.
    pub fn new(trace: &'a Trace) -> Self {
        let rules = Rules::new(&trace.rules);
        let mut calendar = Calendar::default();
        for row in &trace.presence {
            calendar.add(row.at_s, Entry::Presence(row.agent, row.state));
        }
        for (item, row) in trace.items.iter().enumerate() {
            calendar.add(row.at_s, Entry::Arrive(item));
        }
        Self {
            agents: trace
                .agents
                .iter()
                .map(|row| AgentState::new(row, &rules))
                .collect(),
            items: trace
                .items
                .iter()
                .map(|row| ItemState::new(row, &rules))
                .collect(),
            agent_index: by_id(trace.agents.iter().map(|agent| agent.id.as_str())),
            item_index: by_id(trace.items.iter().map(|item| item.id.as_str())),
            trace,
            rules,
            counted: Counted::default(),
            router_time: Duration::ZERO,
            slowest: Duration::ZERO,
            now: 0.0,
            calendar,
            happened: Vec::new(),
        }
    }

    /// Lives the whole day with this router.
    ///
    /// # Errors
    /// When the router does not understand what it is told.
    pub fn run(&mut self, router: &mut dyn Router) -> Result<(), String> {
        router.event(&self.opening())?;
        let end = self.trace.rules.end_s;
        while let Some(at) = self.calendar.next_at().filter(|at| *at <= end) {
            self.now = at;
            let mut asked_to_wake = false;
            while let Some(entry) = self.calendar.take_until(at) {
                asked_to_wake |= matches!(entry, Entry::Wake);
                self.counted.events += 1;
                self.handle(entry);
            }
            if !self.happened.is_empty() || asked_to_wake {
                self.ask(router)?;
            }
        }
        self.now = end;
        for agent in 0..self.agents.len() {
            self.work_on(agent);
        }
        router.event(&Event::End { t: end })
    }

    fn ask(&mut self, router: &mut dyn Router) -> Result<(), String> {
        for _ in 0..TRIES {
            let events: Vec<Event> = std::mem::take(&mut self.happened)
                .into_iter()
                .map(|(at, happened)| self.told(at, happened))
                .collect();
            let start = std::time::Instant::now();
            for event in &events {
                router.event(event)?;
            }
            let answer = router.decide(self.now);
            let took = start.elapsed();
            self.router_time += took;
            self.slowest = self.slowest.max(took);
            self.counted.decisions += 1;
            if let Some(wake) = answer.wake.filter(|wake| *wake <= self.trace.rules.end_s) {
                self.calendar.add(wake.max(self.now), Entry::Wake);
            }
            if self.make_all(&answer) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Makes the offers; says how many the world had to refuse.
    fn make_all(&mut self, answer: &Answer) -> usize {
        let mut refused = 0;
        for offer in &answer.offers {
            let item = self.item_index.get(offer.item.as_str()).copied();
            let agent = self.agent_index.get(offer.agent.as_str()).copied();
            match (item, agent) {
                (Some(item), Some(agent)) => refused += usize::from(!self.offer(item, agent)),
                // An offer of nothing or to nobody: the reference overlooks it; we at least count it.
                (None, _) | (_, None) => self.counted.invalid += 1,
            }
        }
        refused
    }

    fn offer(&mut self, item: ItemIndex, agent: AgentIndex) -> bool {
        self.counted.offers += 1;
        self.agents[agent].offered += 1;
        if self.items[item].status != ItemStatus::Queued || !self.feasible(agent, item) {
            self.counted.invalid += 1;
            self.tell(Happened::Invalid(item, agent));
            return false;
        }
        self.work_on(agent);
        let channel = self.items[item].channel;
        self.agents[agent].take(channel, &self.rules);
        self.agents[agent].offers.push(item);
        let state = &mut self.items[item];
        state.status = ItemStatus::Offered;
        state.agent = Some(agent);
        let outcome = self.trace.items[item]
            .outcomes
            .get(state.offers)
            .copied()
            .unwrap_or(Outcome::Accepted(2.0));
        state.offers += 1;
        let rings = self.rules.offer_timeout_s[channel];
        let after = match outcome {
            Outcome::Accepted(seconds) | Outcome::Declined(seconds) => rings.min(seconds),
            Outcome::RingsOut => rings,
        };
        let entry = Entry::OfferEnd {
            item,
            agent,
            leg: state.leg,
            offer: state.offers,
            outcome,
        };
        self.calendar.add(self.now + after, entry);
        true
    }

    /// The hard rules: may this agent get this item?
    fn feasible(&self, agent: AgentIndex, item: ItemIndex) -> bool {
        let row = &self.trace.items[item];
        let state = &self.items[item];
        let who = &self.trace.agents[agent];
        let now = &self.agents[agent];
        let level = who.skills.get(&row.intent).copied().unwrap_or(0);
        now.available(self.now)
            && now.speaks_on[state.channel]
            && who.langs.contains(&row.lang)
            && level >= state.must_level.max(1)
            && now.count[state.channel] < self.rules.at_most[state.channel]
            && self.rules.units[state.channel] <= self.free_units(agent, state.channel)
    }

    /// Units free for a new item: a call pauses what may be paused.
    fn free_units(&self, agent: AgentIndex, channel: Channel) -> i64 {
        let mut used = self.agents[agent].units;
        if Some(channel) == self.rules.voice {
            for (item, _) in &self.agents[agent].active {
                let held = self.items[*item].channel;
                if self.rules.interruptible[held] {
                    used -= self.rules.units[held];
                }
            }
        }
        self.rules.capacity - used
    }

    fn tell(&mut self, happened: Happened) {
        self.happened.push((self.now, happened));
    }
}

fn by_id<'a>(ids: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    ids.enumerate().map(|(at, id)| (id, at)).collect()
}
