//! What customers want.

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
