use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use trama_proto::{
    case::v1::{Case, CaseKind, ContextSnapshot, Effort, Mood, Understanding},
    common::v1::{ChannelKind, CustomerContext},
    resources::{API_VERSION, Document, Resources},
};

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A Wednesday, ten o'clock in Rome.
fn now() -> DateTime<Utc> {
    at("2026-06-17T08:00:00Z")
}

fn document(kind: &str, name: &str, spec: &Value) -> Document {
    Document {
        origin: "test".into(),
        content: json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "acme"}, "spec": spec}),
    }
}

pub(in crate::domain::policy) fn resources(documents: &[(&str, &str, Value)]) -> TenantResources {
    let documents: Vec<Document> = documents.iter().map(|(k, n, s)| document(k, n, s)).collect();
    let (built, problems) = Resources::build(&documents, &Resources::default());
    assert_eq!(problems, []);
    built.tenant(&"acme".parse().unwrap()).unwrap().clone()
}

fn acme() -> TenantResources {
    let intent = json!({"title": {"en": "x"}, "examples": {"en": ["x"]}});
    resources(&[
        ("Intent", "product-fault", intent.clone()),
        ("Intent", "billing", intent),
        (
            "Queue",
            "machines",
            json!({
                "serviceLevel": {"targetSeconds": 600, "goal": 0.8, "byChannel": {"voice": 30}},
                "skills": ["coffee-machines"], "offerTimeoutSeconds": 20, "offerTimeoutSecondsByChannel": {"voice": 12},
                "wrapUpSecondsByChannel": {"voice": 60}, "idleParkSeconds": 900, "priority": 5,
            }),
        ),
        (
            "Queue",
            "general",
            json!({"serviceLevel": {"targetSeconds": 1200, "goal": 0.8}}),
        ),
        (
            "Queue",
            "billing",
            json!({"serviceLevel": {"targetSeconds": 14400, "goal": 0.9}, "hours": "shop", "skills": {"billing": 2}, "teams": ["turin"]}),
        ),
        (
            "BusinessHours",
            "shop",
            json!({
                "timeZone": "Europe/Rome",
                "weekly": {"wednesday": ["09:00-13:00"], "thursday": ["09:00-13:00"]},
                "days": [{"name": "Feast of the patron", "date": "06-24"}],
            }),
        ),
        (
            "RoutingPolicy",
            "main",
            json!({
                "hours": "shop", "defaultQueue": "general", "neverRelax": ["privacy"],
                "rules": [
                    {"name": "recovery", "recoveryOnly": true, "queue": "general", "priority": 9},
                    {"name": "sent around", "when": "transfers > 2 && mood == 'negative'", "queue": "machines", "requireHuman": true},
                    {"name": "faults", "intents": ["product-fault"], "queue": "machines", "priority": 1},
                    {"name": "all faults", "intents": ["product-fault"], "queue": "general", "priority": 7},
                    {"name": "bills of gold", "intents": ["billing"], "when": "entitlement == 'gold' && open && hour < 12", "queue": "billing",
                     "targetFactor": 0.5, "skills": [{"billing": 4}, {"privacy": 3}], "teams": ["milan"], "agents": "peopleFirst",
                     "steps": [{"afterSeconds": 300, "relaxLevelsBy": 1, "openTeams": ["rome"]}, {"afterShareOfTarget": 0.5, "relaxLevelsTo": 1, "anyTeam": true}]},
                    {"name": "odd", "when": "transfers / (contacts - contacts) > 1", "queue": "general"},
                ],
            }),
        ),
        ("Entitlement", "gold", json!({"priority": 3, "targetFactor": 0.5})),
        ("Entitlement", "standard", json!({"default": true})),
    ])
}

fn snapshot(intent: &str, kind: CaseKind, entitlement: &str) -> ContextSnapshot {
    let understanding = Understanding {
        intent: intent.into(),
        urgency: 0.64,
        mood: Mood::Negative.into(),
        language: "it-IT".into(),
        ..Understanding::default()
    };
    ContextSnapshot {
        customer: Some(CustomerContext {
            entitlement: entitlement.into(),
            ..CustomerContext::default()
        }),
        case: Some(Case {
            kind: kind.into(),
            understanding: Some(understanding),
            effort: Some(Effort::default()),
            ..Case::default()
        }),
        ..ContextSnapshot::default()
    }
}

