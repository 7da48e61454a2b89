//! The serving engine behind the words of the benchmark.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::sync::Arc;

use crate::matcher::{
    AgentKey, AgentSpec, AskedFirst, Channel, ChannelRule, Engine, ItemKey, ItemSpec, Millis, Policy,
    Presence, Requirement, Skill, Step,
};

use super::protocol::{AgentInfo, AgentState, Answer, Event, ItemInfo, Offer, PublicWorld};

/// Work that nobody fit has taken asks for less after this share of its target.
const WIDEN_AFTER_SHARE: f64 = 0.5;

/// What is wrong with what the engine was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A line that is no event.
    #[error("line {line}: {reason}")]
    BadLine {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Reading or writing failed.
    #[error("cannot read or write the protocol")]
    Io(#[from] std::io::Error),
}

/// The serving [`Engine`], told by a simulated day.
#[derive(Debug)]
pub struct BenchEngine {
    policy: Policy,
    day: Option<Day>,
}

#[derive(Debug)]
struct Day {
    engine: Engine,
    world: PublicWorld,
    agents: BTreeMap<String, AgentKey>,
    agent_names: Vec<String>,
    items: HashMap<String, usize>,
    waiting: Vec<Known>,
}

/// What must be remembered of an item to put it back into the queue.
#[derive(Debug)]
struct Known {
    info: ItemInfo,
    arrived: Millis,
    must_level: u8,
    /// The first wait: later ones are not for the agent who knew the customer.
    first_leg: bool,
    accepted: bool,
}

impl BenchEngine {
    /// An engine with these tunables; the world's own rules (units, limits, timeouts) come with the first event.
    pub fn new(policy: Policy) -> Self {
        BenchEngine { policy, day: None }
    }

    /// The engine inside, once the day has begun.
    pub fn engine(&self) -> Option<&Engine> {
        self.day.as_ref().map(|day| &day.engine)
    }

    /// Hears an event. Says what is wrong with one that makes no sense.
    ///
    /// # Errors
    /// When the event names somebody or something unknown, or comes before the day began.
    pub fn event(&mut self, event: &Event) -> Result<(), String> {
        if let Event::Init { world, agents, t } = event {
            self.day = Some(Day::begin(self.policy.clone(), world, agents, millis(*t))?);
            return Ok(());
        }
        let Some(day) = self.day.as_mut() else {
            return Err("the first event must be init".to_owned());
        };
        day.hear(event)
    }

    /// Decides at that time.
    pub fn decide(&mut self, t: f64) -> Answer {
        self.day
            .as_mut()
            .map_or_else(Answer::default, |day| day.decide(millis(t)))
    }
}

impl Day {
    fn begin(
        mut policy: Policy,
        world: &PublicWorld,
        agents: &[AgentInfo],
        now: Millis,
    ) -> Result<Self, String> {
        policy.channels = channel_rules(world)?;
        // The world limits by capacity only, and says itself when agents are back.
        policy.offers.pending_per_person = None;
        policy.offers.missed_return_after_ms = None;
        let mut engine = Engine::new(policy);
        let mut day = Day {
            world: world.clone(),
            agents: BTreeMap::new(),
            agent_names: agents.iter().map(|a| a.id.clone()).collect(),
            items: HashMap::new(),
            waiting: Vec::new(),
            engine: engine.clone(),
        };
        for (n, info) in agents.iter().enumerate() {
            let key = AgentKey(u32::try_from(n).map_err(|_| "too many agents".to_owned())?);
            day.agents.insert(info.id.clone(), key);
            let words = engine.vocabulary_mut();
            let spec = AgentSpec {
                key,
                skills: info
                    .skills
                    .iter()
                    .map(|(s, level)| (words.skill(s), *level))
                    .collect(),
                languages: info.langs.iter().map(|l| words.language(l)).collect(),
                channels: Vec::new(),
                teams: vec![words.team(&info.team)],
                units: world.capacity_units,
                bot: false,
                caps: Vec::new(),
            };
            let channels: Result<Vec<Channel>, String> = info
                .channels
                .iter()
                .map(|name| {
                    engine
                        .policy()
                        .channel(name)
                        .ok_or_else(|| format!("unknown channel {name:?}"))
                })
                .collect();
            engine.upsert_agent(
                AgentSpec {
                    channels: channels?,
                    ..spec
                },
                now,
            );
        }
        for channel in world.target_s.keys() {
            for (entitlement, goal) in &world.goal_sl {
                let cell = engine.vocabulary_mut().cell(&format!("{channel}/{entitlement}"));
                engine.set_goal(cell, *goal);
            }
        }
        day.engine = engine;
        Ok(day)
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Init { .. } | Event::Decide { .. } | Event::End { .. } => Ok(()),
            Event::Arrive { t, item } => {
                self.items.insert(item.id.clone(), self.waiting.len());
                self.waiting.push(Known {
                    info: item.clone(),
                    arrived: millis(*t),
                    must_level: 0,
                    first_leg: true,
                    accepted: false,
                });
                self.enqueue(self.waiting.len() - 1, millis(*t))
            }
            Event::Switch { t, item, channel } => {
                let place = self.item(item)?;
                let known = &mut self.waiting[place];
                known.info.channel.clone_from(channel);
                known.first_leg = false;
                self.enqueue(place, millis(*t))
            }
            Event::Abandon { t, item, .. } => {
                let place = self.item(item)?;
                self.engine.abandoned(key_of(place), millis(*t));
                Ok(())
            }
            Event::Agent { t, agent, state } => {
                let presence = match state {
                    AgentState::Available => Presence::Available,
                    AgentState::Away => Presence::Away,
                    AgentState::NotResponding => Presence::NotResponding { until: None },
                };
                let agent = self.agent(agent)?;
                self.engine.presence(agent, presence, millis(*t));
                Ok(())
            }
            Event::Accepted { t, item, agent } => {
                let (place, agent) = (self.item(item)?, self.agent(agent)?);
                self.waiting[place].accepted = true;
                self.engine.accepted(key_of(place), agent, millis(*t));
                Ok(())
            }
            Event::Declined { t, item, agent } => {
                let (place, agent) = (self.item(item)?, self.agent(agent)?);
                self.engine.declined(key_of(place), agent, millis(*t));
                Ok(())
            }
            Event::Timeout { t, item, agent } => {
                let (place, agent) = (self.item(item)?, self.agent(agent)?);
                self.engine.timed_out(key_of(place), agent, millis(*t));
                Ok(())
            }
            Event::Done { t, item, .. } => {
                let place = self.item(item)?;
                self.engine.wrapping(key_of(place), millis(*t));
                Ok(())
            }
            Event::Free { t, item, agent } => {
                let (place, agent) = (self.item(item)?, self.agent(agent)?);
                self.engine.freed(key_of(place), agent, millis(*t));
                Ok(())
            }
            Event::Requeue {
                t, item, must_level, ..
            } => {
                let place = self.item(item)?;
                let known = &mut self.waiting[place];
                known.must_level = *must_level;
                // Only work that had begun starts a new wait; an offer that was lost goes back to the old one.
                if known.accepted {
                    known.first_leg = false;
                    self.enqueue(place, millis(*t))
                } else {
                    self.engine.offer_lost(key_of(place), millis(*t));
                    Ok(())
                }
            }
            Event::Invalid { t, item, .. } => {
                let place = self.item(item)?;
                self.engine.offer_lost(key_of(place), millis(*t));
                Ok(())
            }
        }
    }

    fn enqueue(&mut self, place: usize, now: Millis) -> Result<(), String> {
        let known = &self.waiting[place];
        let info = &known.info;
        let channel = self
            .engine
            .policy()
            .channel(&info.channel)
            .ok_or_else(|| format!("unknown channel {:?}", info.channel))?;
        let target = self
            .world
            .target_s
            .get(&info.channel)
            .zip(self.world.entitlement_factor.get(&info.entitlement))
            .map(|(seconds, factor)| millis(seconds * factor))
            .ok_or_else(|| format!("no target for {}/{}", info.channel, info.entitlement))?;
        let preferred = if info.preferred.is_empty() || !known.first_leg {
            None
        } else {
            Some(self.agent(&info.preferred)?)
        };
        let carried = millis(info.carried_wait_s);
        let clock_start = known.arrived - carried;
        let words = self.engine.vocabulary_mut();
        let skill = words.skill(&info.intent);
        let language = words.language(&info.lang);
        let cell = words.cell(&format!("{}/{}", info.channel, info.entitlement));
        let least = known.must_level.max(1);
        let wanted = known.must_level.max(info.min_level).max(1);
        let step = |after_ms, skill: Skill, level| Step {
            after_ms,
            requirement: Requirement {
                skills: vec![(skill, level)],
                language: Some(language),
                teams: None,
            },
        };
        let mut steps = vec![step(0, skill, wanted)];
        if wanted > least {
            steps.push(step((target as f64 * WIDEN_AFTER_SHARE) as Millis, skill, least));
        }
        let spec = ItemSpec {
            key: key_of(place),
            channel,
            steps: Arc::from(steps),
            clock_start,
            queued_at: now,
            target_ms: target,
            due_at: clock_start + target,
            carried_ms: carried,
            cell,
            preferred,
            preferred_until: self.engine.policy().preferred.until(now, target),
            pinned: None,
            pinned_until: None,
            asked_first: AskedFirst::Anybody,
            excluded: Vec::new(),
            human_only: false,
            pausable: true,
            units: None,
            order: place as u64,
        };
        self.engine.enqueue(spec, now);
        Ok(())
    }

    fn decide(&mut self, now: Millis) -> Answer {
        let decision = self.engine.decide(now);
        let offers = decision
            .offers
            .iter()
            .map(|offer| Offer {
                item: self.waiting[offer.item.0 as usize].info.id.clone(),
                agent: self.agent_names[offer.agent.0 as usize].clone(),
            })
            .collect();
        Answer {
            offers,
            wake: decision.wake.map(|at| at as f64 / 1_000.0),
        }
    }

    fn item(&self, id: &str) -> Result<usize, String> {
        self.items
            .get(id)
            .copied()
            .ok_or_else(|| format!("unknown item {id:?}"))
    }

    fn agent(&self, id: &str) -> Result<AgentKey, String> {
        self.agents
            .get(id)
            .copied()
            .ok_or_else(|| format!("unknown agent {id:?}"))
    }
}

