//! The engine against a naive model: every item against every agent, written plainly.

mod model;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use self::model::{Model, Person, Place, Thing};
use super::feedback::RunningMean;
use super::*;

/// What may happen.
#[derive(Debug, Clone)]
enum Happening {
    Comes {
        channel: u8,
        skill: u16,
        level: u8,
        language: u16,
        gold: bool,
        carried_s: i64,
        preferred: Option<u32>,
        pinned: Option<u32>,
        human_only: bool,
        pausable: bool,
    },
    Leaves(usize),
    Presence(u32, u8),
    Answers(usize, bool),
    RingsOut(usize),
    Ends(usize),
    Parks(usize),
    Resumes(usize),
    Transfers(usize),
    AgentGoes(u32),
    AgentChanges(u32, u8),
    Passes(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let agent = 0..6_u32;
    prop_oneof![
        6 => (
            (0..6_u8, 0..2_u16, 0..4_u8, 0..2_u16, any::<bool>(), prop_oneof![Just(0), 0..200_i64]),
            (proptest::option::weighted(0.2, 0..7_u32), proptest::option::weighted(0.05, 0..7_u32), proptest::bool::weighted(0.2), proptest::bool::weighted(0.8)),
        ).prop_map(|((channel, skill, level, language, gold, carried_s), (preferred, pinned, human_only, pausable))| Comes {
            channel, skill, level, language, gold, carried_s, preferred, pinned, human_only, pausable
        }),
        1 => (0..30_usize).prop_map(Leaves),
        3 => (agent.clone(), 0..6_u8).prop_map(|(a, p)| Presence(a, p)),
        4 => (0..30_usize, proptest::bool::weighted(0.8)).prop_map(|(n, yes)| Answers(n, yes)),
        1 => (0..30_usize).prop_map(RingsOut),
        3 => (0..30_usize).prop_map(Ends),
        1 => (0..30_usize).prop_map(Parks),
        1 => (0..30_usize).prop_map(Resumes),
        1 => (0..30_usize).prop_map(Transfers),
        1 => agent.clone().prop_map(AgentGoes),
        1 => (agent, 0..4_u8).prop_map(|(a, kind)| AgentChanges(a, kind)),
        3 => prop_oneof![0..10_i64, 10..200_i64, 1_000..5_000_i64].prop_map(Passes),
    ]
}

/// Four kinds of agent: Italian, English, both, and a bot.
fn agent_spec(number: u32, kind: u8) -> AgentSpec {
    let level = 1 + u8::try_from(number % 3).unwrap();
    AgentSpec {
        key: AgentKey(number),
        skills: match number % 3 {
            0 => vec![(Skill(0), level)],
            1 => vec![(Skill(0), level), (Skill(1), level)],
            _ => vec![(Skill(1), level)],
        },
        languages: match kind % 4 {
            0 => vec![Language(0)],
            1 => vec![Language(1)],
            _ => vec![Language(0), Language(1)],
        },
        channels: (0..6).filter(|c| kind != 1 || *c != 5).map(Channel).collect(),
        teams: Vec::new(),
        units: if kind == 3 { 20 } else { 6 },
        bot: kind == 3,
        caps: if kind == 3 {
            vec![(Channel(1), 8)]
        } else {
            Vec::new()
        },
    }
}

/// Both, told the same.
struct Pair {
    engine: Engine,
    model: Model,
    next: u128,
}

impl Pair {
    fn new(policy: Policy) -> Self {
        let mut engine = Engine::new(policy.clone());
        let mut people = BTreeMap::new();
        for number in 0..6 {
            let spec = agent_spec(number, u8::try_from(number % 4).unwrap());
            engine.upsert_agent(spec.clone(), 0);
            let person = Person {
                spec,
                presence: Presence::Offline,
                idle_since: 0,
                missed: Vec::new(),
            };
            people.insert(AgentKey(number), person);
        }
        let answers = vec![RunningMean::assume(policy.ranking.answer_ms); policy.channels.len()];
        let model = Model {
            answers,
            policy,
            things: BTreeMap::new(),
            people,
            now: 0,
        };
        Pair {
            engine,
            model,
            next: 0,
        }
    }