fn routed(channel: ChannelKind, snapshot: &ContextSnapshot) -> Route {
    route(&Facts::of(channel, Some(snapshot), now()), Some(&acme()), now())
}

#[test]
fn the_first_rule_that_fits_wins_and_everything_adds_up() {
    let found = routed(
        ChannelKind::Email,
        &snapshot("product-fault", CaseKind::Need, "gold"),
    );
    assert_eq!(
        (found.queue.as_str(), found.rule.as_str()),
        ("machines", "faults")
    );
    assert_eq!(found.priority, 5 + 1 + 3 + 6 + 2);
    assert_eq!(found.target, TimeDelta::seconds(300));
    assert_eq!(found.ranking_target, TimeDelta::seconds(60));
    assert_eq!(found.due_at, now() + TimeDelta::seconds(300));
    assert_eq!(
        found.requirement.skills,
        [("coffee-machines".to_owned(), 1)].into()
    );
    assert_eq!(found.requirement.language.as_deref(), Some("it-IT"));
    assert_eq!((found.offer_timeout_seconds, found.wrap_up_seconds), (20, 0));
    assert_eq!(found.idle_park_seconds, Some(900));
    assert_eq!(found.preferred_wait, TimeDelta::seconds(15));
    assert_eq!(
        found.explanation,
        "rule `faults` fits; queue `machines`, target 300 s (600 s × 0.5 for `gold`); \
         priority 17 = queue 5 + rule 1 + entitlement 3 + urgency 6 + mood 2: ranks as if it had 60 s; \
         skills coffee-machines; after 300 s any language"
    );
}

#[test]
fn a_channel_may_have_its_own_times() {
    let found = routed(
        ChannelKind::Voice,
        &snapshot("product-fault", CaseKind::Need, "gold"),
    );
    assert_eq!(found.target, TimeDelta::seconds(15));
    assert_eq!(found.preferred_wait, TimeDelta::milliseconds(3_750));
    assert_eq!((found.offer_timeout_seconds, found.wrap_up_seconds), (12, 60));
}

#[test]
fn recovery_rules_see_follow_ups_only() {
    let first = |route: &Route| route.explanation.split(';').next().map(str::to_owned);
    let other = routed(ChannelKind::Sms, &snapshot("other", CaseKind::Need, ""));
    assert_eq!(first(&other).as_deref(), Some("no rule fits: default queue"));
    let found = routed(
        ChannelKind::Sms,
        &snapshot("product-fault", CaseKind::Recovery, "gold"),
    );
    assert_eq!((found.queue.as_str(), found.priority), ("general", 9 + 3 + 6 + 2));
}

#[test]
fn hard_cases_go_to_people() {
    let mut hard = snapshot("product-fault", CaseKind::Need, "");
    let effort = Effort {
        transfers: 3,
        ..Effort::default()
    };
    hard.case.as_mut().unwrap().effort = Some(effort);
    let found = routed(ChannelKind::Email, &hard);
    assert_eq!((found.rule.as_str(), found.human_only), ("sent around", true));
    assert!(
        found.explanation.contains("; people only"),
        "{}",
        found.explanation
    );
}

#[test]
fn open_hours_levels_teams_and_steps_are_those_of_the_rule() {
    let found = routed(ChannelKind::Email, &snapshot("billing", CaseKind::Need, "gold"));
    // 4 h × 0.5 × 0.5 = 1 h, within the three hours that are open today.
    assert_eq!(found.target, TimeDelta::hours(1));
    assert_eq!(found.due_at, at("2026-06-17T09:00:00Z"));
    assert_eq!(found.opens_at, None);
    assert_eq!(found.requirement.teams, ["milan"]);
    assert_eq!(
        found.explanation,
        "rule `bills of gold` fits; queue `billing`, target 3600 s (14400 s × 0.5 by the rule × 0.5 for `gold`); \
         priority 11 = entitlement 3 + urgency 6 + mood 2: ranks as if it had 1129 s; \
         skills billing 4, privacy 3; teams milan; people first; \
         after 300 s skills billing 3, privacy 3, teams milan, rome; after 1800 s skills billing, privacy 3, any team; \
         due 2026-06-17 11:00 (Europe/Rome)"
    );
}

