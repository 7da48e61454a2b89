//! How much may be asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How much may be asked, by each replica. Nothing is limited that is not named here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// gRPC calls of a tenant.
    pub tenant: Rate,
    /// gRPC calls of one caller of a tenant: an API key, or the subject of tokens.
    pub credential: Rate,
    /// Requests for a tenant at the HTTP doors: webhooks, and beginnings of chats.
    pub http: Rate,
    /// In place of these three, for tenants by name.
    pub tenants: BTreeMap<String, Rates>,
    /// Longest time that a request at an HTTP door waits for its turn before it is refused with 429, in milliseconds.
    pub http_wait_ms: u64,
}

impl LimitsConfig {
    /// What makes no sense.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let everybody = self.everybody();
        let mut rates = self
            .tenants
            .values()
            .chain([&everybody])
            .flat_map(|r| [r.tenant, r.credential, r.http]);
        let bad =
            |r: Rate| !r.per_second.is_finite() || r.per_second < 0.0 || (r.per_second > 0.0 && r.burst == 0);
        rates
            .any(bad)
            .then_some("per_second must be 0 or more, and burst 1 or more where per_second is not 0")
    }

    const fn everybody(&self) -> Rates {
        Rates {
            tenant: self.tenant,
            credential: self.credential,
            http: self.http,
        }
    }

    /// What holds for a tenant.
    pub fn of(&self, tenant: &str) -> Rates {
        self.tenants.get(tenant).copied().unwrap_or(self.everybody())
    }
}

/// Rates of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// gRPC calls of the tenant.
    pub tenant: Rate,
    /// gRPC calls of one caller: an API key, or the subject of tokens.
    pub credential: Rate,
    /// Requests at the HTTP doors: webhooks, and beginnings of chats.
    pub http: Rate,
}

/// So many, evenly; and so many at once after a rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// Per second; 0: not limited.
    pub per_second: f64,
    /// At once.
    pub burst: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            tenant: Rate::default(),
            credential: Rate::default(),
            http: Rate::default(),
            tenants: BTreeMap::new(),
            http_wait_ms: 2_000,
        }
    }
}
