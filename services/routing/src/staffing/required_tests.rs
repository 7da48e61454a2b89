use chrono::TimeZone;
use proptest::prelude::*;
use trama_proto::resources::Kind;

use super::*;
use crate::staffing::{
    calendar::Step,
    demand::{Concurrency, CrossTraining},
    volume::Series,
    whatif::{Formulas, Measured, Outcome},
};

pub(in crate::staffing) fn series(channel: Kind) -> Series {
    Series {
        channel,
        intent: String::new(),
        language: "it".to_owned(),
    }
}

pub(in crate::staffing) fn calls(contacts: &[f64]) -> Stream {
    Stream {
        series: series(Kind::Voice),
        service: Service::Live {
            target: Target::new(0.8, 20.0).unwrap(),
            patience_seconds: Some(120.0),
        },
        handle_seconds: 180.0,
        contacts: contacts.to_vec(),
    }
}

pub(in crate::staffing) fn chats(contacts: &[f64]) -> Stream {
    Stream {
        series: series(Kind::WebChat),
        service: Service::Concurrent {
            target: Target::new(0.8, 60.0).unwrap(),
            patience_seconds: Some(300.0),
            concurrency: Concurrency::new(&[1.0, 0.8, 0.65]).unwrap(),
        },
        handle_seconds: 420.0,
        contacts: contacts.to_vec(),
    }
}

pub(in crate::staffing) fn emails(contacts: &[f64], backlog: f64) -> Stream {
    Stream {
        series: series(Kind::Email),
        service: Service::Deferred {
            within_seconds: 7_200.0,
            backlog,
        },
        handle_seconds: 360.0,
        contacts: contacts.to_vec(),
    }
}

pub(in crate::staffing) fn group(streams: Vec<Stream>) -> Group {
    let intervals = streams.first().map_or(0, |stream| stream.contacts.len());
    let first = chrono::Utc.with_ymd_and_hms(2026, 11, 23, 7, 0, 0).unwrap();
    Group {
        step: Step::Half,
        starts: (0..intervals)
            .map(|at| first + Step::Half.length() * i32::try_from(at).unwrap())
            .collect(),
        open: vec![true; intervals],
        streams,
        cross_training: CrossTraining::of_skills(2.0),
        idle_use: 0.6,
        shrinkage: 0.3,
        hours_per_week: 38.0,
    }
}

const DAY: [f64; 8] = [40.0, 80.0, 120.0, 100.0, 60.0, 80.0, 70.0, 30.0];

#[test]
fn calls_alone_need_what_erlang_a_says() {
    let plan = required(&group(vec![calls(&[100.0, 0.0])])).unwrap();
    assert_eq!(
        plan.intervals.iter().map(|need| need.agents).collect::<Vec<_>>(),
        [12, 0]
    );
    // 12 / 0.7 = 17.1
    assert_eq!(plan.intervals[0].rostered, 18);
    assert_eq!((plan.agent_hours, plan.paid_hours.round()), (6.0, 9.0));
    let words = &plan.intervals[0].explanation;
    assert!(
        words.starts_with("100 contacts of voice it at 180 s need 12 agents on their own"),
        "{words}"
    );
    assert!(
        words.ends_with(
            "12 at work; 18 on the roster, as 30 % of paid time goes to breaks, training and absence."
        ),
        "{words}"
    );
}

#[test]
fn parallel_conversations_need_fewer_people_but_not_a_third() {
    let one = Stream {
        service: Service::Concurrent {
            target: Target::new(0.8, 60.0).unwrap(),
            patience_seconds: Some(300.0),
            concurrency: Concurrency::new(&[1.0]).unwrap(),
        },
        ..chats(&[60.0])
    };
    let single = required(&group(vec![one])).unwrap().intervals[0].agents;
    let three = required(&group(vec![chats(&[60.0])])).unwrap().intervals[0].agents;
    // 14 erlang one by one, 14 / 1.95 = 7.2 in parallel.
    assert!(single >= 14 && (8..=10).contains(&three), "{single} {three}");
}

