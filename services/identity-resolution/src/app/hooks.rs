//! Calls to integrators: signed, guarded, small.

use chrono::{DateTime, Utc};
use serde_json::Value;
use trama_platform::{
    Error, Kind,
    outbound::{Outbound, read_limited},
    resources::Secrets,
};
use trama_proto::{ids::TenantId, resources::Hook};

use crate::domain::signing::{self, SIGNATURE_HEADER, signature};

/// Largest answer that is read.
const LARGEST_ANSWER: usize = 64 * 1024;

/// What reaches out of the platform.
#[derive(Clone)]
pub struct Outside {
    outbound: Outbound,
    secrets: Secrets,
}

impl Outside {
    /// Over the guarded client.
    pub fn new(outbound: Outbound, secrets: Secrets) -> Self {
        Self { outbound, secrets }
    }

    /// Whether a body that came is the integrator's: signed by the secret of the hook, not long ago.
    ///
    /// # Errors
    /// `Unauthenticated` when it is not, `Precondition` when the secret is missing.
    pub fn check(
        &self,
        tenant: &TenantId,
        hook: &Hook,
        (header, body): (&str, &[u8]),
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        // All lines: while a secret rotates, either may have signed.
        let secrets = self.secrets.get(tenant, &hook.secret)?;
        signing::check(&secrets, header, body, now)
            .map_err(|wrong| Error::new(Kind::Unauthenticated, wrong.to_string()))
    }

    /// Posts a signed body and returns what the other side answers; nothing becomes `null`.
    ///
    /// # Errors
    /// `Unavailable` when the other side is away or refuses, `Precondition` when the secret is missing.
    pub async fn post(
        &self,
        tenant: &TenantId,
        hook: &Hook,
        body: Vec<u8>,
        now: DateTime<Utc>,
    ) -> Result<Value, Error> {
        let secret = self.secrets.current(tenant, &hook.secret)?;
        let response = self
            .outbound
            .request(http::Method::POST, &hook.url)?
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(SIGNATURE_HEADER, signature(&secret, &body, now))
            .body(body)
            .send()
            .await
            .map_err(|error| {
                // Its Display may hold a URL with a token in it.
                let what = if error.is_timeout() {
                    "timed out"
                } else {
                    "cannot be reached"
                };
                Error::new(Kind::Unavailable, format!("the integrator's hook {what}"))
            })?;
        let status = response.status();
        if !status.is_success() {
            return Err(Error::new(
                Kind::Unavailable,
                format!("the integrator's hook answered {}", status.as_u16()),
            ));
        }
        let bytes = read_limited(response, LARGEST_ANSWER).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| Error::new(Kind::Unavailable, "the integrator's hook did not answer in JSON"))
    }
}
