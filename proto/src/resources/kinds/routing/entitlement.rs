//! What customers are entitled to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{one, positive};
use crate::resources::kinds::{Validate, check};

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
    /// Points added to the priority.
    #[serde(default)]
    pub priority: i32,
    /// Multiplies targets: 0.5 means twice as fast.
    #[serde(default = "one")]
    pub target_factor: f64,
}

impl Validate for EntitlementSpec {
    fn validate(&self) -> Result<(), String> {
        check(positive(self.target_factor), "spec.targetFactor must be positive")?;
        check(
            self.members.iter().all(|m| m.contains(':')),
            "spec.members are handles such as crm:1001 or email:*@acme.example",
        )
    }
}
