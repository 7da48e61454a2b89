use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use trama_proto::common::v1::ChannelKind;

use super::*;
use crate::domain::policy::route::tests::resources;

fn now() -> DateTime<Utc> {
    "2026-06-17T08:00:00Z".parse().unwrap()
}

fn queue(overflow: Value) -> Value {
    json!({"serviceLevel": {"targetSeconds": 600, "goal": 0.8}, "maxLength": 10, "hours": "shop", "overflow": overflow})
}

fn acme() -> TenantResources {
    resources(&[
        (
            "Queue",
            "care",
            queue(json!([
                {"when": "predictedWaitSeconds > 600 && channel == 'voice'", "action": "callback", "asked": "beforeWaiting"},
                {"when": "oldestSeconds > 900", "action": "queue", "queue": "general", "asked": "whileWaiting"},
                {"when": "full || agentsAvailable == 0", "action": "queue", "queue": "general"},
                {"when": "!open", "action": "close", "template": "closed"},
            ])),
        ),
        (
            "Queue",
            "general",
            queue(
                json!([{"when": "full", "action": "queue", "queue": "last"}, {"when": "!open", "action": "voicemail"}]),
            ),
        ),
        (
            "Queue",
            "last",
            queue(json!([{"when": "full", "action": "queue", "queue": "care"}])),
        ),
        (
            "BusinessHours",
            "shop",
            json!({"timeZone": "Europe/Rome", "weekly": {"wednesday": ["09:00-18:00"]}}),
        ),
        (
            "MessageTemplate",
            "closed",
            json!({"text": {"en": "We are closed."}}),
        ),
    ])
}

fn calm() -> QueueFigures {
    QueueFigures {
        length: 1,
        oldest_seconds: 20,
        predicted_wait_seconds: Some(30),
        agents_available: 3,
    }
}

fn asked(figures: &[(&str, QueueFigures)], stage: Stage, now: DateTime<Utc>) -> Overflowed {
    let figures: BTreeMap<&str, QueueFigures> = figures.iter().copied().collect();
    let facts = Facts::of(ChannelKind::Voice, None, now);
    overflow(
        &facts,
        "care",
        &acme(),
        |queue| figures.get(queue).copied().unwrap_or(calm()),
        stage,
        now,
    )
}

#[test]
fn a_calm_queue_lets_wait() {
    let found = asked(&[], Stage::BeforeWaiting, now());
    assert_eq!((found.queue.as_str(), found.instead), ("care", None));
    assert_eq!(found.explanation, "");
}

#[test]
fn a_long_wait_offers_a_call_back_before_it_begins() {
    let long = QueueFigures {
        predicted_wait_seconds: Some(601),
        ..calm()
    };
    let found = asked(&[("care", long)], Stage::BeforeWaiting, now());
    assert_eq!(found.instead, Some(Instead::Callback));
    assert_eq!(
        found.explanation,
        "queue `care`: `predictedWaitSeconds > 600 && channel == 'voice'` holds; we call back"
    );
    assert_eq!(asked(&[("care", long)], Stage::WhileWaiting, now()).instead, None);
}

#[test]
fn what_is_not_known_yet_overflows_nothing_and_is_said() {
    let new = QueueFigures {
        predicted_wait_seconds: None,
        ..calm()
    };
    let found = asked(&[("care", new)], Stage::BeforeWaiting, now());
    assert_eq!((found.instead, found.failed_conditions), (None, 1));
    assert_eq!(
        found.explanation,
        "queue `care`: `predictedWaitSeconds > 600 && channel == 'voice'` could not be judged: `predictedWaitSeconds` is not known now"
    );
}

#[test]
fn full_queues_pass_on_until_one_has_room() {
    let full = QueueFigures { length: 10, ..calm() };
    let found = asked(&[("care", full), ("general", full)], Stage::BeforeWaiting, now());
    assert_eq!((found.queue.as_str(), found.instead), ("last", None));
    let found = asked(
        &[("care", full), ("general", full), ("last", full)],
        Stage::BeforeWaiting,
        now(),
    );
    assert_eq!((found.queue.as_str(), found.instead), ("care", None));
    assert!(
        found
            .explanation
            .ends_with("queues overflow into each other: stays in `care`")
    );
}

#[test]
fn closed_queues_say_so_with_their_message() {
    let found = asked(&[], Stage::BeforeWaiting, "2026-06-18T08:00:00Z".parse().unwrap());
    assert_eq!(
        (found.instead, found.template.as_deref()),
        (Some(Instead::Close), Some("closed"))
    );
    let nobody = QueueFigures {
        agents_available: 0,
        ..calm()
    };
    let found = asked(
        &[("care", nobody)],
        Stage::WhileWaiting,
        "2026-06-18T08:00:00Z".parse().unwrap(),
    );
    assert_eq!(
        (found.queue.as_str(), found.instead),
        ("general", Some(Instead::Voicemail))
    );
}

proptest! {
    #[test]
    fn it_always_ends_in_a_queue_that_exists(lengths in prop::collection::vec(0_u32..20, 3), agents in 0_u32..2, hour in 0_i64..200) {
        let names = ["care", "general", "last"];
        let figures: Vec<(&str, QueueFigures)> = names
            .iter()
            .zip(lengths)
            .map(|(name, length)| (*name, QueueFigures { length, agents_available: agents, ..calm() }))
            .collect();
        for stage in [Stage::BeforeWaiting, Stage::WhileWaiting] {
            let found = asked(&figures, stage, now() + chrono::TimeDelta::hours(hour));
            prop_assert!(names.contains(&found.queue.as_str()));
        }
    }
}
