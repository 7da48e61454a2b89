//! What a router knows of the floor from what it was told.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::protocol::{AgentInfo, AgentState, Event, ItemInfo, PublicWorld, RequeueReason};

pub(super) type AgentIndex = usize;
pub(super) type ItemIndex = usize;

/// An agent as told.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) langs: Vec<usize>,
    pub(super) channels: Vec<usize>,
    /// Level per intent, zero without the skill.
    pub(super) levels: Vec<u8>,
    pub(super) available: bool,
    /// Work in hand, wrap-up included.
    pub(super) active: Vec<ItemIndex>,
    pub(super) offers: Vec<ItemIndex>,
    pub(super) units: i64,
    pub(super) count: Vec<u32>,
    pub(super) idle_since: f64,
    seen: bool,
    /// When something was last given back, and since when he was idle before.
    freed: Option<(f64, f64)>,
}

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Queued,
    Offered(AgentIndex),
    InHand,
    Gone,
}

/// An item as told.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) channel: usize,
    pub(super) intent: usize,
    pub(super) lang: usize,
    pub(super) entitlement: usize,
    pub(super) min_level: u8,
    pub(super) must_level: u8,
    pub(super) preferred: Option<AgentIndex>,
    pub(super) came_at: f64,
    pub(super) carried: f64,
    /// Since when it is in this queue.
    pub(super) queued_at: f64,
    pub(super) leg: u32,
    pub(super) excluded: HashSet<AgentIndex>,
    pub(super) place: Place,
}

/// Numbers for names.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.names.len() - 1);
        self.names.len() - 1
    }

    pub(super) fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

/// Rules by channel number.
#[derive(Debug, Clone)]
pub(super) struct ChannelRules {
    pub(super) units: i64,
    at_most: u32,
    pub(super) interruptible: bool,
    target_s: f64,
}

/// The floor.
#[derive(Debug, Default)]
pub(super) struct Floor {
    pub(super) agents: Vec<Agent>,
    pub(super) items: Vec<Item>,
    pub(super) channels: Names,
    pub(super) entitlements: Names,
    pub(super) rules: Vec<ChannelRules>,
    pub(super) voice: Option<usize>,
    pub(super) capacity: i64,
    intents: Names,
    langs: Names,
    factors: Vec<f64>,
    agent_index: HashMap<String, AgentIndex>,
    item_index: HashMap<String, ItemIndex>,
}

/// What one event was about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Touched {
    /// An item that may wait now.
    pub(super) item: Option<ItemIndex>,
    /// An agent who may have room now.
    pub(super) agent: Option<AgentIndex>,
}

impl Floor {
    /// Takes an event in.
    pub(super) fn hear(&mut self, event: &Event) -> Touched {
        match event {
            Event::Init { world, agents, .. } => self.open(world, agents),
            Event::Arrive { t, item } => return self.arrive(*t, item),
            Event::Switch { t, item, channel } => {
                let item = self.item_index[item];
                self.items[item].channel = self.channels.number(channel);
                self.enter(item, *t);
                return Touched {
                    item: Some(item),
                    agent: None,
                };
            }
            Event::Abandon { item, agent, .. } => {
                let item = self.item_index[item];
                self.leave_offer(item);
                self.items[item].place = Place::Gone;
                let agent = agent.as_ref().map(|agent| self.agent_index[agent]);
                return Touched { item: None, agent };
            }
            Event::Agent { t, agent, state } => {
                let agent = self.agent_index[agent];
                self.presence(agent, *state, *t);
                return Touched {
                    item: None,
                    agent: Some(agent),
                };
            }
            Event::Accepted { item, agent, .. } => {
                let (item, agent) = (self.item_index[item], self.agent_index[agent]);
                self.items[item].place = Place::InHand;
                self.agents[agent].offers.retain(|offered| *offered != item);
                self.agents[agent].active.push(item);
                return Touched {
                    item: None,
                    agent: Some(agent),
                };
            }
            Event::Declined { item, agent, .. } | Event::Timeout { item, agent, .. } => {
                let (item, agent) = (self.item_index[item], self.agent_index[agent]);
                self.leave_offer(item);
                self.items[item].excluded.insert(agent);
                return Touched {
                    item: Some(item),
                    agent: Some(agent),
                };
            }
            Event::Done { agent, .. } => {
                return Touched {
                    item: None,
                    agent: Some(self.agent_index[agent]),
                };
            }
            Event::Free { t, item, agent } => {
                let (item, agent) = (self.item_index[item], self.agent_index[agent]);
                self.put_down(item, agent);
                let state = &mut self.agents[agent];
                state.freed = Some((*t, state.idle_since));
                state.idle_since = *t;
                return Touched {
                    item: None,
                    agent: Some(agent),
                };
            }
            Event::Requeue {
                t,
                item,
                agent,
                reason,
                must_level,
            } => {
                let (item, agent) = (self.item_index[item], self.agent_index[agent]);
                self.requeue(item, agent, *reason, *t);
                self.items[item].must_level = *must_level;
                return Touched {
                    item: Some(item),
                    agent: Some(agent),
                };
            }
            Event::Invalid { item, .. } => {
                let item = self.item_index[item];
                self.leave_offer(item);
                return Touched {
                    item: Some(item),
                    agent: None,
                };
            }
            Event::Decide { .. } | Event::End { .. } => {}
        }
        Touched::default()
    }