    fn nth(&self, n: usize, wanted: impl Fn(&Thing) -> bool) -> Option<u128> {
        let list: Vec<u128> = self
            .model
            .things
            .iter()
            .filter(|(_, t)| wanted(t))
            .map(|(k, _)| *k)
            .collect();
        (!list.is_empty()).then(|| list[n % list.len()])
    }

    fn offered(thing: &Thing) -> bool {
        matches!(thing.place, Place::With(_, Stage::Offered { .. }, _))
    }

    fn held_by(&self, key: u128) -> AgentKey {
        match self.model.things[&key].place {
            Place::With(who, ..) => who,
            Place::Waiting => unreachable!("asked for held items only"),
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.model.now;
        match happening {
            Happening::Comes {
                channel,
                skill,
                level,
                language,
                gold,
                carried_s,
                preferred,
                pinned,
                human_only,
                pausable,
            } => {
                let base = [30_000, 60_000, 180_000, 1_200_000, 7_200_000, 14_400_000][usize::from(channel)];
                let target = if gold { base * 2 / 3 } else { base };
                let requirement = |level| Requirement {
                    skills: vec![(Skill(skill), level)],
                    language: Some(Language(language)),
                    teams: None,
                };
                let mut steps = vec![Step {
                    after_ms: 0,
                    requirement: requirement(level),
                }];
                if level > 1 {
                    steps.push(Step {
                        after_ms: target / 2,
                        requirement: requirement(1),
                    });
                }
                self.next += 1;
                let order = usize::try_from(self.next).unwrap();
                let clock_start = now - carried_s * 1_000;
                let spec = ItemSpec {
                    key: ItemKey(self.next),
                    channel: Channel(channel),
                    steps: Arc::from(steps),
                    clock_start,
                    queued_at: now,
                    target_ms: target,
                    due_at: clock_start + target,
                    carried_ms: carried_s * 1_000,
                    cell: Cell(u16::from(channel)),
                    preferred: preferred.map(AgentKey),
                    preferred_until: self.engine.policy().preferred.until(now, target),
                    pinned: pinned.map(AgentKey),
                    pinned_until: (order % 2 == 0).then_some(now + target / 3),
                    asked_first: [AskedFirst::Anybody, AskedFirst::Bots, AskedFirst::People][order % 3],
                    excluded: Vec::new(),
                    human_only,
                    pausable,
                    units: None,
                    order: u64::try_from(self.next).unwrap(),
                };
                self.engine.enqueue(spec.clone(), now);
                let thing = Thing {
                    spec,
                    place: Place::Waiting,
                    refusals: BTreeMap::new(),
                    forgiven_at: Vec::new(),
                    due: 0,
                    preferring: false,
                };
                self.model.things.insert(self.next, thing);
                self.model.wait(self.next);
            }
            Happening::Leaves(n) => {
                if let Some(key) = self.nth(n, |_| true) {
                    self.engine.remove(ItemKey(key), now);
                    self.model.wait(key);
                    self.model.things.remove(&key);
                }
            }
            Happening::Presence(agent, what) => {
                let presence = match what {
                    0 => Presence::Away,
                    1 => Presence::AvailableFor(vec![Channel(1), Channel(4)]),
                    2 => Presence::Draining,
                    _ => Presence::Available,
                };
                self.engine.presence(AgentKey(agent), presence.clone(), now);
                self.model.set_presence(AgentKey(agent), presence);
            }
            Happening::Answers(n, yes) => {
                if let Some(key) = self.nth(n, Self::offered) {
                    let agent = self.held_by(key);
                    if yes {
                        let thing = &self.model.things[&key];
                        let channel = usize::from(thing.spec.channel.0);
                        if let Place::With(_, Stage::Offered { until }, _) = thing.place {
                            let offered_at = until - self.model.policy.channels[channel].offer_timeout_ms;
                            self.model.answers[channel].measured(now - offered_at);
                        }
                        assert!(self.engine.accepted(ItemKey(key), agent, now));
                        self.model.things.get_mut(&key).unwrap().place =
                            Place::With(agent, Stage::Active, false);
                    } else {
                        assert!(self.engine.declined(ItemKey(key), agent, now));
                        self.refuse(key, agent);
                    }
                }
            }
            Happening::RingsOut(n) => {
                if let Some(key) = self.nth(n, Self::offered) {
                    let agent = self.held_by(key);
                    let presence = self.engine.timed_out(ItemKey(key), agent, now);
                    self.refuse(key, agent);
                    let rule = self.model.policy.offers.clone();
                    let person = self.model.people.get_mut(&agent).unwrap();
                    person.missed.retain(|at| now - at < rule.missed_window_ms);
                    person.missed.push(now);
                    let expected = if person.missed.len() >= rule.missed_until_away as usize {
                        person.missed.clear();
                        Presence::Away
                    } else {
                        Presence::NotResponding {
                            until: rule.missed_return_after_ms.map(|s| now + s),
                        }
                    };
                    assert_eq!(presence, Some(expected.clone()));
                    self.model.set_presence(agent, expected);
                }
            }
            Happening::Ends(n) => {
                let active =
                    |t: &Thing| matches!(t.place, Place::With(_, Stage::Active | Stage::Wrapping, _));
                if let Some(key) = self.nth(n, active) {
                    let agent = self.held_by(key);
                    if n % 2 == 0 {
                        assert!(self.engine.wrapping(ItemKey(key), now));
                    }
                    assert!(self.engine.freed(ItemKey(key), agent, now));
                    self.model.wait(key);
                    self.model.things.remove(&key);
                }
            }
            Happening::Parks(n) => {
                if let Some(key) = self.nth(n, |t| matches!(t.place, Place::With(_, Stage::Active, _))) {
                    let agent = self.held_by(key);
                    assert!(self.engine.parked(ItemKey(key), now));
                    self.model.things.get_mut(&key).unwrap().place = Place::With(agent, Stage::Parked, false);
                }
            }
            Happening::Resumes(n) => {
                if let Some(key) = self.nth(n, |t| matches!(t.place, Place::With(_, Stage::Parked, _))) {
                    let agent = self.held_by(key);
                    assert!(self.engine.resumed(ItemKey(key), now));
                    self.model.things.get_mut(&key).unwrap().place = Place::With(agent, Stage::Active, true);
                }
            }
            Happening::Transfers(n) => {
                if let Some(key) = self.nth(n, |t| matches!(t.place, Place::With(_, Stage::Active, _))) {
                    let spec = ItemSpec {
                        queued_at: now,
                        preferred: None,
                        ..self.model.things[&key].spec.clone()
                    };
                    self.engine.enqueue(spec.clone(), now);
                    self.model.things.get_mut(&key).unwrap().spec = spec;
                    self.model.wait(key);
                }
            }
            Happening::AgentGoes(agent) => {
                let agent = AgentKey(agent);
                self.engine.remove_agent(agent, now);
                self.model.set_presence(agent, Presence::Offline);
                for key in self.model.things.keys().copied().collect::<Vec<_>>() {
                    if matches!(self.model.things[&key].place, Place::With(who, ..) if who == agent) {
                        self.model.wait(key);
                    }
                }
                self.model.people.remove(&agent);
            }
            Happening::AgentChanges(agent, kind) => {
                let spec = agent_spec(agent, kind);
                let over =
                    self.model.people.contains_key(&spec.key) && !self.model.in_hand(spec.key).is_empty();
                // With work in hand a change may make an agent over-full; that is another test.
                if over {
                    return;
                }
                self.engine.upsert_agent(spec.clone(), now);
                let person = Person {
                    spec: spec.clone(),
                    presence: Presence::Offline,
                    idle_since: 0,
                    missed: Vec::new(),
                };
                let known = self.model.people.get(&spec.key);
                let was_there = known.is_some_and(|person| self.model.there(person));
                let learnt = known.is_some_and(|person| person.spec != spec);
                let person = match self.model.people.remove(&spec.key) {
                    Some(known) => Person { spec, ..known },
                    None => person,
                };
                let (key, presence) = (person.spec.key, person.presence.clone());
                self.model.people.insert(key, person);
                if self.model.there(&self.model.people[&key]) && !was_there {
                    self.model.people.get_mut(&key).unwrap().idle_since = now;
                }
                self.model.set_presence(key, presence);
                if learnt {
                    self.model.weigh_acquaintance(key);
                }
            }
            Happening::Passes(span) => self.model.now += span * 100,
        }
    }

    fn refuse(&mut self, key: u128, agent: AgentKey) {
        let rule = self.model.policy.offers.clone();
        let now = self.model.now;
        let thing = self.model.things.get_mut(&key).unwrap();
        let times = thing.refusals.entry(agent).or_insert(0);
        *times += 1;
        thing.spec.excluded.push(agent);
        if *times < rule.ask_at_most
            && let Some(after) = rule.ask_again_after_ms
        {
            thing.forgiven_at.push((now + after, agent));
        }
        self.model.wait(key);
    }

    /// Decides at every moment something is due, up to now.
    fn decide(&mut self, until: Millis) {
        loop {
            self.model.tick();
            for key in self.model.people.keys().copied().collect::<Vec<_>>() {
                if let Presence::NotResponding { until: Some(at) } = self.model.people[&key].presence
                    && at <= self.model.now
                {
                    self.model.set_presence(key, Presence::Available);
                }
            }
            let now = self.model.now;
            let decision = self.engine.decide(now);
            let offers: Vec<(u128, AgentKey)> = decision.offers.iter().map(|o| (o.item.0, o.agent)).collect();
            let expected = self.model.decide();
            assert_eq!(offers, expected, "at {now}");
            assert_eq!(self.engine.check(now), [], "at {now}");
            assert!(decision.wake.is_none_or(|at| at > now), "a wake is ahead");
            match decision.wake {
                Some(at) if at <= until => self.model.now = at,
                Some(_) | None => break,
            }
        }
        self.model.now = until;
    }
}

fn run(policy: Policy, happenings: Vec<Happening>) {
    let mut pair = Pair::new(policy);
    for happening in happenings {
        let before = pair.model.now;
        pair.happen(happening);
        let until = pair.model.now;
        pair.model.now = before;
        pair.decide(until);
        if until > before {
            pair.decide(until);
        }
    }
}

fn policies() -> impl Strategy<Value = Policy> {
    (
        any::<bool>(),
        0..4_u32,
        0..3_u32,
        any::<bool>(),
        0..3_i64,
        any::<[bool; 3]>(),
    )
        .prop_map(|(limit, size, urgent, pack, answer, [old, carried, alike])| {
            let mut policy = Policy::default();
            policy.offers.pending_per_person = limit.then_some(1);
            policy.reserve.size = ReserveSize::Fixed(size);
            policy.reserve.urgent_size = urgent;
            policy.reserve.max_share = 0.5;
            policy.ranking.answer_ms = answer * 1_000;
            policy.ranking.carried_only_helps = carried;
            policy.preferred.share_of_target = 0.25;
            if alike {
                policy.ranking.live_overdue_rank = policy.ranking.overdue_rank;
                policy.ranking.live_overdue_slope = policy.ranking.overdue_slope;
            }
            if old {
                policy.ranking.theta_ms = 100_000;
                policy.ranking.overdue_rank = 0.7;
                policy.ranking.starve_share = 8.0;
                policy.reserve.release_share = 0.9;
            }
            policy.choice = Choice {
                level_above: 0.3,
                item_in_hand: 0.0,
                free_caller_counts_as: 0.0,
                takes_calls: 0.0,
                ..Choice::default()
            };
            if pack {
                policy.choice.takes_calls = 0.5;
                policy.choice.item_in_hand = -0.5;
                policy.choice.free_caller_counts_as = 3.0;
            }
            policy
        })
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn the_engine_decides_like_the_naive_model(
        policy in policies(),
        happenings in proptest::collection::vec(happening(), 1..60),
    ) {
        run(policy, happenings);
    }
}
