//! The simulator against the reference simulator's own output, against closed forms, and against itself.

mod closed_forms;

use crate::matcher::Policy;

use super::{
    Router,
    baselines::Baseline,
    engine::BenchEngine,
    generator::{DayParams, generate},
    kpi, live,
    protocol::{Answer, Event},
    trace::{RosterChange, Trace, TraceFiles},
};

/// A two-hour day that the reference generator drew from `data/day.json`.
fn small_day() -> TraceFiles {
    TraceFiles {
        world: generate(&small_params()).world,
        agents: include_str!("tests/data/agents.csv").to_owned(),
        presence: include_str!("tests/data/presence.csv").to_owned(),
        arrivals: include_str!("tests/data/arrivals.csv").to_owned(),
    }
}

fn small_params() -> DayParams {
    DayParams::parse(include_str!("tests/data/day.json")).unwrap()
}

fn log(trace: &Trace, router: &mut dyn Router) -> String {
    kpi::log(&live(trace, router).unwrap())
}

/// FNV-1a: enough to see that two texts differ.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn the_generator_draws_what_the_reference_draws() {
    assert_eq!(generate(&small_params()), small_day());
}

#[test]
fn decisions_alike_give_the_reference_simulators_log_to_the_byte() {
    let trace = Trace::parse(&small_day()).unwrap();
    let reference = include_str!("tests/data/taskrouter_int.log.csv");
    assert_eq!(
        log(&trace, &mut *Baseline::TaskRouterInterrupt.router()),
        reference
    );
    for (baseline, of_reference) in [(Baseline::Fifo, FIFO), (Baseline::TimeToBreach, SLA_SLACK)] {
        let ours = fingerprint(&log(&trace, &mut *baseline.router()));
        assert_eq!(ours, of_reference, "{}", baseline.name());
    }
}

#[test]
fn the_same_day_gives_the_same_log_twice() {
    let trace = Trace::parse(&small_day()).unwrap();
    let once = log(&trace, &mut BenchEngine::new(Policy::default()));
    assert_eq!(once, log(&trace, &mut BenchEngine::new(Policy::default())));
}

/// Says everything through JSON on the way.
struct Through(BenchEngine);

impl Router for Through {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        let line = serde_json::to_string(event).unwrap();
        self.0.event(&serde_json::from_str(&line).unwrap())
    }

    fn decide(&mut self, at: f64) -> Answer {
        let line = serde_json::to_string(&self.0.decide(at)).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn the_protocol_carries_all_that_the_engine_needs() {
    let trace = Trace::parse(&small_day()).unwrap();
    let told = log(&trace, &mut Through(BenchEngine::new(Policy::default())));
    assert_eq!(told, log(&trace, &mut BenchEngine::new(Policy::default())));
}

#[test]
fn the_engine_never_offers_what_the_world_must_refuse() {
    let trace = Trace::parse(&small_day()).unwrap();
    let world = live(&trace, &mut BenchEngine::new(Policy::default())).unwrap();
    let figures = kpi::kpi(&world);
    assert_eq!(figures.summary.invalid, 0);
    assert_eq!(figures.summary.n, 262);
    assert_eq!(figures.channel.iter().map(|(_, group)| group.n).sum::<u64>(), 262);
}

#[test]
fn a_smaller_roster_is_spread_over_the_list_and_nobody_knows_customers_who_is_not_there() {
    let trace = Trace::parse(&small_day()).unwrap();
    let fewer = trace.with_roster(&"-3".parse().unwrap()).unwrap();
    let ids: Vec<&str> = fewer.agents.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "A001", "A002", "A004", "A005", "A006", "A008", "A009", "A010", "A012"
        ]
    );
    for (item, before) in fewer.items.iter().zip(&trace.items) {
        let name = |day: &Trace, agent: Option<usize>| agent.map(|agent| day.agents[agent].id.clone());
        let was = name(&trace, before.preferred).filter(|id| ids.contains(&id.as_str()));
        assert_eq!(name(&fewer, item.preferred), was);
    }
    assert_eq!(
        fewer.presence.iter().filter(|row| row.agent >= ids.len()).count(),
        0
    );
}

#[test]
fn a_larger_roster_answers_more_in_time() {
    let trace = Trace::parse(&small_day()).unwrap();
    let service_level = |day: &Trace| {
        kpi::kpi(&live(day, &mut BenchEngine::new(Policy::default())).unwrap())
            .summary
            .sl
    };
    let doubled = trace.with_roster(&RosterChange { team: None, by: 12 }).unwrap();
    assert_eq!(doubled.agents.len(), 24);
    assert!(service_level(&doubled) > service_level(&trace) + 10.0);
    let one_team = trace.with_roster(&"bi_senior:+1".parse().unwrap()).unwrap();
    assert_eq!(
        one_team.agents.last().map(|agent| agent.team.as_str()),
        Some("bi_senior")
    );
}

#[test]
fn a_roster_that_cannot_be_is_refused_in_words() {
    let trace = Trace::parse(&small_day()).unwrap();
    let refusal = |change: &str| {
        let changed = change
            .parse()
            .and_then(|change: RosterChange| trace.with_roster(&change));
        changed.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refusal("-12"), "cannot take 12 agents away where there are 12");
    assert_eq!(refusal("nobody:+1"), "nobody is in team \"nobody\"");
    assert_eq!(refusal("five"), "\"five\" is not written +5, -5 or team:+5");
}

#[test]
fn a_wrong_line_is_named() {
    let wrong = |change: &dyn Fn(&mut TraceFiles)| {
        let mut files = small_day();
        change(&mut files);
        Trace::parse(&files)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert_eq!(
        wrong(&|files| files.presence = files.presence.replacen("available", "asleep", 1)),
        "presence.csv:2: state \"asleep\" is none of available, away, lost, back"
    );
    assert_eq!(
        wrong(&|files| files.agents = files.agents.replacen("skills", "abilities", 1)),
        "agents.csv:1: column skills is missing"
    );
    assert_eq!(
        wrong(&|files| files.arrivals = files.arrivals.replacen("I00002", "I00001", 1)),
        "arrivals.csv:3: I00001 is in line 2 already"
    );
    assert_eq!(
        wrong(&|files| files.arrivals += "I99999,soon\n"),
        "arrivals.csv:264: 2 cells where the header has 18"
    );
    assert!(wrong(&|files| files.world = "{".to_owned()).starts_with("world.json:1: EOF"));
}

/// Fingerprints of the logs that the reference simulator writes for the small day.
const FIFO: u64 = 0xab2b_d43e_dc91_cfcd;
const SLA_SLACK: u64 = 0x144c_36a7_f29d_bffe;
