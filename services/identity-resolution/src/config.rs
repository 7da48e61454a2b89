//! The service's own section: `[services.identity-resolution]`.

use serde::Deserialize;

/// What is configured beside the tenants' resources.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Minutes for which a one-time code is good.
    pub code_minutes: i64,
    /// Codes that one customer may be sent within an hour.
    pub codes_per_hour: i64,
    /// Secret mixed into the stored hash of codes; the same on all replicas. Without it, whoever reads the database
    /// can find the codes that are still good.
    pub code_pepper: String,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            code_minutes: 10,
            codes_per_hour: 5,
            code_pepper: String::new(),
        }
    }
}
