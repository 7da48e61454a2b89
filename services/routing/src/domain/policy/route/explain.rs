//! A route in words, for agents, supervisors and whoever asks why.

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::resources::{AgentOrder, BusinessHoursSpec, Skills};

use super::{Applied, Requirement, Route};
use crate::domain::hours;

pub(super) fn words(
    route: &Route,
    applied: &Applied<'_>,
    base: TimeDelta,
    points: &[(&str, i32)],
    hours: Option<&BusinessHoursSpec>,
    now: DateTime<Utc>,
) -> String {
    let mut parts = vec![
        why(route, applied),
        format!("queue `{}`, {}", route.queue, target(route, applied, base)),
        priority(route, points),
    ];
    if !route.requirement.skills.is_empty() {
        parts.push(format!("skills {}", skills(&route.requirement)));
    }
    if !route.requirement.teams.is_empty() {
        parts.push(format!("teams {}", route.requirement.teams.join(", ")));
    }
    if route.human_only {
        parts.push("people only".to_owned());
    }
    match route.agents {
        AgentOrder::Any => {}
        AgentOrder::BotsFirst => parts.push("bots first".to_owned()),
        AgentOrder::PeopleFirst => parts.push("people first".to_owned()),
    }
    let mut before = &route.requirement;
    for step in &route.steps {
        let later = less(before, &step.requirement);
        parts.push(format!("after {} s {later}", step.after.num_seconds()));
        before = &step.requirement;
    }
    if let Some(hours) = hours {
        parts.push(clock(route, hours, now));
    }
    for (rule, reason) in &applied.failed {
        parts.push(format!("rule `{rule}` could not be judged: {reason}"));
    }
    parts.join("; ")
}

fn why(route: &Route, applied: &Applied<'_>) -> String {
    let why = match (applied.rule, applied.policy) {
        (Some(rule), _) => format!("rule `{}` fits", rule.name),
        (None, Some(_)) => "no rule fits: default queue".to_owned(),
        (None, None) => "no routing policy: built-in queue".to_owned(),
    };
    if route.queue == applied.queue() {
        why
    } else {
        format!("{why}, moved from queue `{}`", applied.queue())
    }
}

fn target(route: &Route, applied: &Applied<'_>, base: TimeDelta) -> String {
    let mut text = format!("target {} s", route.target.num_seconds());
    let entitlement = applied.entitlement.map_or(1.0, |e| e.target_factor);
    let rule = applied.rule.map_or(1.0, |r| r.target_factor);
    if entitlement != 1.0 || rule != 1.0 {
        text.push_str(&format!(" ({} s", base.num_seconds()));
        if rule != 1.0 {
            text.push_str(&format!(" × {rule} by the rule"));
        }
        if entitlement != 1.0 {
            text.push_str(&format!(" × {entitlement} for `{}`", route.entitlement));
        }
        text.push(')');
    }
    text
}

fn priority(route: &Route, points: &[(&str, i32)]) -> String {
    let sum: Vec<String> = points
        .iter()
        .filter(|(_, p)| *p != 0)
        .map(|(name, points)| format!("{name} {points}"))
        .collect();
    if sum.is_empty() {
        return format!("priority {}", route.priority);
    }
    format!(
        "priority {} = {}: ranks as if it had {} s",
        route.priority,
        sum.join(" + "),
        route.ranking_target.num_seconds()
    )
}

fn skills(requirement: &Requirement) -> String {
    Skills(requirement.skills.clone()).to_string()
}

fn less(before: &Requirement, after: &Requirement) -> String {
    let mut words = Vec::new();
    if before.skills != after.skills {
        words.push(if after.skills.is_empty() {
            "any skills".to_owned()
        } else {
            format!("skills {}", skills(after))
        });
    }
    if before.teams != after.teams {
        words.push(if after.teams.is_empty() {
            "any team".to_owned()
        } else {
            format!("teams {}", after.teams.join(", "))
        });
    }
    if before.language != after.language {
        words.push("any language".to_owned());
    }
    words.join(", ")
}

fn clock(route: &Route, spec: &BusinessHoursSpec, now: DateTime<Utc>) -> String {
    let local = |at: DateTime<Utc>| at.with_timezone(&spec.time_zone.0).format("%Y-%m-%d %H:%M");
    let due = format!("due {} ({})", local(route.due_at), spec.time_zone);
    match route.opens_at {
        None => due,
        Some(opens_at) => {
            let holiday = hours::special_day(spec, now).map_or(String::new(), |day| format!(" for {day}"));
            format!("closed{holiday} until {}, {due}", local(opens_at))
        }
    }
}
