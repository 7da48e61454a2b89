//! References between resources that lead nowhere.

use std::collections::BTreeMap;

use super::{
    Fault, QueueSpec, RoutingPolicySpec, TenantResources,
    condition::{Condition, Vocabulary},
};

/// What is wrong with a resource that is in force.
pub(super) struct Finding {
    /// `Kind/name`.
    pub(super) resource: String,
    pub(super) fault: Fault,
    pub(super) message: String,
}

impl TenantResources {
    /// References that lead nowhere, and what excludes each other.
    pub(super) fn dangling(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut unresolved = |kind: &str, name: &str, messages: Vec<String>| {
            found.extend(messages.into_iter().map(|message| Finding {
                resource: format!("{kind}/{name}"),
                fault: Fault::Unresolved,
                message,
            }));
        };
        for (name, policy) in &self.routing_policies {
            unresolved("RoutingPolicy", name, self.policy(policy));
        }
        for (name, queue) in &self.queues {
            unresolved("Queue", name, self.queue(name, queue));
        }
        for (name, policy) in &self.matching_policies {
            // A tenant without intents of its own names its needs as it likes.
            if !self.intents.is_empty() {
                let mut messages = Vec::new();
                exists(
                    &self.intents,
                    "intent",
                    "spec.verification.needs",
                    policy.verification.needs.keys(),
                    &mut messages,
                );
                unresolved("MatchingPolicy", name, messages);
            }
        }
        let defaults: Vec<_> = self.entitlements.iter().filter(|(_, e)| e.default).collect();
        if defaults.len() > 1 {
            found.extend(defaults.iter().map(|(name, _)| Finding {
                resource: format!("Entitlement/{name}"),
                fault: Fault::Conflicting,
                message: format!("spec.default: {} are marked default; one may be", defaults.len()),
            }));
        }
        found
    }

    fn policy(&self, policy: &RoutingPolicySpec) -> Vec<String> {
        let mut found = Vec::new();
        for (number, rule) in policy.rules.iter().enumerate() {
            let at = |field: &str| format!("spec.rules[{number}].{field}");
            exists(&self.queues, "queue", &at("queue"), [&rule.queue], &mut found);
            exists(&self.intents, "intent", &at("intents"), &rule.intents, &mut found);
            exists(
                &self.entitlements,
                "entitlement",
                &at("entitlements"),
                &rule.entitlements,
                &mut found,
            );
            if let Some(when) = &rule.when {
                self.condition(when, &at("when"), &mut found);
            }
        }
        exists(
            &self.queues,
            "queue",
            "spec.defaultQueue",
            [&policy.default_queue],
            &mut found,
        );
        exists(
            &self.business_hours,
            "business hours",
            "spec.hours",
            &policy.hours,
            &mut found,
        );
        found
    }

    fn queue(&self, name: &str, queue: &QueueSpec) -> Vec<String> {
        let mut found = Vec::new();
        exists(
            &self.business_hours,
            "business hours",
            "spec.hours",
            &queue.hours,
            &mut found,
        );
        for (number, overflow) in queue.overflow.iter().enumerate() {
            let at = |field: &str| format!("spec.overflow[{number}].{field}");
            exists(&self.queues, "queue", &at("queue"), &overflow.queue, &mut found);
            exists(
                &self.message_templates,
                "message template",
                &at("template"),
                &overflow.template,
                &mut found,
            );
            self.condition(&overflow.when, &at("when"), &mut found);
            if overflow.queue.as_deref() == Some(name) {
                found.push(format!(
                    "{}: queue `{name}` would overflow into itself",
                    at("queue")
                ));
            }
        }
        found
    }

    /// The names that a condition compares with.
    fn condition<V: Vocabulary>(&self, condition: &Condition<V>, at: &str, found: &mut Vec<String>) {
        // An empty text asks whether there is any.
        let named = |word| {
            condition
                .texts_compared_with(word)
                .into_iter()
                .filter(|t| !t.is_empty())
        };
        exists(&self.intents, "intent", at, named("intent"), found);
        exists(&self.entitlements, "entitlement", at, named("entitlement"), found);
    }
}

fn exists<T, N: AsRef<str>>(
    known: &BTreeMap<String, T>,
    what: &str,
    at: &str,
    names: impl IntoIterator<Item = N>,
    found: &mut Vec<String>,
) {
    for name in names {
        let name = name.as_ref();
        if !known.contains_key(name) {
            found.push(format!("{at}: {what} `{name}` does not exist"));
        }
    }
}
