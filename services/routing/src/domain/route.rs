//! Which queue, how urgent, by when: the first rule that fits.

use chrono::TimeDelta;
use trama_proto::{
    case::v1::{CaseKind, ContextSnapshot, Mood},
    common::v1::ChannelKind,
    resources::{RoutingRule, TenantResources},
};

/// The queue of tenants that have no policy.
const BUILT_IN_QUEUE: &str = "default";
/// Its target, and that of queues that do not exist (any more).
const BUILT_IN_TARGET_SECONDS: i64 = 3_600;
const BUILT_IN_OFFER_TIMEOUT_SECONDS: u32 = 30;
/// What the greatest urgency adds to the priority.
const URGENCY_WEIGHT: f64 = 10.0;
/// What a displeased customer adds to the priority.
const NEGATIVE_MOOD_WEIGHT: i32 = 2;

/// Where work waits and how it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Queue.
    pub queue: String,
    /// Higher goes first.
    pub priority: i32,
    /// How long the customer may wait.
    pub target: TimeDelta,
    /// Skills an agent must have.
    pub skills: Vec<String>,
    /// Language of the need, empty when unknown.
    pub language: String,
    /// How long an offer is held.
    pub offer_timeout_seconds: u32,
    /// All of it in words.
    pub explanation: String,
}

impl Route {
    /// For what never waits.
    pub(super) fn nowhere() -> Self {
        Self {
            queue: String::new(),
            priority: 0,
            target: TimeDelta::zero(),
            skills: Vec::new(),
            language: String::new(),
            offer_timeout_seconds: BUILT_IN_OFFER_TIMEOUT_SECONDS,
            explanation: String::new(),
        }
    }
}

/// What routing looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    channel: ChannelKind,
    intent: String,
    entitlement: String,
    urgency: f64,
    negative_mood: bool,
    recovery: bool,
    language: String,
}

impl Facts {
    /// Takes them from the snapshot.
    pub fn of(channel: ChannelKind, snapshot: Option<&ContextSnapshot>) -> Self {
        let case = snapshot.and_then(|s| s.case.as_ref());
        let customer = snapshot.and_then(|s| s.customer.as_ref());
        let understanding = case.and_then(|c| c.understanding.as_ref());
        let language = understanding
            .map(|u| u.language.as_str())
            .filter(|l| !l.is_empty());
        let urgency = understanding.map_or(0.0, |u| u.urgency);
        Self {
            channel,
            intent: understanding.map(|u| u.intent.clone()).unwrap_or_default(),
            entitlement: customer.map(|c| c.entitlement.clone()).unwrap_or_default(),
            urgency: if urgency.is_finite() {
                urgency.clamp(0.0, 1.0)
            } else {
                0.0
            },
            negative_mood: understanding.is_some_and(|u| u.mood() == Mood::Negative),
            recovery: case.is_some_and(|c| c.kind() == CaseKind::Recovery),
            language: language
                .or(customer.map(|c| c.language.as_str()))
                .unwrap_or_default()
                .to_owned(),
        }
    }

    fn fit(&self, rule: &RoutingRule, entitlement: &str) -> bool {
        let among = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
        among(&rule.intents, &self.intent)
            && among(&rule.entitlements, entitlement)
            && (rule.channel_kinds.is_empty()
                || rule
                    .channel_kinds
                    .iter()
                    .any(|k| ChannelKind::from(*k) == self.channel))
            && self.urgency >= rule.min_urgency
            && (!rule.recovery_only || self.recovery)
    }
}

