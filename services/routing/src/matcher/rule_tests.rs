//! Each rule by itself.

use std::sync::Arc;

use super::*;

const VOICE: Channel = Channel(0);
const CHAT: Channel = Channel(1);
const EMAIL: Channel = Channel(4);

/// Nothing reserved, nothing steered: one rule at a time.
fn plain() -> Policy {
    let mut policy = Policy::default();
    policy.reserve.size = ReserveSize::Fixed(0);
    policy.reserve.urgent_size = 0;
    policy.reserve.max_share = 1.0;
    policy.steering.gain = 0.0;
    policy.offers.pending_per_person = None;
    policy
}

fn requirement(level: u8) -> Requirement {
    Requirement {
        skills: vec![(Skill(0), level)],
        language: Some(Language(0)),
        teams: None,
    }
}

fn item(key: u128, channel: Channel, now: Millis, target_ms: Millis) -> ItemSpec {
    ItemSpec {
        key: ItemKey(key),
        channel,
        steps: Arc::from([Step {
            after_ms: 0,
            requirement: requirement(1),
        }]),
        clock_start: now,
        queued_at: now,
        target_ms,
        due_at: now + target_ms,
        carried_ms: 0,
        cell: Cell(0),
        preferred: None,
        preferred_until: None,
        pinned: None,
        pinned_until: None,
        asked_first: AskedFirst::Anybody,
        excluded: Vec::new(),
        human_only: false,
        pausable: true,
        units: None,
        order: key as u64,
    }
}

fn agent(key: u32, level: u8) -> AgentSpec {
    AgentSpec {
        key: AgentKey(key),
        skills: vec![(Skill(0), level)],
        languages: vec![Language(0)],
        channels: vec![VOICE, CHAT, EMAIL],
        teams: Vec::new(),
        units: 6,
        bot: false,
        caps: Vec::new(),
    }
}

/// An engine with such agents, there since 0, 1, 2 … seconds.
fn engine(policy: Policy, levels: &[u8]) -> Engine {
    let mut engine = Engine::new(policy);
    engine.vocabulary_mut().skill("billing");
    engine.vocabulary_mut().language("it");
    for (n, level) in (0_u32..).zip(levels) {
        let since = Millis::from(n) * 1_000;
        engine.upsert_agent(agent(n, *level), since);
        engine.presence(AgentKey(n), Presence::Available, since);
    }
    engine
}

fn offers(engine: &mut Engine, now: Millis) -> Vec<(u128, u32)> {
    let decision = engine.decide(now);
    assert_eq!(engine.check(now), []);
    decision.offers.iter().map(|o| (o.item.0, o.agent.0)).collect()
}

#[test]
fn the_least_time_to_breach_goes_first_whatever_the_channel() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, EMAIL, 10_000, 7_200_000), 10_000);
    engine.enqueue(item(2, CHAT, 10_000, 60_000), 10_000);
    engine.enqueue(item(3, VOICE, 10_000, 30_000), 10_000);
    assert_eq!(
        offers(&mut engine, 10_000),
        [(3, 0)],
        "a call takes the whole agent"
    );
    engine.accepted(ItemKey(3), AgentKey(0), 11_000);
    engine.freed(ItemKey(3), AgentKey(0), 12_000);
    assert_eq!(offers(&mut engine, 12_000), [(2, 0), (1, 0)]);
}

#[test]
fn the_longest_idle_agent_gets_it_and_a_better_fit_goes_before_that() {
    let mut both = engine(plain(), &[1, 1]);
    both.enqueue(item(1, CHAT, 5_000, 60_000), 5_000);
    assert_eq!(offers(&mut both, 5_000), [(1, 0)]);

    let mut fit = engine(plain(), &[1, 2]);
    let mut wants_two = item(1, CHAT, 5_000, 60_000);
    wants_two.steps = Arc::from([
        Step {
            after_ms: 0,
            requirement: requirement(2),
        },
        Step {
            after_ms: 30_000,
            requirement: requirement(1),
        },
    ]);
    fit.enqueue(wants_two, 5_000);
    assert_eq!(offers(&mut fit, 5_000), [(1, 1)]);
}