    fn open(&mut self, world: &PublicWorld, agents: &[AgentInfo]) {
        self.capacity = i64::from(world.capacity_units);
        for (channel, units) in &world.units {
            let number = self.channels.number(channel);
            debug_assert_eq!(number, self.rules.len());
            self.rules.push(ChannelRules {
                units: i64::from(*units),
                at_most: world.max_per_channel.get(channel).copied().unwrap_or(0),
                interruptible: world.interruptible.contains(channel),
                target_s: world.target_s.get(channel).copied().unwrap_or(f64::INFINITY),
            });
        }
        self.voice = self.channels.find("voice");
        for (entitlement, factor) in &world.entitlement_factor {
            self.entitlements.number(entitlement);
            self.factors.push(*factor);
        }
        for info in agents {
            self.agent_index.insert(info.id.clone(), self.agents.len());
            let agent = self.agent(info);
            self.agents.push(agent);
        }
        let intents = self.intents.names.len();
        for agent in &mut self.agents {
            agent.levels.resize(intents, 0);
        }
    }

    fn agent(&mut self, info: &AgentInfo) -> Agent {
        let skills: BTreeMap<usize, u8> = info
            .skills
            .iter()
            .map(|(intent, level)| (self.intents.number(intent), *level))
            .collect();
        let mut levels = vec![0; self.intents.names.len()];
        for (intent, level) in skills {
            levels[intent] = level;
        }
        Agent {
            id: info.id.clone(),
            langs: info.langs.iter().map(|lang| self.langs.number(lang)).collect(),
            channels: info
                .channels
                .iter()
                .map(|channel| self.channels.number(channel))
                .collect(),
            levels,
            available: false,
            active: Vec::new(),
            offers: Vec::new(),
            units: 0,
            count: vec![0; self.rules.len()],
            idle_since: 0.0,
            seen: false,
            freed: None,
        }
    }

    fn arrive(&mut self, t: f64, info: &ItemInfo) -> Touched {
        let item = self.items.len();
        self.item_index.insert(info.id.clone(), item);
        self.items.push(Item {
            id: info.id.clone(),
            channel: self.channels.number(&info.channel),
            intent: self.intents.number(&info.intent),
            lang: self.langs.number(&info.lang),
            entitlement: self.entitlements.number(&info.entitlement),
            min_level: info.min_level,
            must_level: 0,
            preferred: self.agent_index.get(&info.preferred).copied(),
            came_at: t,
            carried: info.carried_wait_s,
            queued_at: t,
            leg: 0,
            excluded: HashSet::new(),
            place: Place::Queued,
        });
        self.enter(item, t);
        Touched {
            item: Some(item),
            agent: None,
        }
    }

    fn enter(&mut self, item: ItemIndex, t: f64) {
        let item = &mut self.items[item];
        item.place = Place::Queued;
        item.leg += 1;
        item.queued_at = t;
    }