#[test]
fn closed_hours_do_not_count_towards_the_promise() {
    let facts = |since| {
        Facts::of(
            ChannelKind::Email,
            Some(&snapshot("billing", CaseKind::Need, "gold")),
            since,
        )
    };
    let noon = at("2026-06-17T10:30:00Z");
    let found = route_to("billing", &facts(noon), Some(&acme()), noon);
    // 12:30 in Rome: half an hour is left today, and the hour of gold's two is used up on Thursday.
    assert_eq!(found.due_at, at("2026-06-18T08:30:00Z"));
    let holiday = at("2026-06-24T08:00:00Z");
    let found = route_to("billing", &facts(holiday), Some(&acme()), holiday);
    assert_eq!(found.opens_at, Some(at("2026-06-25T07:00:00Z")));
    assert!(
        found.explanation.contains(
            "closed for Feast of the patron until 2026-06-25 09:00, due 2026-06-25 11:00 (Europe/Rome)"
        ),
        "{}",
        found.explanation
    );
}

#[test]
fn another_queue_asks_for_its_own_skills_and_what_is_never_relaxed() {
    let facts = Facts::of(
        ChannelKind::Email,
        Some(&snapshot("billing", CaseKind::Need, "gold")),
        now(),
    );
    let found = route_to("general", &facts, Some(&acme()), now());
    assert_eq!(found.requirement.skills, [("privacy".to_owned(), 3)].into());
    assert_eq!(found.requirement.teams, [""; 0]);
    assert!(
        found
            .explanation
            .starts_with("rule `bills of gold` fits, moved from queue `billing`; queue `general`"),
        "{}",
        found.explanation
    );
}

#[test]
fn a_rule_that_cannot_be_judged_does_not_fit_and_says_so() {
    let found = routed(ChannelKind::Sms, &snapshot("other", CaseKind::Need, ""));
    assert_eq!((found.queue.as_str(), found.failed_conditions), ("general", 1));
    assert!(
        found
            .explanation
            .ends_with("; rule `odd` could not be judged: it divides by zero"),
        "{}",
        found.explanation
    );
}

#[test]
fn without_a_policy_there_is_a_built_in_queue() {
    let found = route(&Facts::of(ChannelKind::Email, None, now()), None, now());
    assert_eq!(
        (found.queue.as_str(), found.priority, found.target),
        ("default", 0, TimeDelta::seconds(3_600))
    );
    assert_eq!(found.requirement, Requirement::default());
    assert_eq!(
        found.explanation,
        "no routing policy: built-in queue; queue `default`, target 3600 s; priority 0"
    );
}

#[test]
fn a_queue_that_is_gone_still_serves() {
    let mut acme = acme();
    acme.queues.clear();
    let facts = Facts::of(
        ChannelKind::Email,
        Some(&snapshot("product-fault", CaseKind::Need, "")),
        now(),
    );
    let found = route(&facts, Some(&acme), now());
    assert_eq!(
        (found.queue.as_str(), found.target),
        ("machines", TimeDelta::seconds(3_600))
    );
}

#[test]
fn a_route_is_read_back_as_it_was_stored() {
    let found = routed(ChannelKind::Email, &snapshot("billing", CaseKind::Need, "gold"));
    let stored = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Route>(&stored).unwrap(), found);
}

proptest! {
    #[test]
    fn more_points_never_mean_more_time_and_the_promise_stays(points in -50_i32..50, more in 0_i32..50) {
        let with = |priority: i32| {
            let mut acme = acme();
            let mut queue = QueueSpec::clone(&acme.queues["general"]);
            queue.priority = priority;
            acme.queues.insert("general".into(), Arc::new(queue));
            route(&Facts::of(ChannelKind::Email, None, now()), Some(&acme), now())
        };
        let (less, more) = (with(points), with(points + more));
        prop_assert!(more.ranking_target <= less.ranking_target);
        prop_assert_eq!(more.target, less.target);
        prop_assert!(more.ranking_target >= more.target / 5 && less.ranking_target <= less.target * 2);
        prop_assert!(more.ranking_due_at <= less.ranking_due_at);
    }
}
