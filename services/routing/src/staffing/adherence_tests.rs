use chrono::TimeZone;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::staffing::calendar::Step;

fn at(minute: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 8, 0, 0).unwrap() + TimeDelta::minutes(minute)
}

fn plan(stretches: &[(i64, i64, Activity)]) -> Vec<Planned> {
    stretches
        .iter()
        .map(|(from, to, activity)| Planned {
            from: at(*from),
            to: at(*to),
            activity: *activity,
        })
        .collect()
}

/// Four hours with a break and a training.
fn morning() -> Vec<Planned> {
    plan(&[
        (0, 120, Activity::Work),
        (120, 135, Activity::Break),
        (135, 210, Activity::Work),
        (210, 240, Activity::Other),
    ])
}

fn judged(planned: &[Planned], seen: &[(i64, Presence)]) -> Adherence {
    let seen: Vec<Seen> = seen
        .iter()
        .map(|(minute, presence)| Seen {
            at: at(*minute),
            presence: *presence,
        })
        .collect();
    adherence(planned, &seen, at(-60), at(300), TimeDelta::minutes(2))
}

fn differences(got: &Adherence) -> Vec<(Difference, f64)> {
    got.exceptions
        .iter()
        .map(|e| (e.difference, e.minutes()))
        .collect()
}

#[test]
fn a_day_as_planned_is_all_adherence() {
    let got = judged(
        &morning(),
        &[
            (0, Presence::Available),
            (120, Presence::Away),
            (135, Presence::Available),
            (210, Presence::Away),
            (240, Presence::Offline),
        ],
    );
    assert_eq!(
        (got.adherence(), got.conformance(), got.exceptions.len()),
        (Some(1.0), Some(1.0), 0)
    );
}

#[test]
fn a_minute_here_and_there_is_tolerated() {
    let got = judged(
        &morning(),
        &[
            (1, Presence::Available),
            (122, Presence::Away),
            (135, Presence::Available),
            (209, Presence::Offline),
        ],
    );
    assert_eq!((got.adherence(), got.exceptions.len()), (Some(1.0), 0));
    assert_eq!(got.work_minutes, 195.0);
}

#[test]
fn each_difference_has_its_name_and_minutes() {
    let got = judged(
        &morning(),
        &[
            (-30, Presence::Available),
            (-10, Presence::Offline),
            (10, Presence::Available),
            (60, Presence::Away),
            (70, Presence::NotResponding),
            (75, Presence::Available),
            (125, Presence::Away),
            (145, Presence::Available),
            (220, Presence::Away),
        ],
    );
    assert_eq!(
        differences(&got),
        [
            (Difference::Unplanned, 20.0),
            (Difference::Late, 10.0),
            (Difference::Away, 10.0),
            (Difference::NotResponding, 5.0),
            (Difference::WorkedInBreak, 5.0),
            (Difference::LateBack, 10.0),
            (Difference::WorkedInstead, 10.0),
        ]
    );
    assert_eq!(got.planned_minutes - got.kept_minutes, 50.0);
    let gone = judged(&morning(), &[(0, Presence::Available), (120, Presence::Offline)]);
    assert_eq!(differences(&gone), [(Difference::Absent, 75.0)]);
    let early = judged(
        &plan(&[(0, 100, Activity::Work)]),
        &[(0, Presence::Available), (80, Presence::Offline)],
    );
    assert_eq!(differences(&early), [(Difference::LeftEarly, 20.0)]);
}

#[test]
fn overtime_is_conformance_above_one_and_no_adherence() {
    let got = judged(
        &plan(&[(0, 100, Activity::Work)]),
        &[(0, Presence::Available), (150, Presence::Offline)],
    );
    assert_eq!((got.adherence(), got.conformance()), (Some(1.0), Some(1.5)));
}

#[test]
fn without_plan_or_presence_there_is_no_share() {
    let got = judged(&[], &[]);
    assert_eq!((got.adherence(), got.conformance()), (None, None));
    let absent = judged(&morning(), &[]);
    assert_eq!(absent.conformance(), Some(0.0));
}

#[test]
fn what_has_not_come_yet_is_not_judged() {
    let seen = [Seen {
        at: at(0),
        presence: Presence::Available,
    }];
    let got = adherence(&morning(), &seen, at(0), at(60), TimeDelta::zero());
    assert_eq!((got.planned_minutes, got.adherence()), (60.0, Some(1.0)));
}

fn rome() -> Calendar {
    Calendar::new(Tz::Europe__Rome, Step::Half, BTreeMap::new())
}

#[test]
fn schedules_survive_export_and_import() {
    let mut schedules = Schedules::default();
    for agent in ["bruno", "carla"] {
        for planned in morning().into_iter().rev() {
            schedules.add(agent.parse().unwrap(), planned).unwrap();
        }
    }
    let csv = schedules.to_csv(&rome());
    assert!(
        csv.contains("bruno,2026-11-23T09:00:00+01:00,2026-11-23T11:00:00+01:00,work"),
        "{csv}"
    );
    assert_eq!(Schedules::from_csv(&csv, &rome(), |_| true).unwrap(), schedules);
    assert_eq!(schedules.agents().count(), 2);
}

#[test]
fn bad_lines_of_a_schedule_are_named() {
    let csv = "agent_id,start,end,activity\nbruno,2026-11-23 09:00,2026-11-23 11:00,work\nbruno,2026-11-23 10:00,2026-11-23 12:00,break\n\
               bruno,2026-11-23 13:00,2026-11-23 13:00,work\nbr uno,2026-11-23 13:00,2026-11-23 14:00,work\nbruno,2026-11-23 13:00,2026-11-23 14:00,nap\n\
               bruno,2026-11-23 13:00,2026-11-25 14:00,work\n\
               nobody,2026-11-23 13:00,2026-11-23 14:00,work\n";
    let errors = Schedules::from_csv(csv, &rome(), |agent| agent.as_str() != "nobody")
        .unwrap_err()
        .to_string();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "3: something else is planned for this agent at that time",
            "4: it must end after it starts",
            "5: agent `br uno` is not an id",
            "6: activity `nap` is unknown; known are work, break, other",
            "7: it is longer than 24 hours",
            "8: agent `nobody` does not exist; create it with UpsertAgent",
        ]
    );
}

fn presence() -> impl Strategy<Value = Presence> {
    prop_oneof![
        Just(Presence::Offline),
        Just(Presence::Available),
        Just(Presence::Away),
        Just(Presence::NotResponding)
    ]
}

proptest! {
    /// Planned time is kept or excepted, nothing in between and nothing twice.
    #[test]
    fn every_planned_minute_is_kept_or_an_exception(
        mut seen in prop::collection::vec((-60_i64..300, presence()), 0..20),
        tolerance in 0_i64..10,
    ) {
        seen.sort_by_key(|(minute, _)| *minute);
        let seen: Vec<Seen> = seen.iter().map(|(minute, presence)| Seen { at: at(*minute), presence: *presence }).collect();
        let got = adherence(&morning(), &seen, at(-60), at(300), TimeDelta::minutes(tolerance));
        let excepted: f64 = got.exceptions.iter().filter(|e| e.difference != Difference::Unplanned).map(Exception::minutes).sum();
        prop_assert_eq!(got.planned_minutes, 240.0);
        prop_assert!((got.kept_minutes + excepted - 240.0).abs() < 1e-9);
        prop_assert!(got.work_minutes <= 360.0);
        prop_assert!(got.exceptions.windows(2).all(|pair| pair[0].to <= pair[1].from));
    }
}
