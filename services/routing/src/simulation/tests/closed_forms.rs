//! Queues that have a formula: the simulator must agree with it.

use super::super::{
    baselines::Baseline,
    live,
    trace::{AgentRow, ItemRow, Outcome, Presence, PresenceRow, Trace},
    world::{ItemStatus, World},
};
use super::small_day;

const AGENTS: usize = 25;
const HANDLE_S: f64 = 200.0;
const ITEMS: usize = 30_000;

/// Splitmix64.
struct Draws(u64);

impl Draws {
    fn exponential(&mut self, mean: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0;
        -(1.0 - uniform).ln() * mean
    }
}

/// Calls only, everybody equal, everything exponential.
fn queue(arrivals_per_s: f64, patience_s: Option<f64>) -> Trace {
    let mut trace = Trace::parse(&small_day()).unwrap();
    trace
        .rules
        .level_factor
        .values_mut()
        .for_each(|factor| *factor = 1.0);
    trace.rules.end_s = ITEMS as f64 / arrivals_per_s * 1.5;
    trace.agents = (0..AGENTS)
        .map(|number| AgentRow {
            id: format!("A{number:03}"),
            team: "all".to_owned(),
            site: "here".to_owned(),
            langs: vec!["it".to_owned()],
            channels: vec!["voice".to_owned()],
            skills: [("call".to_owned(), 2)].into(),
            start_s: 0.0,
            end_s: trace.rules.end_s,
        })
        .collect();
    trace.presence = (0..AGENTS)
        .map(|agent| PresenceRow {
            at_s: 0.0,
            agent,
            state: Presence::Available,
        })
        .collect();
    let mut draws = Draws(1);
    let mut at_s = 0.0;
    trace.items = (0..ITEMS)
        .map(|number| {
            at_s += draws.exponential(1.0 / arrivals_per_s);
            ItemRow {
                id: format!("I{number:06}"),
                at_s,
                channel: "voice".to_owned(),
                intent: "call".to_owned(),
                lang: "it".to_owned(),
                entitlement: "silver".to_owned(),
                min_level: 1,
                customer: "C".to_owned(),
                preferred: None,
                carried_wait_s: 0.0,
                service_s: draws.exponential(HANDLE_S),
                wrap_s: 0.0,
                patience_s: patience_s.map(|mean| draws.exponential(mean)),
                switch: None,
                outcomes: vec![Outcome::Accepted(0.0)],
                transfer_draw: 1.0,
            }
        })
        .collect();
    trace
}

struct Seen {
    waiting_share: f64,
    mean_wait_s: f64,
    abandoned_share: f64,
}

/// What those met with who came after the queue had filled.
fn seen(world: &World<'_>) -> Seen {
    let items: Vec<_> = world
        .trace
        .items
        .iter()
        .zip(&world.items)
        .skip(ITEMS / 20)
        .collect();
    let waits: Vec<f64> = (items.iter())
        .filter_map(|(row, state)| {
            Some(state.answered.map(|answer| answer.at).or(state.ended_at)? - row.at_s)
        })
        .collect();
    let of = |count: usize, all: usize| count as f64 / all as f64;
    Seen {
        waiting_share: of(waits.iter().filter(|wait| **wait > 1e-9).count(), waits.len()),
        mean_wait_s: waits.iter().sum::<f64>() / waits.len() as f64,
        abandoned_share: of(
            items
                .iter()
                .filter(|(_, state)| state.status == ItemStatus::Abandoned)
                .count(),
            items.len(),
        ),
    }
}

/// Share that waits and mean wait, for a load below the number of agents.
fn erlang_c(arrivals_per_s: f64) -> (f64, f64) {
    let load = arrivals_per_s * HANDLE_S;
    let agents = AGENTS as f64;
    let blocked = (1..=AGENTS).fold(1.0, |b, k| load * b / (k as f64 + load * b));
    let waits = blocked / (1.0 - (load / agents) * (1.0 - blocked));
    (waits, waits / (agents / HANDLE_S - arrivals_per_s))
}

/// Share that abandons: the birth-death chain of M/M/n+M.
fn erlang_a(arrivals_per_s: f64, patience_s: f64) -> f64 {
    let (mut state, mut sum, mut queue) = (1.0, 1.0, 0.0);
    for present in 1..2_000_usize {
        let waiting = present.saturating_sub(AGENTS) as f64;
        state *= arrivals_per_s / (present.min(AGENTS) as f64 / HANDLE_S + waiting / patience_s);
        sum += state;
        queue += waiting * state;
    }
    queue / sum / patience_s / arrivals_per_s
}

#[test]
fn without_abandonment_it_is_erlang_c() {
    let rate = 0.11;
    let trace = queue(rate, None);
    let world = live(&trace, &mut *Baseline::Fifo.router()).unwrap();
    let (seen, (waits, wait_s)) = (seen(&world), erlang_c(rate));
    assert!((waits - 0.4336).abs() < 1e-4, "the closed form itself: {waits}");
    assert!(
        (seen.waiting_share - waits).abs() < 0.04,
        "{} for {waits}",
        seen.waiting_share
    );
    assert!(
        (seen.mean_wait_s / wait_s - 1.0).abs() < 0.2,
        "{} s for {wait_s} s",
        seen.mean_wait_s
    );
    assert!(seen.abandoned_share < f64::EPSILON);
}

#[test]
fn with_abandonment_it_is_erlang_a() {
    let (rate, patience_s) = (0.14375, 150.0);
    let trace = queue(rate, Some(patience_s));
    let world = live(&trace, &mut *Baseline::Fifo.router()).unwrap();
    let (seen, abandon) = (seen(&world), erlang_a(rate, patience_s));
    assert!(
        (abandon - 0.1607).abs() < 1e-4,
        "the closed form itself: {abandon}"
    );
    assert!(
        (seen.abandoned_share - abandon).abs() < 0.01,
        "{} for {abandon}",
        seen.abandoned_share
    );
}
