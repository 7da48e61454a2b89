//! Least time to breach first, overdue work behind it, some agents kept free for calls: the prototype of ours.

use std::collections::HashMap;

use super::{
    bench::{Rules, Step},
    floor::{Agent, AgentIndex, Floor, Item, level},
    strict::known_first,
};

/// Seconds to breach at which the rank is one half.
const THETA_S: f64 = 100.0;
/// Rank of work that has just become overdue, and how it falls per target.
const OVERDUE: f64 = 0.7;
const OVERDUE_SLOPE: f64 = -0.05;
/// Work overdue by so many targets goes before everything.
const STARVES: f64 = 8.0;
/// Free voice agents per language that digital work leaves alone …
const RESERVE: i64 = 6;
/// … until it has used this share of its target.
const RESERVE_YIELDS: f64 = 0.9;
/// Anybody will do after this share of the target.
const WIDENS_AT: f64 = 0.5;

#[derive(Default)]
pub(super) struct TimeToBreach {
    /// How scarce what an agent can do is; scarce agents are kept free.
    scarcity: Vec<f64>,
    voice_agents: Vec<Vec<AgentIndex>>,
    free_for_calls: Vec<i64>,
}

fn used_up(floor: &Floor, item: &Item, now: f64) -> f64 {
    (now - item.came_at + item.carried) / floor.target_s(item)
}

impl Rules for TimeToBreach {
    const INTERRUPTS: bool = true;
    const LOOKS_AT_ALL: bool = true;

    fn open(&mut self, floor: &Floor) {
        let mut able: HashMap<(usize, usize, usize), u32> = HashMap::new();
        for agent in &floor.agents {
            for what in abilities(agent) {
                *able.entry(what).or_default() += 1;
            }
        }
        let scarce = |agent: &Agent| abilities(agent).map(|what| 1.0 / f64::from(able[&what])).sum();
        self.scarcity = floor.agents.iter().map(scarce).collect();
        for (index, agent) in floor
            .agents
            .iter()
            .enumerate()
            .filter(|(_, agent)| floor.serves_voice(agent))
        {
            for lang in &agent.langs {
                if self.voice_agents.len() <= *lang {
                    self.voice_agents.resize(lang + 1, Vec::new());
                }
                self.voice_agents[*lang].push(index);
            }
        }
    }

    fn before(&mut self, floor: &Floor) {
        let free = |agent: &&AgentIndex| {
            let agent = &floor.agents[**agent];
            agent.units == 0 && agent.available
        };
        self.free_for_calls = self
            .voice_agents
            .iter()
            .map(|agents| agents.iter().filter(free).count() as i64)
            .collect();
    }

    fn steps(&self, floor: &Floor, item: &Item) -> Vec<Step> {
        let target = floor.target_s(item);
        known_first(floor, item, (0.25 * target).min(15.0), WIDENS_AT * target)
    }

    fn order(&self, item: &Item) -> f64 {
        item.came_at - item.carried
    }

    fn priority(&self, floor: &Floor, item: &Item, now: f64) -> [f64; 2] {
        let used = used_up(floor, item, now);
        let rank = if used < 1.0 {
            1.0 / (1.0 + (1.0 - used) * floor.target_s(item) / THETA_S)
        } else if used >= STARVES {
            10.0 + used
        } else {
            OVERDUE + OVERDUE_SLOPE * (used - 1.0)
        };
        [rank, 0.0]
    }

    fn score(&self, floor: &Floor, index: AgentIndex, agent: &Agent, item: &Item, now: f64) -> f64 {
        let has = level(agent, item.intent);
        let wanted = item.min_level.max(item.must_level);
        let over = f64::from(has.saturating_sub(wanted));
        let under = f64::from(wanted.saturating_sub(has));
        let known = if item.preferred == Some(index) { -5.0 } else { 0.0 };
        let idle = ((now - agent.idle_since) / 600.0).min(1.0);
        let in_hand = agent.active.len() + agent.offers.len();
        let is_call = Some(item.channel) == floor.voice;
        // Digital work goes where there is some already, not to an agent who could take a call.
        let load = if !is_call && floor.serves_voice(agent) && in_hand == 0 {
            3.0
        } else {
            in_hand as f64
        };
        let interrupts = if is_call && !agent.active.is_empty() {
            0.5
        } else {
            0.0
        };
        known + 2.0 * under + 0.3 * over + self.scarcity[index] - idle - 0.5 * load + interrupts
    }

    fn allows(&self, floor: &Floor, agent: &Agent, item: &Item, now: f64) -> bool {
        Some(item.channel) == floor.voice
            || !floor.serves_voice(agent)
            || agent.units > 0
            || used_up(floor, item, now) >= RESERVE_YIELDS
            || agent
                .langs
                .iter()
                .all(|lang| self.free_for_calls[*lang] > RESERVE)
    }

    fn picked(&mut self, floor: &Floor, agent: &Agent) {
        if floor.serves_voice(agent) && agent.offers.len() == 1 && agent.active.is_empty() {
            for lang in &agent.langs {
                self.free_for_calls[*lang] -= 1;
            }
        }
    }
}

/// Channel, intent and language that an agent serves.
fn abilities(agent: &Agent) -> impl Iterator<Item = (usize, usize, usize)> {
    let skills = || (0..agent.levels.len()).filter(|intent| agent.levels[*intent] > 0);
    agent.channels.iter().flat_map(move |channel| {
        skills().flat_map(move |intent| agent.langs.iter().map(move |lang| (*channel, intent, *lang)))
    })
}