/// Routes work by the tenant's resources; the first policy by name is the one in force.
pub fn route(facts: &Facts, resources: Option<&TenantResources>) -> Route {
    let entitlement = resources.and_then(|r| {
        r.entitlements
            .get_key_value(&facts.entitlement)
            .or_else(|| r.entitlements.iter().find(|(_, spec)| spec.default))
    });
    let entitlement_name = entitlement.map_or(facts.entitlement.as_str(), |(name, _)| name.as_str());
    let policy = resources.and_then(|r| r.routing_policies.values().next());
    let rule = policy.and_then(|p| p.rules.iter().find(|rule| facts.fit(rule, entitlement_name)));
    let queue_name = match (rule, policy) {
        (Some(rule), _) => rule.queue.as_str(),
        (None, Some(policy)) => policy.default_queue.as_str(),
        (None, None) => BUILT_IN_QUEUE,
    };
    let queue = resources.and_then(|r| r.queues.get(queue_name));

    let base = queue.map_or(BUILT_IN_TARGET_SECONDS, |q| {
        let by_channel = q
            .service_level
            .by_channel
            .iter()
            .find(|(kind, _)| ChannelKind::from(**kind) == facts.channel);
        by_channel.map_or(q.service_level.target_seconds, |(_, seconds)| *seconds)
    });
    let factor = entitlement.map_or(1.0, |(_, e)| e.target_factor);
    let target = scaled(base, factor);

    let mut skills: Vec<String> = queue.map(|q| q.skills.clone()).unwrap_or_default();
    skills.extend(rule.iter().flat_map(|r| r.skills.iter().cloned()));
    skills.sort();
    skills.dedup();

    let parts = [
        ("queue", queue.map_or(0, |q| q.priority)),
        ("rule", rule.map_or(0, |r| r.priority)),
        ("entitlement", entitlement.map_or(0, |(_, e)| e.priority)),
        ("urgency", points(facts.urgency)),
        (
            "mood",
            if facts.negative_mood {
                NEGATIVE_MOOD_WEIGHT
            } else {
                0
            },
        ),
    ];
    let priority = parts
        .iter()
        .fold(0_i32, |sum, (_, points)| sum.saturating_add(*points));
    let sum: Vec<String> = parts
        .iter()
        .filter(|(_, p)| *p != 0)
        .map(|(name, points)| format!("{name} {points}"))
        .collect();
    let why = match (rule, policy) {
        (Some(rule), _) => format!("rule `{}` fits", rule.name),
        (None, Some(_)) => "no rule fits: default queue".to_owned(),
        (None, None) => "no routing policy: built-in queue".to_owned(),
    };
    let explanation = format!(
        "{why}; queue `{queue_name}`, target {} s{}; priority {priority}{}{}",
        target.num_seconds(),
        if factor == 1.0 {
            String::new()
        } else {
            format!(" ({base} s × {factor} for `{entitlement_name}`)")
        },
        if sum.is_empty() {
            String::new()
        } else {
            format!(" = {}", sum.join(" + "))
        },
        if skills.is_empty() {
            String::new()
        } else {
            format!("; skills {}", skills.join(", "))
        },
    );
    Route {
        queue: queue_name.to_owned(),
        priority,
        target,
        skills,
        language: facts.language.clone(),
        offer_timeout_seconds: queue.map_or(BUILT_IN_OFFER_TIMEOUT_SECONDS, |q| q.offer_timeout_seconds),
        explanation,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "urgency is within 0 and 1")]