#[test]
fn parallel_work_goes_on_until_it_gets_less_done() {
    let best = Concurrency::new(&[1.0, 0.8, 0.65, 0.45]).unwrap();
    assert_eq!((best.slots(), best.throughput()), (3, 1.9500000000000002));
    assert!(Concurrency::new(&[1.0, 1.5]).is_err());
    assert_eq!(Concurrency::new(&[]).unwrap().slots(), 1);
}

#[test]
fn training_for_two_kinds_of_work_is_nearly_as_good_as_for_all() {
    let agents = |skills: f64| {
        let mut group = group(vec![
            calls(&[30.0]),
            calls(&[20.0]),
            calls(&[50.0]),
            calls(&[10.0]),
        ]);
        group.cross_training = CrossTraining::of_skills(skills);
        required(&group).unwrap().intervals[0].agents
    };
    let (one, two, all) = (agents(1.0), agents(2.0), agents(9.0));
    assert_eq!((one, two, all), (19, 14, 13));
}

#[test]
fn emails_use_idle_time_and_need_people_only_for_the_rest() {
    let lively = required(&group(vec![calls(&DAY), emails(&[2.0; 8], 0.0)])).unwrap();
    assert!(
        lively.intervals.iter().all(|need| need.deferred < 1e-9),
        "idle time is enough for 2 emails"
    );
    assert!(lively.intervals.iter().map(|need| need.idle_used).sum::<f64>() > 0.0);
    let heavy = required(&group(vec![calls(&DAY), emails(&[20.0; 8], 30.0)])).unwrap();
    let work = (8.0 * 20.0 + 30.0) * 360.0 / 1_800.0;
    let due = heavy
        .intervals
        .iter()
        .map(|need| need.deferred + need.idle_used)
        .sum::<f64>();
    assert!(due > 0.5 * work && due <= work + 1e-6, "{due} of {work}");
    assert!(
        heavy.notes[0].contains("are due after the last interval"),
        "{:?}",
        heavy.notes
    );
    assert!(
        heavy.intervals[1]
            .explanation
            .contains("agents more to be in time"),
        "{}",
        heavy.intervals[1].explanation
    );
}

