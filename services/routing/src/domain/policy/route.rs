//! Which queue, by when, and whom it asks for.

mod explain;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::resources::{
    AgentOrder, BusinessHoursSpec, EntitlementSpec, QueueSpec, RoutingPolicySpec, RoutingRule,
    TenantResources,
};

use super::{Facts, facts::Moment, widen::widen};
use crate::domain::hours;

/// The queue of tenants that have no policy.
const BUILT_IN_QUEUE: &str = "default";
/// Its target, and that of queues that do not exist (any more).
const BUILT_IN_TARGET_SECONDS: i64 = 3_600;
const BUILT_IN_OFFER_TIMEOUT_SECONDS: u32 = 30;
/// Points for the greatest urgency.
const URGENCY_POINTS: f64 = 10.0;
/// Points for a displeased customer.
const NEGATIVE_MOOD_POINTS: i32 = 2;
/// With each point, work ranks as if it had a tenth less time …
const TIME_LEFT_BY_POINT: f64 = 0.9;
/// … but never less than a fifth of it, or more than twice as much: points order work, they do not replace its target.
const TIME_LEFT_BOUNDS: (f64, f64) = (0.2, 2.0);

/// What an agent must have. A language is hard too, but a step may drop it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Skills with the least level.
    pub skills: BTreeMap<String, u8>,
    /// Language of the need, when it is known.
    pub language: Option<String>,
    /// One of these teams; any when empty.
    pub teams: Vec<String>,
}

/// From when on less is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// After so long in the queue.
    pub after: TimeDelta,
    /// All that is asked from then on.
    pub requirement: Requirement,
}

/// Where work waits and how it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Queue.
    pub queue: String,
    /// Name of the rule that fits; empty for none.
    pub rule: String,
    /// Entitlement that applies; empty for none.
    pub entitlement: String,
    /// Intent; empty when unknown.
    pub intent: String,
    /// Language of the need; empty when unknown.
    pub language: String,
    /// Points. They shorten [`Route::ranking_target`].
    pub priority: i32,
    /// The promise: answered within so much open time.
    pub target: TimeDelta,
    /// The target that the order of waiting work goes by.
    pub ranking_target: TimeDelta,
    /// When the promise breaks.
    pub due_at: DateTime<Utc>,
    /// When the ranking target is used up.
    pub ranking_due_at: DateTime<Utc>,
    /// When the queue opens, if it is closed and will open.
    pub opens_at: Option<DateTime<Utc>>,
    /// What an agent must have at first.
    pub requirement: Requirement,
    /// What is asked later, in order.
    pub steps: Vec<Step>,
    /// Not for bots.
    pub human_only: bool,
    /// Who is asked first.
    pub agents: AgentOrder,
    /// How long it waits for the agent who knows it.
    pub preferred_wait: TimeDelta,
    /// How long an offer is held.
    pub offer_timeout_seconds: u32,
    /// How long the agent has to write up.
    pub wrap_up_seconds: u32,
    /// After how much silence the conversation rests, if ever.
    pub idle_park_seconds: Option<u32>,
    /// Rules that could not be judged.
    pub failed_conditions: u32,
    /// All of it in words.
    pub explanation: String,
}

impl Route {
    /// For what never waits.
    pub(crate) fn nowhere() -> Self {
        Self {
            queue: String::new(),
            rule: String::new(),
            entitlement: String::new(),
            intent: String::new(),
            language: String::new(),
            priority: 0,
            target: TimeDelta::zero(),
            ranking_target: TimeDelta::zero(),
            due_at: DateTime::UNIX_EPOCH,
            ranking_due_at: DateTime::UNIX_EPOCH,
            opens_at: None,
            requirement: Requirement::default(),
            steps: Vec::new(),
            human_only: false,
            agents: AgentOrder::Any,
            preferred_wait: TimeDelta::zero(),
            offer_timeout_seconds: BUILT_IN_OFFER_TIMEOUT_SECONDS,
            wrap_up_seconds: 0,
            idle_park_seconds: None,
            failed_conditions: 0,
            explanation: String::new(),
        }
    }
}

/// What of a tenant's resources applies to a piece of work.
pub(super) struct Applied<'a> {
    pub resources: &'a TenantResources,
    pub policy: Option<&'a RoutingPolicySpec>,
    pub rule: Option<&'a RoutingRule>,
    pub entitlement: Option<&'a EntitlementSpec>,
    pub entitlement_name: &'a str,
    /// Rules that could not be judged, and why.
    pub failed: Vec<(&'a str, String)>,
}