#[test]
fn a_requirement_widens_when_its_time_comes_and_not_before() {
    let mut engine = engine(plain(), &[1]);
    let mut spec = item(1, CHAT, 5_000, 60_000);
    spec.steps = Arc::from([
        Step {
            after_ms: 0,
            requirement: requirement(2),
        },
        Step {
            after_ms: 30_000,
            requirement: requirement(1),
        },
    ]);
    engine.enqueue(spec, 5_000);
    let first = engine.decide(5_000);
    assert_eq!((first.offers.len(), first.wake), (0, Some(35_000)));
    let waiting = engine.explain_waiting(ItemKey(1), 23_000).unwrap();
    assert_eq!(waiting.obstacles, [(Obstacle::Skill(Skill(0), 2), 1)]);
    assert_eq!(
        waiting.words,
        "Number 1 in line, breaches in 42 s. 1 agent: lacks billing level 2. It asks for less in 12 s."
    );
    assert_eq!(offers(&mut engine, 34_999), []);
    assert_eq!(offers(&mut engine, 35_000), [(1, 0)]);
}

#[test]
fn a_call_pauses_email_and_says_so() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, EMAIL, 5_000, 7_200_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0)]);
    engine.enqueue(item(2, VOICE, 6_000, 30_000), 6_000);
    assert_eq!(
        offers(&mut engine, 6_000),
        [],
        "an offer that rings cannot be paused"
    );
    engine.accepted(ItemKey(1), AgentKey(0), 7_000);
    let decision = engine.decide(7_000);
    assert_eq!(decision.offers[0].why.pauses, [EMAIL]);
    assert_eq!(
        engine.why_in_words(&decision.offers[0].why),
        "Breaches in 29 s. You fit best and are idle longest (7 s) of 1 free, 1 there. Your billing level 1 of 1 \
         asked. Your email is paused."
    );
}

#[test]
fn the_reserve_keeps_a_free_caller_until_the_work_presses() {
    let mut policy = plain();
    policy.reserve.size = ReserveSize::Fixed(1);
    policy.reserve.release_share = 0.9;
    let mut engine = engine(policy, &[1]);
    engine.enqueue(item(1, CHAT, 5_000, 60_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), []);
    let waiting = engine.explain_waiting(ItemKey(1), 5_000).unwrap();
    assert_eq!(waiting.obstacles, [(Obstacle::Reserve, 1)]);
    assert_eq!(
        engine.decide(5_000).wake,
        Some(59_000),
        "at nine tenths of the target"
    );
    assert_eq!(offers(&mut engine, 59_000), [(1, 0)]);
}

#[test]
fn a_small_team_has_no_reserve() {
    let mut policy = plain();
    policy.reserve.size = ReserveSize::Fixed(6);
    policy.reserve.max_share = 0.25;
    let mut engine = engine(policy, &[1, 1, 1]);
    engine.enqueue(item(1, CHAT, 5_000, 60_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0)]);
}

#[test]
fn who_declined_is_not_asked_again_until_it_is_forgiven() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, CHAT, 5_000, 60_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0)]);
    engine.declined(ItemKey(1), AgentKey(0), 6_000);
    assert_eq!(offers(&mut engine, 6_000), []);
    assert_eq!(offers(&mut engine, 306_000), [(1, 0)]);
}

#[test]
fn a_second_missed_offer_within_the_window_makes_the_agent_away() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, CHAT, 5_000, 60_000), 5_000);
    engine.enqueue(item(2, CHAT, 5_000, 60_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0), (2, 0)]);
    let until = Some(85_000);
    let first = engine.timed_out(ItemKey(1), AgentKey(0), 25_000);
    assert_eq!(first, Some(Presence::NotResponding { until }));
    assert!(!engine.is_available(AgentKey(0)));
    assert_eq!(
        engine.timed_out(ItemKey(2), AgentKey(0), 26_000),
        Some(Presence::Away)
    );
    assert_eq!(offers(&mut engine, 90_000), [], "the return was called off");
}

#[test]
fn who_knows_the_customer_is_waited_for_only_so_long() {
    let mut policy = plain();
    policy.preferred.share_of_target = 0.25;
    let mut engine = engine(policy.clone(), &[1, 1]);
    engine.enqueue(item(1, VOICE, 5_000, 30_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0)]);
    let known = ItemSpec {
        preferred: Some(AgentKey(0)),
        preferred_until: policy.preferred.until(5_000, 60_000),
        ..item(2, CHAT, 5_000, 60_000)
    };
    engine.enqueue(known, 5_000);
    let decision = engine.decide(5_000);
    assert_eq!((decision.offers.len(), decision.wake), (0, Some(20_000)));
    assert_eq!(offers(&mut engine, 20_000), [(2, 1)]);
}

