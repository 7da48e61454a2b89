use chrono::{TimeDelta, TimeZone as _};
use trama_proto::resources::Kind;

use super::*;
use crate::matcher::ChannelRule;
use crate::staffing::{
    calendar::Step,
    demand::{Concurrency, CrossTraining, Stream},
    erlang::{self, Target, Traffic},
    volume::Series,
};

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 8, 0, 0).unwrap()
}

fn series(channel: Kind) -> Series {
    Series {
        channel,
        intent: String::new(),
        language: String::new(),
    }
}

fn calls(per_interval: f64, intervals: usize) -> Stream {
    Stream {
        series: series(Kind::Voice),
        service: Service::Live {
            target: Target::new(0.8, 20.0).unwrap(),
            patience_seconds: Some(180.0),
        },
        handle_seconds: 240.0,
        contacts: vec![per_interval; intervals],
    }
}

fn mails(per_interval: f64, intervals: usize) -> Stream {
    Stream {
        series: series(Kind::Email),
        service: Service::Deferred {
            within_seconds: 4.0 * 3_600.0,
            backlog: 0.0,
        },
        handle_seconds: 360.0,
        contacts: vec![per_interval; intervals],
    }
}

fn group(streams: Vec<Stream>) -> Group {
    let intervals = streams[0].contacts.len();
    Group {
        step: Step::Half,
        starts: (0..intervals)
            .map(|n| start() + Step::Half.length() * n as i32)
            .collect(),
        open: vec![true; intervals],
        streams,
        cross_training: CrossTraining::of_skills(2.0),
        idle_use: 0.6,
        shrinkage: 0.0,
        hours_per_week: 40.0,
    }
}

fn serving() -> Serving {
    let rule = |name: &str, units, max_at_once, whole, pauses: &[&str]| ChannelRule {
        name: name.to_owned(),
        units,
        max_at_once,
        whole,
        live: whole,
        pauses: pauses.iter().map(|p| (*p).to_owned()).collect(),
        offer_timeout_ms: 30_000,
    };
    let policy = Policy {
        channels: vec![
            rule("voice", 6, 1, true, &["email"]),
            rule("webChat", 2, 3, false, &[]),
            rule("email", 4, 1, false, &[]),
        ],
        reserve: crate::matcher::Reserve {
            size: crate::matcher::ReserveSize::Fixed(0),
            ..crate::matcher::Reserve::default()
        },
        ..Policy::default()
    };
    Serving {
        policy,
        capacity_units: 6,
        people: Vec::new(),
    }
}

fn simulated(group: &Group, agents: u32) -> Outcome {
    let agents = vec![agents; group.starts.len()];
    serving()
        .simulate(&Scenario {
            group,
            agents: &agents,
        })
        .unwrap()
}

#[test]
fn calls_alone_come_out_as_the_formula_says() {
    // 16 erlang; the formula knows exponential work, the day log-normal work of less spread.
    let group = group(vec![calls(120.0, 20)]);
    let compared = |agents: u32| {
        let traffic = Traffic::new(240.0, 240.0, Some(180.0)).unwrap();
        (
            simulated(&group, agents).total(0),
            erlang::figures(&traffic, agents, 20.0),
        )
    };
    for agents in [17, 19] {
        let (got, wanted) = compared(agents);
        assert!(
            (got.service_level - wanted.service_level).abs() < 0.08,
            "{agents}: {got:?} {wanted:?}"
        );
        assert!(
            (got.abandonment - wanted.abandonment).abs() < 0.03,
            "{agents}: {got:?} {wanted:?}"
        );
    }
    // With too few people the matcher answers those who can still be in time first: the formula, first come first served,
    // does not know that. As many leave.
    let (got, wanted) = compared(14);
    assert!(got.service_level > wanted.service_level, "{got:?} {wanted:?}");
    assert!(
        (got.abandonment - wanted.abandonment).abs() < 0.03,
        "{got:?} {wanted:?}"
    );
}

#[test]
fn more_people_never_do_worse_and_the_same_question_has_one_answer() {
    let group = group(vec![calls(60.0, 20), mails(30.0, 20)]);
    let levels: Vec<f64> = (8..20)
        .step_by(2)
        .map(|agents| simulated(&group, agents).total(0).service_level)
        .collect();
    assert!(
        levels.windows(2).all(|pair| pair[1] >= pair[0] - 0.01),
        "{levels:?}"
    );
    assert!(levels[0] < 0.75 && levels[5] > 0.95, "{levels:?}");
    assert_eq!(simulated(&group, 12), simulated(&group, 12));
}

#[test]
fn mail_that_comes_at_night_waits_at_the_opening() {
    let mut group = group(vec![mails(10.0, 20)]);
    for at in 0..10 {
        group.open[at] = false;
    }
    let outcome = simulated(&group, 40);
    let counted: f64 = outcome.streams[0].iter().map(|m| m.contacts).sum();
    // All of the night and of the first hour of the ten that are open … four hours before the end.
    assert!((counted - 120.0).abs() < 12.0, "{counted}");
    assert!(outcome.streams[0][..10].iter().all(|m| m.contacts == 0.0));
    assert_eq!(outcome.occupancy[..10], [0.0; 10]);
}

#[test]
fn the_tenants_people_are_there_when_they_are_there_and_do_what_they_can() {
    let group = group(vec![calls(30.0, 16), mails(0.0, 16)]);
    let person = |ability, hours: i64| Person {
        abilities: vec![ability, Ability::AtOnce],
        there: vec![(start(), start() + TimeDelta::hours(hours))],
    };
    let mut day = serving();
    day.people = vec![person(Ability::AtOnce, 8); 6];
    let whole = day.play(&group, 0).unwrap();
    assert_eq!(whole.totals.agents, 6);
    day.people = vec![person(Ability::AtOnce, 4); 6];
    let half = day.play(&group, 0).unwrap();
    assert!(half.totals.service_level < whole.totals.service_level - 0.3);
    assert_eq!(half.outcome.total(0).contacts, whole.outcome.total(0).contacts);
    day.people = vec![person(Ability::None, 8); 6];
    assert_eq!(day.play(&group, 0).unwrap().totals.service_level, 0.0);
    day.people = vec![person(Ability::AtOnce, 8); 6];
    let more = day.play(&group, 3).unwrap();
    assert_eq!(more.totals.agents, 9);
    assert!(more.totals.service_level > whole.totals.service_level);
    assert!(day.play(&group, -6).is_err());
}

#[test]
fn a_day_too_large_to_play_is_said() {
    let group = group(vec![calls(100_001.0, 1)]);
    let error = serving().play(&group, 0).unwrap_err().to_string();
    assert!(
        error.contains("100001 contacts are more than the 100000"),
        "{error}"
    );
}

#[test]
fn a_plan_is_confirmed_by_the_engine_that_serves() {
    let chats = Stream {
        series: series(Kind::WebChat),
        service: Service::Concurrent {
            target: Target::new(0.8, 60.0).unwrap(),
            patience_seconds: Some(300.0),
            concurrency: Concurrency::new(&PARALLEL_SPEEDS).unwrap(),
        },
        handle_seconds: 400.0,
        contacts: vec![40.0; 16],
    };
    let group = group(vec![calls(60.0, 16), chats]);
    let plan = required::required(&group).unwrap();
    let confirmed = required::confirm(&group, &plan, &serving(), 6).unwrap();
    assert!(confirmed.keeps_promises, "{confirmed:?}");
}