#[test]
fn what_comes_in_while_closed_waits_or_is_said_to_be_lost() {
    let mut night = group(vec![
        calls(&DAY),
        emails(&[20.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.0),
    ]);
    night.open[0] = false;
    night.open[7] = false;
    let plan = required(&night).unwrap();
    assert_eq!((plan.intervals[0].agents, plan.intervals[7].agents), (0, 0));
    assert!(
        plan.notes
            .contains(&"70 contacts of voice it come in while closed".to_owned()),
        "{:?}",
        plan.notes
    );
    let done: f64 = plan
        .intervals
        .iter()
        .map(|need| need.deferred + need.idle_used)
        .sum();
    assert!((done - 4.0).abs() < 1e-9, "{done}");
}

#[test]
fn the_plan_keeps_its_promises_by_its_own_formulas() {
    let mut all = group(vec![calls(&DAY), chats(&[30.0; 8]), emails(&[20.0; 8], 30.0)]);
    all.cross_training = CrossTraining::of_skills(3.0);
    let plan = required(&all).unwrap();
    let confirmed = confirm(&all, &plan, &Formulas, 1).unwrap();
    assert_eq!(
        (confirmed.keeps_promises, confirmed.added, confirmed.runs),
        (true, 0, 1)
    );
}

/// A world in which a tenth of the agents is never there.
struct Worse;

impl Simulator for Worse {
    fn simulate(&self, scenario: &Scenario<'_>) -> Result<Outcome, SimulationFailed> {
        let agents: Vec<u32> = scenario.agents.iter().map(|agents| agents * 9 / 10).collect();
        Formulas.simulate(&Scenario {
            group: scenario.group,
            agents: &agents,
        })
    }
}

#[test]
fn a_simulation_that_does_worse_gets_more_people() {
    let group = group(vec![calls(&DAY)]);
    let plan = required(&group).unwrap();
    let confirmed = confirm(&group, &plan, &Worse, 20).unwrap();
    assert!(
        confirmed.keeps_promises && confirmed.added > 0 && confirmed.runs > 1,
        "{confirmed:?}"
    );
    assert!(confirmed.plan.agent_hours > plan.agent_hours);
    assert!(
        confirmed
            .plan
            .intervals
            .iter()
            .any(|need| need.explanation.contains("A simulation asked for"))
    );
    let hasty = confirm(&group, &plan, &Worse, 1).unwrap();
    assert!(!hasty.keeps_promises && hasty.added == 0);
}

/// A world in which nobody is ever answered.
struct Hopeless;

impl Simulator for Hopeless {
    fn simulate(&self, scenario: &Scenario<'_>) -> Result<Outcome, SimulationFailed> {
        let measured = Measured {
            contacts: 1.0,
            service_level: 0.0,
            abandonment: 1.0,
            answer_seconds: None,
        };
        Ok(Outcome {
            streams: vec![vec![measured; scenario.agents.len()]; scenario.group.streams.len()],
            occupancy: vec![0.0; scenario.agents.len()],
        })
    }
}

#[test]
fn a_hopeless_simulation_ends_and_says_so() {
    let group = group(vec![calls(&DAY)]);
    let confirmed = confirm(&group, &required(&group).unwrap(), &Hopeless, 200).unwrap();
    assert_eq!((confirmed.keeps_promises, confirmed.runs), (false, 200));
}

#[test]
fn impossible_groups_are_refused() {
    let refused = |change: &dyn Fn(&mut Group)| {
        let mut group = group(vec![calls(&[100.0, 50.0]), emails(&[1.0, 1.0], 0.0)]);
        change(&mut group);
        required(&group).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&|g| {
            g.open.pop();
        }),
        "`open` has 1 entries for 2 intervals"
    );
    assert_eq!(
        refused(&|g| {
            g.streams[0].contacts.pop();
        }),
        "voice it has 1 entries for 2 intervals"
    );
    assert!(refused(&|g| g.streams[0].contacts[1] = f64::NAN).starts_with("voice it: contacts per hour"));
    assert!(refused(&|g| g.streams[0].contacts[1] = 1e9).contains("erlang is more than"));
    assert!(refused(&|g| g.streams[0].handle_seconds = 0.0).contains("the handling time"));
    assert!(refused(&|g| g.shrinkage = 1.0).contains("the shrinkage"));
    assert!(refused(&|g| g.idle_use = f64::NAN).contains("idle time"));
}

#[test]
fn no_interval_and_no_stream_need_nobody() {
    assert!(required(&group(vec![])).unwrap().intervals.is_empty());
    assert_eq!(required(&group(vec![calls(&[0.0; 4])])).unwrap().agent_hours, 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// More contacts never need fewer people at work in all; a team needs no more than separate teams.
    #[test]
    fn more_work_never_needs_fewer_people(
        voice in prop::collection::vec(0.0..300.0_f64, 6),
        chat in prop::collection::vec(0.0..200.0_f64, 6),
        email in prop::collection::vec(0.0..100.0_f64, 6),
        skills in 1.0..3.0_f64,
    ) {
        let hours = |factor: f64| {
            let more = |contacts: &[f64]| contacts.iter().map(|c| c * factor).collect::<Vec<_>>();
            let mut group = group(vec![calls(&more(&voice)), chats(&more(&chat)), emails(&more(&email), 10.0)]);
            group.cross_training = CrossTraining::of_skills(skills);
            required(&group).unwrap()
        };
        let (plan, busier) = (hours(1.0), hours(1.5));
        prop_assert!(busier.agent_hours >= plan.agent_hours);
        for need in &plan.intervals {
            let apart: u32 = need.separate.iter().map(|s| s.agents).sum();
            prop_assert!(need.live <= apart);
            prop_assert!(need.rostered >= need.agents);
        }
    }
}
