//! Deny by default: who calls, for which tenant, and may they?

mod dev;
mod layer;
mod tokens;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use trama_proto::ids::TenantId;

pub use dev::{DevIssuer, DevToken, write_private};
pub use layer::{AuthLayer, AuthService};
use tokens::Tokens;

use crate::{Clock, Error, Kind, config::AuthConfig, lifecycle::Lifecycle, outbound::Outbound};

/// Whoever proved to be somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data they may touch.
    pub tenant: TenantId,
    /// Who: agent id, integrator, service.
    pub subject: String,
    /// What they may do.
    pub scopes: Vec<String>,
    /// A service of the platform itself.
    pub service: bool,
    /// How they proved it.
    pub credential: Credential,
    /// From where they call; empty when that is this process.
    pub origin: String,
}

/// What somebody proved who they are with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What it is.
    pub sort: CredentialSort,
    /// Which one: id of an API key, `jti` of a token that has one.
    pub id: String,
}

/// Sorts of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialSort {
    /// A token of an OIDC issuer.
    Token,
    /// An API key.
    ApiKey,
    /// The API key of a service.
    Service,
    /// This process itself.
    Internal,
}

impl Credential {
    fn new(sort: CredentialSort, id: &str) -> Self {
        Self {
            sort,
            id: id.to_owned(),
        }
    }
}

impl Principal {
    /// Whether a scope is held. `thing.*` holds `thing.read`; `*` holds everything.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|held| match held.strip_suffix('*') {
            Some(stem) => scope.starts_with(stem),
            None => held == scope,
        })
    }
}

/// A hashed API key, as the key file holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Public half: `trama_<id>_<secret>`.
    pub id: String,
    /// SHA-256 of the secret half in hex. The secret is 256 random bits: no slow hash is needed.
    pub hash: String,
    /// Whose data it opens.
    pub tenant: TenantId,
    /// Who holds it.
    pub subject: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// Until when.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// A service of the platform: may name the tenant it works for.
    #[serde(default)]
    pub service: bool,
}

impl ApiKey {
    /// The hash of a secret half.
    pub fn hash_of(secret: &str) -> String {
        hex::encode(Sha256::digest(secret))
    }
}

/// Checks credentials.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    tokens: Tokens,
    api_keys: ArcSwap<HashMap<String, ApiKey>>,
    api_keys_file: Option<std::path::PathBuf>,
    /// Opens this process to itself only.
    internal: String,
    clock: Clock,
}

const REFRESH: Duration = Duration::from_secs(30);

impl Authenticator {
    /// Reads keys and key sets, and keeps them fresh.
    ///
    /// # Errors
    /// When the API key file cannot be understood.
    pub async fn start(
        config: &AuthConfig,
        clock: Clock,
        outbound: Outbound,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let this = Self(Arc::new(Inner {
            tokens: Tokens::new(&config.issuers, outbound),
            api_keys: ArcSwap::default(),
            api_keys_file: config.api_keys_file.clone(),
            internal: format!("{}{}", clock.new_id().simple(), clock.new_id().simple()),
            clock,
        }));
        this.read_api_keys()?;
        this.0.tokens.refresh().await;
        let (again, stopping) = (this.clone(), lifecycle.stopping());
        lifecycle.spawn("auth", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep(REFRESH) => {}
                }
                again.0.tokens.refresh().await;
                if let Err(error) = again.read_api_keys() {
                    tracing::warn!(
                        detail = error.detail(),
                        "API keys cannot be read; the last good ones stay"
                    );
                }
            }
        });
        Ok(this)
    }

    fn read_api_keys(&self) -> Result<(), Error> {
        let Some(file) = &self.0.api_keys_file else {
            return Ok(());
        };
        let bad = |e: String| Error::new(Kind::Invalid, format!("{}: {e}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
        let keys: Vec<ApiKey> = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        self.0
            .api_keys
            .store(Arc::new(keys.into_iter().map(|k| (k.id.clone(), k)).collect()));
        Ok(())
    }

    /// The token with which this process calls itself.
    pub(crate) fn internal_token(&self) -> &str {
        &self.0.internal
    }

    /// Who holds the credential in these headers?
    ///
    /// # Errors
    /// `Unauthenticated`, with words that help the honest and not the others.
    pub fn authenticate(&self, headers: &http::HeaderMap) -> Result<Principal, Error> {
        let unauthenticated = |why: &str| Error::new(Kind::Unauthenticated, why.to_owned());
        let token = headers
            .get(http::header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")))
            .ok_or_else(|| unauthenticated("send `authorization: Bearer <token or API key>`"))?;
        if bool::from(token.as_bytes().ct_eq(self.0.internal.as_bytes())) {
            let credential = Credential::new(CredentialSort::Internal, "");
            return self.for_service("internal".to_owned(), vec!["*".to_owned()], credential, headers);
        }
        if let Some(key) = token.strip_prefix("trama_") {
            return self.by_api_key(key, headers);
        }
        self.0.tokens.authenticate(token, self.0.clock.now())
    }

    fn for_service(
        &self,
        subject: String,
        scopes: Vec<String>,
        credential: Credential,
        headers: &http::HeaderMap,
    ) -> Result<Principal, Error> {
        let tenant = headers
            .get("trama-tenant")
            .and_then(|v| v.to_str().ok())
            .ok_or_else(|| {
                Error::new(
                    Kind::Unauthenticated,
                    "a service must name its tenant in `trama-tenant`",
                )
            })?
            .parse()?;
        Ok(Principal {
            tenant,
            subject,
            scopes,
            service: true,
            credential,
            origin: String::new(),
        })
    }

    fn by_api_key(&self, key: &str, headers: &http::HeaderMap) -> Result<Principal, Error> {
        let refused = || {
            Error::new(
                Kind::Unauthenticated,
                "the API key is unknown, expired or revoked",
            )
        };
        let (id, secret) = key.split_once('_').ok_or_else(refused)?;
        let keys = self.0.api_keys.load();
        let stored = keys.get(id).ok_or_else(refused)?;
        let same: bool = ApiKey::hash_of(secret)
            .as_bytes()
            .ct_eq(stored.hash.as_bytes())
            .into();
        if !same || stored.expires_at.is_some_and(|e| e <= self.0.clock.now()) {
            return Err(refused());
        }
        if stored.service {
            let credential = Credential::new(CredentialSort::Service, id);
            return self.for_service(stored.subject.clone(), stored.scopes.clone(), credential, headers);
        }
        Ok(Principal {
            tenant: stored.tenant.clone(),
            subject: stored.subject.clone(),
            scopes: stored.scopes.clone(),
            service: false,
            credential: Credential::new(CredentialSort::ApiKey, id),
            origin: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_holds_what_begins_like_it() {
        let who = |scopes: &[&str]| Principal {
            tenant: "acme".parse().expect("valid"),
            subject: "x".into(),
            scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
            service: false,
            credential: Credential::new(CredentialSort::Token, ""),
            origin: String::new(),
        };
        assert!(who(&["thing.*"]).may("thing.read"));
        assert!(!who(&["thing.*"]).may("other.read"));
        assert!(!who(&["thing.read"]).may("thing.write"));
        assert!(who(&["*"]).may("thing.write"));
        assert!(!who(&[]).may("thing.write"));
    }
}
