//! What customers want, and who they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Localized, Validate, check};

/// What customers want, learnt from examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntentSpec {
    /// Name for people.
    pub title: Localized,
    /// How customers say it, by language.
    pub examples: BTreeMap<String, Vec<String>>,
    /// The assistant may answer from knowledge.
    #[serde(default)]
    pub self_service: bool,
    /// The customer asks for a person: hands over, is no need of its own.
    #[serde(default)]
    pub asks_for_person: bool,
    /// How urgent it is by itself, 0 to 1.
    #[serde(default)]
    pub urgency: f64,
    /// Level of verification it needs.
    #[serde(default)]
    pub verification_level: i32,
}

/// Who is who.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchingPolicySpec {
    /// Values that never identify anybody, besides the built-in ones.
    #[serde(default)]
    pub blocked_values: Vec<String>,
    /// Handles that several people share (family phone, company mailbox): they never merge by themselves.
    #[serde(default)]
    pub shared_handles: Vec<String>,
    /// Country for telephone numbers without a prefix, such as `39`.
    #[serde(default = "italy")]
    pub default_country_code: String,
    /// How long a verification holds.
    #[serde(default = "verification_hours")]
    pub verification_hours: u32,
    /// Wrong codes before a challenge is locked.
    #[serde(default = "verification_attempts")]
    pub verification_attempts: u32,
}

impl Default for MatchingPolicySpec {
    fn default() -> Self {
        Self {
            blocked_values: Vec::new(),
            shared_handles: Vec::new(),
            default_country_code: italy(),
            verification_hours: verification_hours(),
            verification_attempts: verification_attempts(),
        }
    }
}

impl Validate for IntentSpec {
    fn validate(&self) -> Result<(), String> {
        check(
            self.examples.values().any(|e| !e.is_empty()),
            "spec.examples must hold at least one sentence",
        )?;
        check(
            (0.0..=1.0).contains(&self.urgency),
            "spec.urgency must be from 0 to 1",
        )
    }
}

impl Validate for MatchingPolicySpec {
    fn validate(&self) -> Result<(), String> {
        check(
            !self.default_country_code.is_empty()
                && self.default_country_code.bytes().all(|b| b.is_ascii_digit()),
            "spec.defaultCountryCode must be digits, such as 39",
        )?;
        check(
            self.verification_attempts > 0,
            "spec.verificationAttempts must be positive",
        )
    }
}

fn italy() -> String {
    "39".into()
}

const fn verification_hours() -> u32 {
    24
}

const fn verification_attempts() -> u32 {
    5
}