#[test]
fn a_pinned_item_goes_to_nobody_else() {
    let mut engine = engine(plain(), &[1, 1]);
    let pinned = ItemSpec {
        pinned: Some(AgentKey(7)),
        ..item(1, CHAT, 5_000, 60_000)
    };
    engine.enqueue(pinned, 5_000);
    assert_eq!(offers(&mut engine, 5_000), []);
    assert_eq!(engine.waits_for(ItemKey(1)), Some(AgentKey(7)));
    engine.upsert_agent(agent(7, 0), 6_000);
    engine.presence(AgentKey(7), Presence::Available, 6_000);
    assert_eq!(offers(&mut engine, 6_000), [(1, 7)], "whatever their skills");
}

#[test]
fn a_parked_conversation_gives_its_room_back_and_may_return_over_the_limit() {
    let mut engine = engine(plain(), &[1]);
    for n in 1..=4 {
        engine.enqueue(item(n, CHAT, 5_000, 60_000), 5_000);
    }
    assert_eq!(offers(&mut engine, 5_000), [(1, 0), (2, 0), (3, 0)]);
    engine.accepted(ItemKey(1), AgentKey(0), 6_000);
    assert_eq!(offers(&mut engine, 6_000), []);
    engine.parked(ItemKey(1), 7_000);
    assert_eq!(offers(&mut engine, 7_000), [(4, 0)]);
    engine.resumed(ItemKey(1), 8_000);
    assert_eq!(engine.check(8_000), []);
    assert_eq!(engine.in_hand(AgentKey(0)).len(), 4);
}

#[test]
fn a_refused_proposal_is_forgotten_until_the_truth_is_told() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, VOICE, 5_000, 30_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(1, 0)]);
    engine.refuse(ItemKey(1), 5_100);
    assert_eq!((engine.item_count(), engine.in_hand(AgentKey(0)).len()), (0, 0));
    engine.enqueue(item(2, VOICE, 5_200, 30_000), 5_200);
    assert_eq!(offers(&mut engine, 5_200), [(2, 0)]);
}

#[test]
fn take_over_goes_on_with_what_is_in_hand() {
    let mut engine = engine(plain(), &[1]);
    engine.enqueue(item(1, CHAT, 0, 60_000), 5_000);
    engine.hold(ItemKey(1), AgentKey(0), Stage::Active, 5_000);
    engine.enqueue(item(2, VOICE, 0, 30_000), 5_000);
    engine.enqueue(item(3, CHAT, 0, 60_000), 5_000);
    assert_eq!(offers(&mut engine, 5_000), [(3, 0)], "no call beside a chat");
}

#[test]
fn a_cell_behind_its_goal_goes_first() {
    let mut policy = plain();
    policy.steering.gain = 1.0;
    let mut engine = engine(policy, &[]);
    for cell in [Cell(0), Cell(1)] {
        engine.set_goal(cell, 0.9);
    }
    for n in 0..40 {
        engine.enqueue(item(100 + n, CHAT, 0, 60_000), 0);
        engine.abandoned(ItemKey(100 + n), 50_000);
    }
    assert!(engine.cell_result(Cell(0)).unwrap().weight > 1.1);
    let other = ItemSpec {
        cell: Cell(1),
        ..item(1, VOICE, 50_000, 30_000)
    };
    engine.enqueue(other, 50_000);
    engine.enqueue(item(2, VOICE, 50_000, 40_000), 50_000);
    engine.upsert_agent(agent(0, 1), 50_000);
    engine.presence(AgentKey(0), Presence::Available, 50_000);
    assert_eq!(
        offers(&mut engine, 50_000),
        [(2, 0)],
        "later to breach, but its cell is behind"
    );
}

#[test]
fn work_left_behind_by_what_pressed_is_looked_at_again_when_it_presses_itself() {
    let mut policy = plain();
    policy.reserve.size = ReserveSize::Fixed(2);
    let mut engine = engine(policy, &[]);
    for n in 0..2 {
        engine.upsert_agent(
            AgentSpec {
                caps: vec![(CHAT, 1)],
                ..agent(n, 1)
            },
            0,
        );
        engine.presence(AgentKey(n), Presence::Available, 0);
    }
    assert_eq!(offers(&mut engine, 0), []);
    let mut late = item(1, CHAT, 0, 60_000);
    late.clock_start = -100_000;
    late.due_at = -40_000;
    engine.enqueue(late, 0);
    engine.enqueue(item(2, CHAT, 0, 60_000), 0);
    let first = engine.decide(0);
    assert_eq!(first.offers.len(), 1, "both are kept, but for the late one");
    assert_eq!(first.wake, Some(57_000), "then the other presses");
    assert_eq!(offers(&mut engine, 57_000), [(2, 1)]);
}