fn points(urgency: f64) -> i32 {
    (urgency * URGENCY_WEIGHT).round() as i32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "clamped to a year"
)]
fn scaled(seconds: i64, factor: f64) -> TimeDelta {
    const YEAR_MILLIS: f64 = 31_536_000_000.0;
    TimeDelta::milliseconds((seconds as f64 * 1_000.0 * factor).clamp(1.0, YEAR_MILLIS) as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trama_proto::{
        case::v1::{Case, Understanding},
        common::v1::CustomerContext,
        resources::{EntitlementSpec, Kind, QueueSpec, RoutingPolicySpec, ServiceLevel},
    };

    use super::*;

    fn queue(target_seconds: i64, priority: i32, skills: &[&str]) -> Arc<QueueSpec> {
        Arc::new(QueueSpec {
            service_level: ServiceLevel {
                target_seconds,
                goal: 0.8,
                by_channel: [(Kind::Voice, 30)].into_iter().collect(),
            },
            skills: skills.iter().map(|s| (*s).to_owned()).collect(),
            offer_timeout_seconds: 20,
            priority,
        })
    }

    fn rule(name: &str, intents: &[&str], queue: &str, priority: i32) -> RoutingRule {
        RoutingRule {
            name: name.into(),
            intents: intents.iter().map(|s| (*s).to_owned()).collect(),
            channel_kinds: vec![],
            entitlements: vec![],
            min_urgency: 0.0,
            recovery_only: false,
            queue: queue.into(),
            priority,
            skills: vec![],
        }
    }

    fn resources() -> TenantResources {
        let mut resources = TenantResources::default();
        resources
            .queues
            .insert("machines".into(), queue(600, 5, &["coffee-machines"]));
        resources.queues.insert("general".into(), queue(1_200, 0, &[]));
        let recovery = RoutingRule {
            recovery_only: true,
            ..rule("recovery", &[], "general", 9)
        };
        let policy = RoutingPolicySpec {
            rules: vec![
                recovery,
                rule("faults", &["product_fault"], "machines", 1),
                rule("all faults", &["product_fault"], "general", 7),
            ],
            default_queue: "general".into(),
        };
        resources.routing_policies.insert("main".into(), Arc::new(policy));
        let gold = EntitlementSpec {
            default: false,
            members: vec![],
            priority: 3,
            target_factor: 0.5,
        };
        resources.entitlements.insert("gold".into(), Arc::new(gold));
        resources
    }

    fn snapshot(intent: &str, kind: CaseKind) -> ContextSnapshot {
        let understanding = Understanding {
            intent: intent.into(),
            urgency: 0.64,
            mood: Mood::Negative.into(),
            language: "it".into(),
            ..Understanding::default()
        };
        ContextSnapshot {
            customer: Some(CustomerContext {
                entitlement: "gold".into(),
                ..CustomerContext::default()
            }),
            case: Some(Case {
                kind: kind.into(),
                understanding: Some(understanding),
                ..Case::default()
            }),
            ..ContextSnapshot::default()
        }
    }

    fn routed(
        channel: ChannelKind,
        snapshot: &ContextSnapshot,
        resources: Option<&TenantResources>,
    ) -> Route {
        route(&Facts::of(channel, Some(snapshot)), resources)
    }

    #[test]
    fn the_first_rule_that_fits_wins_and_everything_adds_up() {
        let found = routed(
            ChannelKind::Email,
            &snapshot("product_fault", CaseKind::Need),
            Some(&resources()),
        );
        assert_eq!(found.queue, "machines");
        assert_eq!(found.priority, 5 + 1 + 3 + 6 + 2);
        assert_eq!(found.target, TimeDelta::seconds(300));
        assert_eq!(found.skills, ["coffee-machines"]);
        assert_eq!(found.offer_timeout_seconds, 20);
        assert_eq!(found.language, "it");
        assert!(
            found.explanation.contains("rule `faults` fits"),
            "{}",
            found.explanation
        );
    }

    #[test]
    fn a_channel_may_have_its_own_target() {
        let found = routed(
            ChannelKind::Voice,
            &snapshot("product_fault", CaseKind::Need),
            Some(&resources()),
        );
        assert_eq!(found.target, TimeDelta::seconds(15));
    }

    #[test]
    fn recovery_rules_see_follow_ups_only() {
        assert_eq!(
            routed(
                ChannelKind::Sms,
                &snapshot("other", CaseKind::Need),
                Some(&resources())
            )
            .explanation
            .split(';')
            .next(),
            Some("no rule fits: default queue")
        );
        let found = routed(
            ChannelKind::Sms,
            &snapshot("product_fault", CaseKind::Recovery),
            Some(&resources()),
        );
        assert_eq!((found.queue.as_str(), found.priority), ("general", 9 + 3 + 6 + 2));
    }

    #[test]
    fn without_a_policy_there_is_a_built_in_queue() {
        let found = route(&Facts::of(ChannelKind::Email, None), None);
        assert_eq!(
            (found.queue.as_str(), found.priority, found.target),
            ("default", 0, TimeDelta::seconds(3_600))
        );
        assert_eq!(found.skills, [""; 0]);
    }
}