impl<'a> Applied<'a> {
    /// The first policy by name is the one in force, and in it the first rule that fits. A rule that cannot be judged
    /// does not fit.
    pub(super) fn to(facts: &'a Facts, resources: &'a TenantResources, now: DateTime<Utc>) -> Self {
        let entitlement = resources
            .entitlements
            .get_key_value(&facts.entitlement)
            .or_else(|| resources.entitlements.iter().find(|(_, spec)| spec.default));
        let policy = resources.routing_policies.values().next().map(AsRef::as_ref);
        let mut applied = Self {
            resources,
            policy,
            rule: None,
            entitlement: entitlement.map(|(_, spec)| spec.as_ref()),
            entitlement_name: entitlement.map_or(facts.entitlement.as_str(), |(name, _)| name.as_str()),
            failed: Vec::new(),
        };
        let moment = applied.moment(policy.and_then(|p| p.hours.as_deref()), now);
        for rule in policy.iter().flat_map(|p| &p.rules) {
            match facts.fit(rule, moment) {
                Ok(true) => {
                    applied.rule = Some(rule);
                    break;
                }
                Ok(false) => {}
                Err(reason) => applied.failed.push((&rule.name, reason)),
            }
        }
        applied
    }

    /// A moment by the clock of these hours.
    pub(super) fn moment(&self, hours: Option<&str>, now: DateTime<Utc>) -> Moment<'a> {
        Moment {
            now,
            hours: hours
                .and_then(|name| self.resources.business_hours.get(name))
                .map(AsRef::as_ref),
            entitlement: self.entitlement_name,
        }
    }

    fn queue(&self) -> &'a str {
        match (self.rule, self.policy) {
            (Some(rule), _) => &rule.queue,
            (None, Some(policy)) => &policy.default_queue,
            (None, None) => BUILT_IN_QUEUE,
        }
    }
}

/// Routes work by the tenant's resources.
pub fn route(facts: &Facts, resources: Option<&TenantResources>, now: DateTime<Utc>) -> Route {
    let none = TenantResources::default();
    let applied = Applied::to(facts, resources.unwrap_or(&none), now);
    let queue = applied.queue();
    in_queue(facts, &applied, queue, now)
}

/// The route in a queue that somebody or an overflow has chosen. What the rule asks for beyond the queue's own skills
/// belonged to its queue and is left behind, but for what may never be relaxed.
pub fn route_to(
    queue: &str,
    facts: &Facts,
    resources: Option<&TenantResources>,
    now: DateTime<Utc>,
) -> Route {
    let none = TenantResources::default();
    let applied = Applied::to(facts, resources.unwrap_or(&none), now);
    in_queue(facts, &applied, queue, now)
}

fn in_queue(facts: &Facts, applied: &Applied<'_>, queue_name: &str, now: DateTime<Utc>) -> Route {
    let queue = applied.resources.queues.get(queue_name).map(AsRef::as_ref);
    let hours = applied.moment(queue.and_then(|q| q.hours.as_deref()), now).hours;
    let base = TimeDelta::seconds(queue.map_or(BUILT_IN_TARGET_SECONDS, |q| q.target_seconds(facts.channel)));
    let target = scaled(base, target_factor(applied));
    let points = points(facts, applied, queue);
    let priority = points.iter().fold(0_i32, |sum, (_, p)| sum.saturating_add(*p));
    let ranking_target = scaled(target, time_left(priority));
    let requirement = requirement(facts, applied, queue_name, queue);
    let steps = match (applied.rule, applied.policy) {
        (
            Some(RoutingRule {
                steps: Some(steps), ..
            }),
            _,
        ) => steps.as_slice(),
        (_, Some(policy)) => &policy.steps,
        (_, None) => &[],
    };
    let never_relax = applied.policy.map_or(&[][..], |p| &p.never_relax);
    let preferred = queue.map(|q| q.preferred_agent.clone()).unwrap_or_default();
    let mut route = Route {
        queue: queue_name.to_owned(),
        rule: applied.rule.map(|r| r.name.clone()).unwrap_or_default(),
        entitlement: applied.entitlement_name.to_owned(),
        intent: facts.intent.clone(),
        language: facts.language.clone(),
        priority,
        target,
        ranking_target,
        due_at: due_at(hours, facts.waiting_since, target),
        ranking_due_at: due_at(hours, facts.waiting_since, ranking_target),
        opens_at: hours
            .and_then(|h| hours::next_opening(h, now))
            .filter(|opens_at| *opens_at > now),
        steps: widen(&requirement, steps, target, never_relax),
        requirement,
        human_only: applied.rule.is_some_and(|r| r.require_human),
        agents: applied.rule.map_or(AgentOrder::Any, |r| r.agents),
        preferred_wait: TimeDelta::seconds(i64::from(preferred.wait_seconds))
            .min(scaled(target, preferred.share_of_target)),
        offer_timeout_seconds: queue.map_or(BUILT_IN_OFFER_TIMEOUT_SECONDS, |q| {
            q.offer_timeout_seconds(facts.channel)
        }),
        wrap_up_seconds: queue.map_or(0, |q| q.wrap_up_seconds(facts.channel)),
        idle_park_seconds: queue.and_then(|q| q.idle_park_seconds),
        failed_conditions: u32::try_from(applied.failed.len()).unwrap_or(u32::MAX),
        explanation: String::new(),
    };
    route.explanation = explain::words(&route, applied, base, &points, hours, now);
    route
}