#[test]
fn whoever_knows_the_customer_is_waited_for_while_away_for_a_moment_but_not_when_gone() {
    let known = ItemSpec {
        preferred: Some(AgentKey(0)),
        preferred_until: Some(25_000),
        ..item(1, CHAT, 5_000, 60_000)
    };
    for (presence, waits) in [
        (Presence::Away, true),
        (Presence::NotResponding { until: None }, true),
        (Presence::AvailableFor(vec![VOICE]), false),
        (Presence::Draining, false),
        (Presence::Offline, false),
    ] {
        let mut engine = engine(plain(), &[1, 1]);
        engine.presence(AgentKey(0), presence.clone(), 4_000);
        engine.enqueue(known.clone(), 5_000);
        let first = offers(&mut engine, 5_000);
        assert_eq!(first.is_empty(), waits, "{presence:?}");
        if waits {
            assert_eq!(
                engine
                    .explain_waiting(ItemKey(1), 5_000)
                    .map(|w| (w.preferring, w.opens)),
                Some((true, true))
            );
            engine.presence(AgentKey(0), Presence::Offline, 6_000);
            assert_eq!(offers(&mut engine, 6_000), [(1, 1)], "they are gone: anybody");
        }
    }
}

#[test]
fn a_pin_ends_and_whoever_it_was_for_goes_first_then() {
    let mut engine = engine(plain(), &[1, 1]);
    engine.presence(AgentKey(1), Presence::Away, 2_000);
    let pinned = ItemSpec {
        pinned: Some(AgentKey(1)),
        pinned_until: Some(35_000),
        preferred: Some(AgentKey(1)),
        ..item(1, CHAT, 5_000, 60_000)
    };
    engine.enqueue(pinned, 5_000);
    let decision = engine.decide(5_000);
    assert_eq!((decision.offers.len(), decision.wake), (0, Some(35_000)));
    assert_eq!(offers(&mut engine, 35_000), [(1, 0)]);
}

#[test]
fn who_is_asked_first_goes_before_who_fits_best() {
    for (first, expected) in [
        (AskedFirst::Anybody, 0),
        (AskedFirst::Bots, 1),
        (AskedFirst::People, 0),
    ] {
        let mut engine = engine(plain(), &[1]);
        let bot = AgentSpec {
            bot: true,
            ..agent(1, 1)
        };
        engine.upsert_agent(bot, 4_000);
        engine.presence(AgentKey(1), Presence::Available, 4_000);
        let asked = |key| ItemSpec {
            asked_first: first,
            ..item(key, CHAT, 5_000, 60_000)
        };
        // Idle for longer, the person would get it; and packing work would give them the second too.
        engine.enqueue(asked(1), 5_000);
        assert_eq!(offers(&mut engine, 5_000), [(1, expected)], "{first:?}");
    }
}

#[test]
fn what_must_not_be_paused_is_not_and_takes_what_it_is_said_to_take() {
    let mut engine = engine(plain(), &[1]);
    let helps = ItemSpec {
        pausable: false,
        ..item(1, EMAIL, 5_000, 600_000)
    };
    engine.enqueue(helps, 5_000);
    engine.hold(ItemKey(1), AgentKey(0), Stage::Active, 5_000);
    engine.enqueue(item(2, VOICE, 5_000, 30_000), 5_000);
    assert_eq!(
        offers(&mut engine, 5_000),
        [],
        "the call waits for the colleague's question"
    );
    engine.enqueue(item(3, CHAT, 5_000, 60_000), 5_000);
    engine.takes(ItemKey(1), Some(6));
    assert_eq!(offers(&mut engine, 5_000), [], "no room");
    engine.takes(ItemKey(1), None);
    assert_eq!(offers(&mut engine, 5_000), [(3, 0)], "four of six units");
}

#[test]
fn to_learn_something_is_no_work() {
    let mut engine = engine(plain(), &[1, 1]);
    engine.upsert_agent(agent(0, 2), 8_000);
    engine.enqueue(item(1, CHAT, 9_000, 60_000), 9_000);
    assert_eq!(
        offers(&mut engine, 9_000),
        [(1, 0)],
        "they keep their place in line"
    );
}
