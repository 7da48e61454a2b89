//! What a leader keeps is what it would read: after any history, memory that was kept and memory that was read anew
//! decide the same, nothing that is proposed is refused, and nobody waits whom the other would serve.
//!
//! Without a database, so that thousands of histories are played where the sequences of `tests/it` play a few.

mod paper;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use trama_proto::{common::v1::ChannelKind, ids::AgentId};

use self::paper::{NAMES, Paper, agents_of, reasons, tenant};
use super::{
    lead::Lead,
    seat::{Floor, Seat},
    write::{resume, take},
};
use crate::{
    app::Change,
    domain::{Handover, Presence, State, WithdrawReason, WorkItem},
    matcher::{AgentKey, Stage},
    store::Changed,
};

/// What may happen; agents and cases are numbers, and what somebody answers or ends is the first they have.
#[derive(Debug, Clone)]
enum Op {
    Asks {
        case: u128,
        channel: ChannelKind,
        need: usize,
        left: bool,
        preferred: Option<usize>,
    },
    Withdrawn {
        case: u128,
        reason: WithdrawReason,
    },
    Is {
        agent: usize,
        presence: Presence,
    },
    Takes {
        agent: usize,
        kinds: bool,
    },
    Drains {
        agent: usize,
        draining: bool,
    },
    Becomes {
        agent: usize,
        able: u8,
    },
    Accepts(usize),
    Declines(usize),
    Completes(usize),
    Parks(usize),
    Gives {
        agent: usize,
        how: Handover,
        to: usize,
    },
    EndsConsultation {
        agent: usize,
        hand_over: bool,
    },
    Assigned {
        case: u128,
        to: usize,
    },
    Rules(usize),
    Passes(i64),
}

fn any_op() -> impl Strategy<Value = Op> {
    let agent = || 0..NAMES.len();
    let case = || 1..=9_u128;
    let channel = prop_oneof![
        1 => Just(ChannelKind::Voice),
        1 => Just(ChannelKind::WebChat),
        1 => Just(ChannelKind::Whatsapp),
        3 => Just(ChannelKind::Email)
    ];
    let presence =
        prop_oneof![5 => Just(Presence::Available), 1 => Just(Presence::Away), 1 => Just(Presence::Offline)];
    let how =
        prop_oneof![1 => Just(Handover::Blind), 1 => Just(Handover::Warm), 2 => Just(Handover::Consult)];
    prop_oneof![
        8 => (case(), channel, 0..8_usize, prop::bool::weighted(0.1), prop::option::weighted(0.3, agent()))
            .prop_map(|(case, channel, need, left, preferred)| Op::Asks { case, channel, need, left, preferred }),
        2 => (case(), 0..3_usize).prop_map(|(case, n)| Op::Withdrawn { case, reason: reasons()[n] }),
        6 => (agent(), presence).prop_map(|(agent, presence)| Op::Is { agent, presence }),
        1 => (agent(), any::<bool>()).prop_map(|(agent, kinds)| Op::Takes { agent, kinds }),
        1 => (agent(), prop::bool::weighted(0.3)).prop_map(|(agent, draining)| Op::Drains { agent, draining }),
        2 => (agent(), any::<u8>()).prop_map(|(agent, able)| Op::Becomes { agent, able }),
        10 => agent().prop_map(Op::Accepts),
        2 => agent().prop_map(Op::Declines),
        4 => agent().prop_map(Op::Completes),
        2 => agent().prop_map(Op::Parks),
        4 => (agent(), how, 0..7_usize).prop_map(|(agent, how, to)| Op::Gives { agent, how, to }),
        2 => (agent(), any::<bool>()).prop_map(|(agent, hand_over)| Op::EndsConsultation { agent, hand_over }),
        1 => (case(), agent()).prop_map(|(case, to)| Op::Assigned { case, to }),
        1 => (0..2_usize).prop_map(Op::Rules),
        4 => (1..90_i64).prop_map(Op::Passes),
    ]
}

/// What a look takes in, decides and writes; as [`Lead`] does, with paper for a database.
fn look(paper: &mut Paper, floor: &mut Floor) -> bool {
    let now = paper.now;
    let mut changed = std::mem::take(&mut paper.changed);
    changed.items.extend(floor.lapsed(now));
    changed.agents.extend(floor.shifted(now));
    take_in(paper, floor, &changed);
    let decision = floor.engine.decide(now.timestamp_millis());
    let chores = Lead::chores(floor);
    let idle = decision.offers.is_empty() && chores.is_empty();
    let drafts: Vec<_> = decision
        .offers
        .iter()
        .map(|p| Lead::draft(floor, p).expect("known"))
        .collect();
    let mut change = Change::new(&tenant(), now);
    let mut items: HashMap<_, WorkItem> = paper.open().map(|i| (i.id, i.clone())).collect();
    let mut agents = paper.agents.clone();
    for draft in drafts {
        let offer = paper.new_offer();
        let taken = take(&draft, offer, &mut items, &mut agents, floor, &mut change, now);
        assert!(
            taken,
            "{} is proposed to {}, and refused: {:?}",
            draft.seat.item, draft.agent, items[&draft.seat.item]
        );
    }
    for (agent, item) in &chores.resume {
        resume(agent, *item, &mut items, &mut agents, floor, &mut change).expect("it rests");
    }
    for id in &chores.drained {
        let agent = agents.get_mut(id).expect("known");
        if agent.draining && agent.used_units == 0 {
            agent.become_now(Presence::Offline, "shift over", now);
            change.put_agent(agent.clone());
        }
    }
    for agent in change.agents().cloned().collect::<Vec<_>>() {
        floor.put_agent(&agent, Some(&paper.resources), now);
        paper.agents.insert(agent.id.clone(), agent);
    }
    let written: Vec<WorkItem> = change.items().cloned().collect();
    for item in &written {
        paper.write(item.clone());
        floor.put_item(&paper.items[&item.id], Some(&paper.resources), now);
    }
    paper.count_units();
    !idle || floor.next_lapse().is_some_and(|at| at <= now)
}

