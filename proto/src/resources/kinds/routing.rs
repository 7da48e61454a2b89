//! Where work waits, and who waits how long.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Validate, check};

/// Where work waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueSpec {
    /// How fast work is answered.
    pub service_level: ServiceLevel,
    /// Skills an agent must have for anything in this queue.
    #[serde(default)]
    pub skills: Vec<String>,
    /// How long an offer is held.
    #[serde(default = "offer_timeout")]
    pub offer_timeout_seconds: u32,
    /// Added to the priority of everything in this queue.
    #[serde(default)]
    pub priority: i32,
}

/// How fast work is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceLevel {
    /// Answered within so many seconds …
    pub target_seconds: i64,
    /// … in this share of cases.
    pub goal: f64,
    /// Other targets for some kinds of channel.
    #[serde(default)]
    pub by_channel: BTreeMap<Kind, i64>,
}

/// Which work waits where. The first rule that fits wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingPolicySpec {
    /// In order.
    pub rules: Vec<RoutingRule>,
    /// For what no rule fits.
    pub default_queue: String,
}

/// One rule: every list that is not empty must contain the work's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingRule {
    /// For explanations.
    pub name: String,
    /// Intents.
    #[serde(default)]
    pub intents: Vec<String>,
    /// Kinds of channel.
    #[serde(default)]
    pub channel_kinds: Vec<Kind>,
    /// Entitlements.
    #[serde(default)]
    pub entitlements: Vec<String>,
    /// At least so urgent, 0 to 1.
    #[serde(default)]
    pub min_urgency: f64,
    /// Only follow-ups of bad survey answers.
    #[serde(default)]
    pub recovery_only: bool,
    /// Where it waits.
    pub queue: String,
    /// Added to the priority.
    #[serde(default)]
    pub priority: i32,
    /// Further skills.
    #[serde(default)]
    pub skills: Vec<String>,
}

/// What customers are entitled to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntitlementSpec {
    /// For customers whom no other entitlement names.
    #[serde(default)]
    pub default: bool,
    /// Handles (`crm:1001`, `email:anna@example.com`) and mail domains (`email:*@example.com`) that have it.
    #[serde(default)]
    pub members: Vec<String>,
    /// Added to the priority.
    #[serde(default)]
    pub priority: i32,
    /// Multiplies targets: 0.5 means twice as fast.
    #[serde(default = "one_f")]
    pub target_factor: f64,
}

impl Validate for QueueSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.service_level.target_seconds > 0,
            "spec.serviceLevel.targetSeconds must be positive",
        )?;
        check(
            (0.0..=1.0).contains(&self.service_level.goal),
            "spec.serviceLevel.goal must be from 0 to 1",
        )?;
        check(
            self.service_level.by_channel.values().all(|s| *s > 0),
            "spec.serviceLevel.byChannel must be positive",
        )?;
        check(
            self.offer_timeout_seconds > 0,
            "spec.offerTimeoutSeconds must be positive",
        )
    }
}

impl Validate for RoutingPolicySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.rules.iter().all(|r| (0.0..=1.0).contains(&r.min_urgency)),
            "spec.rules: minUrgency must be from 0 to 1",
        )
    }
}

impl Validate for EntitlementSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.target_factor > 0.0 && self.target_factor.is_finite(),
            "spec.targetFactor must be positive",
        )?;
        check(
            self.members.iter().all(|m| m.contains(':')),
            "spec.members are handles such as crm:1001 or email:*@acme.example",
        )
    }
}

const fn one_f() -> f64 {
    1.0
}

const fn offer_timeout() -> u32 {
    30
}
