use proptest::prelude::*;

use super::*;
use crate::staffing::required::tests::{calls, chats, emails, group};

const DAY: [f64; 6] = [40.0, 80.0, 120.0, 100.0, 60.0, 30.0];

fn mixed() -> Group {
    group(vec![calls(&DAY), chats(&[30.0; 6]), emails(&[12.0; 6], 10.0)])
}

fn planned(group: &Group) -> Vec<u32> {
    required::required(group)
        .unwrap()
        .intervals
        .iter()
        .map(|need| need.agents)
        .collect()
}

#[test]
fn fewer_agents_answer_later_and_more_answer_sooner() {
    let group = mixed();
    let agents = planned(&group);
    let scenario = Scenario {
        group: &group,
        agents: &agents,
    };
    let got = compare(
        &Formulas,
        &scenario,
        &[Change::Agents(-2), Change::Agents(0), Change::Agents(2)],
    )
    .unwrap();
    let levels: Vec<f64> = got.iter().map(|c| c.streams[0].after.service_level).collect();
    assert!(levels[0] < levels[1] && levels[1] < levels[2], "{levels:?}");
    assert_eq!(got[1].streams[0].before, got[1].streams[0].after);
    assert_eq!(
        got.iter().map(|c| c.agent_hours).collect::<Vec<_>>(),
        [-6.0, 0.0, 6.0]
    );
    assert!(!got[0].streams[0].keeps_promise);
    assert!(
        got[0].summary.starts_with("-2 agents: voice it "),
        "{}",
        got[0].summary
    );
    assert!(
        got[0].summary.contains("(less than promised)"),
        "{}",
        got[0].summary
    );
}

#[test]
fn more_contacts_longer_work_and_a_harder_promise_do_worse() {
    let group = mixed();
    let agents = planned(&group);
    let harder = Change::Promise {
        stream: 0,
        target: Target::new(0.95, 10.0).unwrap(),
    };
    let changes = [Change::Volume(1.2), Change::HandlingTime(1.2), harder];
    for got in compare(
        &Formulas,
        &Scenario {
            group: &group,
            agents: &agents,
        },
        &changes,
    )
    .unwrap()
    {
        assert!(
            got.streams[0].after.service_level < got.streams[0].before.service_level,
            "{}",
            got.summary
        );
        assert!(!got.streams[0].keeps_promise, "{}", got.summary);
    }
}

#[test]
fn nobody_answers_nothing() {
    let group = mixed();
    let outcome = Formulas
        .simulate(&Scenario {
            group: &group,
            agents: &[0; 6],
        })
        .unwrap();
    assert_eq!(outcome.total(0).service_level, 0.0);
    assert_eq!(outcome.total(2).service_level, 0.0);
    assert!(outcome.occupancy.iter().all(|busy| *busy == 0.0));
}

#[test]
fn emails_are_late_where_idle_time_is_short() {
    let group = group(vec![emails(&[40.0; 6], 0.0)]);
    let enough = Formulas
        .simulate(&Scenario {
            group: &group,
            agents: &[8; 6],
        })
        .unwrap();
    assert_eq!(enough.total(0).service_level, 1.0);
    // Eight agents' work comes in per interval and is due three intervals later; two agents do 8, 2 and 0 of it in time.
    let few = Formulas
        .simulate(&Scenario {
            group: &group,
            agents: &[2; 6],
        })
        .unwrap();
    assert!((few.total(0).service_level - 10.0 / 24.0).abs() < 1e-9);
    assert_eq!(few.occupancy, [1.0; 6]);
}

#[test]
fn odd_changes_are_refused_or_do_nothing() {
    let group = mixed();
    let agents = planned(&group);
    let scenario = Scenario {
        group: &group,
        agents: &agents,
    };
    for change in [
        Change::Volume(f64::NAN),
        Change::Volume(-1.0),
        Change::HandlingTime(0.0),
        Change::Volume(1e9),
    ] {
        assert!(
            compare(&Formulas, &scenario, std::slice::from_ref(&change)).is_err(),
            "{change}"
        );
    }
    let gone = compare(&Formulas, &scenario, &[Change::Agents(i32::MIN)]).unwrap();
    assert_eq!(gone[0].streams[0].after.service_level, 0.0);
    let nobody = Change::Promise {
        stream: 99,
        target: Target::new(0.5, 20.0).unwrap(),
    };
    assert!(compare(&Formulas, &scenario, &[nobody]).is_ok());
    let short = Scenario {
        group: &group,
        agents: &[1],
    };
    assert_eq!(
        Formulas.simulate(&short),
        Err(SimulationFailed::Agents {
            given: 1,
            intervals: 6
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn more_agents_are_never_worse_for_anybody(
        voice in prop::collection::vec(0.0..200.0_f64, 5),
        email in prop::collection::vec(0.0..100.0_f64, 5),
        agents in prop::collection::vec(0_u32..60, 5),
        more in 1_u32..10,
    ) {
        let group = group(vec![calls(&voice), emails(&email, 5.0)]);
        let many: Vec<u32> = agents.iter().map(|agents| agents + more).collect();
        let few = Formulas.simulate(&Scenario { group: &group, agents: &agents }).unwrap();
        let many = Formulas.simulate(&Scenario { group: &group, agents: &many }).unwrap();
        for stream in 0..2 {
            let (few, many) = (few.total(stream), many.total(stream));
            prop_assert!((0.0..=1.0).contains(&few.service_level) && (0.0..=1.0).contains(&few.abandonment));
            prop_assert!(many.service_level >= few.service_level - 1e-6, "{stream}: {few:?} {many:?}");
        }
        prop_assert!(many.occupancy.iter().chain(&few.occupancy).all(|busy| (0.0..=1.0).contains(busy)));
    }
}