fn take_in(paper: &Paper, floor: &mut Floor, changed: &Changed) {
    let items: Vec<WorkItem> = changed
        .items
        .iter()
        .filter_map(|id| paper.items.get(id))
        .cloned()
        .collect();
    let mut agents: BTreeSet<AgentId> = agents_of(&items);
    agents.extend(changed.agents.iter().cloned());
    for agent in agents {
        floor.put_agent(&paper.agents[&agent], Some(&paper.resources), paper.now);
    }
    for item in &items {
        floor.put_item(item, Some(&paper.resources), paper.now);
    }
}

/// As a leader that begins.
fn read_anew(paper: &Paper) -> Floor {
    let mut floor = Floor::new(paper.rules.clone());
    for agent in paper.agents.values() {
        floor.put_agent(agent, Some(&paper.resources), paper.now);
    }
    for item in paper.open() {
        floor.put_item(item, Some(&paper.resources), paper.now);
    }
    floor
}

/// Who holds what, and why what waits, waits.
fn picture(
    paper: &Paper,
    floor: &mut Floor,
) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Vec<String>>) {
    let now = paper.now.timestamp_millis();
    let mut holds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0.. {
        let Some(agent) = floor.agent_of(AgentKey(number)).cloned() else {
            break;
        };
        let mut hands: Vec<String> = floor
            .engine
            .in_hand(AgentKey(number))
            .into_iter()
            .map(|(item, stage): (_, Stage)| format!("{:?} {stage:?}", floor.seat(item)))
            .collect();
        hands.sort();
        holds.insert(agent.to_string(), hands);
    }
    let mut waits = BTreeMap::new();
    for item in paper.open() {
        for second in [false, true] {
            let seat = Seat {
                item: item.id,
                second,
            };
            if let Some(waiting) = floor.engine.explain_waiting(seat.key(), now) {
                let mut why: Vec<String> = waiting
                    .obstacles
                    .iter()
                    .map(|(what, count)| format!("{count} {}", floor.engine.obstacle_in_words(*what)))
                    .collect();
                why.sort();
                why.push(format!("step {}, next {:?}", waiting.step, waiting.next_change));
                waits.insert(format!("{} {second}", item.id), why);
            }
        }
    }
    (holds, waits)
}

fn play(groups: &[Vec<Op>]) {
    let mut paper = Paper::new();
    let mut kept = read_anew(&paper);
    for group in groups {
        for op in group {
            paper.run(op);
        }
        if paper.rules != kept.rules {
            kept = read_anew(&paper);
        }
        let mut looks = 0;
        while look(&mut paper, &mut kept) || !paper.changed.is_empty() {
            looks += 1;
            assert!(looks < 20, "it never comes to rest");
        }
        let now = paper.now.timestamp_millis();
        assert_eq!(kept.engine.check(now), [], "after {group:?}");
        let mut anew = read_anew(&paper);
        assert_eq!(
            picture(&paper, &mut kept),
            picture(&paper, &mut anew),
            "kept | read anew, after {group:?}"
        );
        let more = anew.engine.decide(now).offers;
        assert!(
            more.is_empty(),
            "who reads anew would offer more after {group:?}: {more:?}"
        );
        assert!(Lead::chores(&mut anew).drained.is_empty(), "after {group:?}");
        for item in paper.open() {
            assert!(!matches!(item.state, State::Offered(ref hold) if hold.until <= paper.now));
        }
    }
}

#[test]
fn what_is_kept_is_what_would_be_read() {
    // The same histories in every run, unless somebody looks for new ones: TRAMA_TEST_SEQUENCES=100.
    let wanted = std::env::var("TRAMA_TEST_SEQUENCES").ok();
    let wanted: Option<u32> = wanted.and_then(|n| n.parse().ok());
    let config = ProptestConfig {
        cases: wanted.map_or(60, |n| n.saturating_mul(30)),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = match wanted {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let groups = prop::collection::vec(prop::collection::vec(any_op(), 1..4), 20..60);
    let played = runner.run(&groups, |groups| {
        play(&groups);
        Ok(())
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}