/// Where points come from.
fn points(facts: &Facts, applied: &Applied<'_>, queue: Option<&QueueSpec>) -> [(&'static str, i32); 5] {
    use trama_proto::case::v1::Mood;
    let mood = match facts.mood {
        Mood::Negative => NEGATIVE_MOOD_POINTS,
        Mood::Unspecified | Mood::Neutral | Mood::Positive => 0,
    };
    [
        ("queue", queue.map_or(0, |q| q.priority)),
        ("rule", applied.rule.map_or(0, |r| r.priority)),
        ("entitlement", applied.entitlement.map_or(0, |e| e.priority)),
        ("urgency", urgency_points(facts.urgency)),
        ("mood", mood),
    ]
}

fn target_factor(applied: &Applied<'_>) -> f64 {
    let (rule, entitlement) = (applied.rule, applied.entitlement);
    rule.map_or(1.0, |r| r.target_factor) * entitlement.map_or(1.0, |e| e.target_factor)
}

fn requirement(
    facts: &Facts,
    applied: &Applied<'_>,
    queue_name: &str,
    queue: Option<&QueueSpec>,
) -> Requirement {
    let mut skills = queue.map(|q| q.skills.0.clone()).unwrap_or_default();
    let mut teams = queue.map(|q| q.teams.clone()).unwrap_or_default();
    if let Some(rule) = applied.rule {
        let at_home = rule.queue == queue_name;
        let kept = |skill: &String| at_home || applied.policy.is_some_and(|p| p.never_relax.contains(skill));
        for (skill, level) in rule.skills.0.iter().filter(|(skill, _)| kept(skill)) {
            let asked = skills.entry(skill.clone()).or_insert(*level);
            *asked = (*asked).max(*level);
        }
        if at_home && !rule.teams.is_empty() {
            teams.clone_from(&rule.teams);
        }
    }
    Requirement {
        skills,
        language: Some(facts.language.clone()).filter(|l| !l.is_empty()),
        teams,
    }
}

/// In open time; by the clock where hours never open again.
fn due_at(hours: Option<&BusinessHoursSpec>, start: DateTime<Utc>, time: TimeDelta) -> DateTime<Utc> {
    hours
        .and_then(|h| hours::add_open_time(h, start, time))
        .unwrap_or(start + time)
}

fn time_left(points: i32) -> f64 {
    let (least, most) = TIME_LEFT_BOUNDS;
    TIME_LEFT_BY_POINT
        .powi(points.clamp(-1_000, 1_000))
        .clamp(least, most)
}

#[expect(clippy::cast_possible_truncation, reason = "urgency is within 0 and 1")]
fn urgency_points(urgency: f64) -> i32 {
    (urgency * URGENCY_POINTS).round() as i32
}

/// A part or a multiple of a time, from nothing to a year.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "clamped to a year"
)]
pub(super) fn scaled(time: TimeDelta, factor: f64) -> TimeDelta {
    const YEAR_MILLIS: f64 = 31_536_000_000.0;
    TimeDelta::milliseconds((time.num_milliseconds() as f64 * factor).clamp(0.0, YEAR_MILLIS) as i64)
}