fn channel_rules(world: &PublicWorld) -> Result<Vec<ChannelRule>, String> {
    const LIVE: [&str; 2] = ["voice", "chat"];
    let of = |map: &BTreeMap<String, u32>, name: &str| {
        map.get(name)
            .copied()
            .ok_or_else(|| format!("channel {name:?} has no such rule"))
    };
    world
        .units
        .iter()
        .map(|(name, units)| {
            let whole = *units >= world.capacity_units;
            Ok(ChannelRule {
                name: name.clone(),
                units: *units,
                max_at_once: of(&world.max_per_channel, name)?,
                whole,
                live: LIVE.contains(&name.as_str()),
                pauses: if name == "voice" {
                    world.interruptible.clone()
                } else {
                    Vec::new()
                },
                offer_timeout_ms: world.offer_timeout_s.get(name).map_or(30_000, |s| millis(*s)),
            })
        })
        .collect()
}

fn key_of(place: usize) -> ItemKey {
    ItemKey(place as u128)
}

/// Seconds of the day as whole milliseconds.
fn millis(seconds: f64) -> Millis {
    (seconds * 1_000.0).round() as Millis
}

/// Serves the protocol until the day ends: events in, one answer for each `decide`.
///
/// # Errors
/// With the number of the line that makes no sense.
pub fn serve(policy: Policy, input: impl BufRead, mut output: impl Write) -> Result<(), EngineError> {
    let mut engine = BenchEngine::new(policy);
    for (n, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let bad = |reason: String| EngineError::BadLine { line: n + 1, reason };
        let event: Event = serde_json::from_str(&line).map_err(|e| bad(e.to_string()))?;
        match &event {
            Event::Decide { t } => {
                let answer = serde_json::to_string(&engine.decide(*t)).map_err(|e| bad(e.to_string()))?;
                writeln!(output, "{answer}")?;
                output.flush()?;
            }
            Event::End { .. } => break,
            Event::Init { .. }
            | Event::Arrive { .. }
            | Event::Switch { .. }
            | Event::Abandon { .. }
            | Event::Agent { .. }
            | Event::Accepted { .. }
            | Event::Declined { .. }
            | Event::Timeout { .. }
            | Event::Done { .. }
            | Event::Free { .. }
            | Event::Requeue { .. }
            | Event::Invalid { .. } => engine.event(&event).map_err(bad)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: &str = r#"{"ev":"init","t":0,"world":{"capacity_units":6,"units":{"chat":2,"voice":6},"max_per_channel":{"chat":3,"voice":1},"interruptible":[],"target_s":{"chat":60,"voice":30},"entitlement_factor":{"gold":0.6667},"goal_sl":{"gold":0.9},"offer_timeout_s":{"chat":20,"voice":15}},"agents":[{"id":"A1","team":"t","langs":["it"],"channels":["chat","voice"],"skills":{"billing":2}}]}"#;

    fn run(lines: &[&str]) -> Result<String, EngineError> {
        let mut output = Vec::new();
        serve(Policy::default(), lines.join("\n").as_bytes(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn each_decide_is_answered_with_one_line_and_twice_the_same() {
        let day = [
            INIT,
            r#"{"ev":"agent","t":1.5,"agent":"A1","state":"available"}"#,
            r#"{"ev":"decide","t":1.5}"#,
            r#"{"ev":"arrive","t":2.0,"item":{"id":"I1","channel":"voice","intent":"billing","lang":"it","entitlement":"gold","min_level":3,"customer":"C1","preferred":"","carried_wait_s":0.0}}"#,
            r#"{"ev":"decide","t":2.0}"#,
            r#"{"ev":"decide","t":12.0}"#,
            r#"{"ev":"end","t":20}"#,
        ];
        let answers = run(&day).unwrap();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines[0], r#"{"offers":[],"wake":null}"#);
        assert_eq!(
            lines[1], r#"{"offers":[],"wake":12.0}"#,
            "level 3 for half of the target"
        );
        assert!(lines[2].starts_with(r#"{"offers":[{"item":"I1","agent":"A1"}]"#));
        assert_eq!(run(&day).unwrap(), answers);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let unknown = run(&[INIT, r#"{"ev":"accepted","t":1,"item":"I9","agent":"A1"}"#]);
        assert_eq!(unknown.unwrap_err().to_string(), "line 2: unknown item \"I9\"");
        let early = run(&[r#"{"ev":"agent","t":1,"agent":"A1","state":"away"}"#]);
        assert_eq!(
            early.unwrap_err().to_string(),
            "line 1: the first event must be init"
        );
        assert!(run(&["{"]).unwrap_err().to_string().starts_with("line 1: "));
    }
}