    fn presence(&mut self, agent: AgentIndex, state: AgentState, t: f64) {
        let agent = &mut self.agents[agent];
        agent.available = state == AgentState::Available;
        if agent.available && !agent.seen {
            agent.seen = true;
            agent.idle_since = t;
        }
        // Work that went down with his site does not count as finished: he is not idle since then.
        if let Some((at, before)) = agent.freed.filter(|_| !agent.available)
            && at == t
        {
            agent.idle_since = before;
        }
    }

    fn requeue(&mut self, item: ItemIndex, agent: AgentIndex, reason: RequeueReason, t: f64) {
        match self.items[item].place {
            // It only rang: it keeps its place in the queue.
            Place::Offered(_) => self.leave_offer(item),
            Place::InHand | Place::Queued | Place::Gone => {
                self.put_down(item, agent);
                self.enter(item, t);
            }
        }
        match reason {
            RequeueReason::Transfer => self.agents[agent].idle_since = t,
            RequeueReason::AgentLost => {}
        }
    }

    fn leave_offer(&mut self, item: ItemIndex) {
        if let Place::Offered(agent) = self.items[item].place {
            self.give_back(item, agent);
            self.agents[agent].offers.retain(|offered| *offered != item);
            self.items[item].place = Place::Queued;
        }
    }

    fn put_down(&mut self, item: ItemIndex, agent: AgentIndex) {
        if let Some(at) = self.agents[agent].active.iter().position(|held| *held == item) {
            self.agents[agent].active.remove(at);
            self.give_back(item, agent);
        }
    }

    fn give_back(&mut self, item: ItemIndex, agent: AgentIndex) {
        let channel = self.items[item].channel;
        self.agents[agent].units -= self.rules[channel].units;
        self.agents[agent].count[channel] -= 1;
    }

    /// Holds the units of an offer that is about to be made.
    pub(super) fn offer(&mut self, item: ItemIndex, agent: AgentIndex) {
        let channel = self.items[item].channel;
        self.agents[agent].units += self.rules[channel].units;
        self.agents[agent].count[channel] += 1;
        self.agents[agent].offers.push(item);
        self.items[item].place = Place::Offered(agent);
    }

    /// The answer is due within.
    pub(super) fn target_s(&self, item: &Item) -> f64 {
        self.rules[item.channel].target_s * self.factors[item.entitlement]
    }

    pub(super) fn may_get(&self, agent: &Agent, item: &Item, interrupting: bool) -> bool {
        let rules = &self.rules[item.channel];
        agent.available
            && agent.channels.contains(&item.channel)
            && agent.langs.contains(&item.lang)
            && level(agent, item.intent) >= item.must_level.max(1)
            && agent.count[item.channel] < rules.at_most
            && rules.units <= self.capacity - self.used(agent, item.channel, interrupting)
    }

    fn used(&self, agent: &Agent, channel: usize, interrupting: bool) -> i64 {
        let mut used = agent.units;
        if interrupting && Some(channel) == self.voice {
            for held in agent
                .active
                .iter()
                .map(|item| &self.rules[self.items[*item].channel])
            {
                if held.interruptible {
                    used -= held.units;
                }
            }
        }
        used
    }

    pub(super) fn serves_voice(&self, agent: &Agent) -> bool {
        self.voice.is_some_and(|voice| agent.channels.contains(&voice))
    }

    /// Whether he has room for anything at all.
    pub(super) fn has_room(&self, agent: &Agent, interrupting: bool) -> bool {
        let interruptible = |item: &ItemIndex| self.rules[self.items[*item].channel].interruptible;
        let on_a_call = || self.voice.is_some_and(|voice| agent.count[voice] > 0);
        agent.available
            && (self.capacity - agent.units >= 2
                || interrupting && agent.active.iter().any(interruptible) && !on_a_call())
    }
}

/// Level of an agent, zero without the skill; an intent that nobody has may be newer than the table.
pub(super) fn level(agent: &Agent, intent: usize) -> u8 {
    agent.levels.get(intent).copied().unwrap_or(0)
}
