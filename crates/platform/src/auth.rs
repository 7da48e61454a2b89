//! Deny by default: who calls, for which tenant, and may they?

mod dev;
mod layer;

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use trama_proto::ids::TenantId;

pub use dev::{DevIssuer, DevToken};
pub use layer::{AuthLayer, AuthService};

use crate::{
    Clock, Error, Kind,
    config::{AuthConfig, IssuerConfig},
    lifecycle::Lifecycle,
    outbound::Outbound,
};

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
    issuers: Vec<Issuer>,
    api_keys: ArcSwap<HashMap<String, ApiKey>>,
    api_keys_file: Option<std::path::PathBuf>,
    /// Opens this process to itself only.
    internal: String,
    clock: Clock,
    outbound: Outbound,
}

struct Issuer {
    config: IssuerConfig,
    keys: ArcSwap<Option<JwkSet>>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    scope: Scopes,
    /// Some issuers write `scp`.
    #[serde(default)]
    scp: Scopes,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(flatten)]
    rest: HashMap<String, serde_json::Value>,
}

/// One text with spaces between (RFC 8693), or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Default for Scopes {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Scopes {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Self::List(list) => list,
        }
    }
}

/// The algorithm of a key. `alg` is optional in RFC 7517: without it the key's type decides.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if let Some(named) = jwk.common.key_algorithm {
        return named.to_string().parse().ok();
    }
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        // A shared secret in a published key set is no secret.
        _ => None,
    }
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
        let issuers = config
            .issuers
            .iter()
            .map(|i| Issuer {
                config: i.clone(),
                keys: ArcSwap::default(),
            })
            .collect();
        let this = Self(Arc::new(Inner {
            issuers,
            api_keys: ArcSwap::default(),
            api_keys_file: config.api_keys_file.clone(),
            internal: format!("{}{}", clock.new_id().simple(), clock.new_id().simple()),
            clock,
            outbound,
        }));
        this.read_api_keys()?;
        this.read_key_sets().await;
        let (again, stopping) = (this.clone(), lifecycle.stopping());
        lifecycle.spawn("auth", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep(REFRESH) => {}
                }
                again.read_key_sets().await;
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

    async fn read_key_sets(&self) {
        for issuer in &self.0.issuers {
            match self.key_set(&issuer.config.jwks).await {
                Ok(keys) => issuer.keys.store(Arc::new(Some(keys))),
                Err(error) => {
                    tracing::warn!(
                        issuer = issuer.config.issuer,
                        detail = error.detail(),
                        "key set cannot be read; the last good one stays"
                    );
                }
            }
        }
    }

    async fn key_set(&self, location: &str) -> Result<JwkSet, Error> {
        let bytes = if location.starts_with("http://") || location.starts_with("https://") {
            self.0.outbound.get_bytes(location, 1024 * 1024).await?.to_vec()
        } else {
            std::fs::read(Path::new(location)).map_err(|e| Error::unavailable("key set", e))?
        };
        serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Invalid, "not a JWK set").because(e))
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
            return self.for_service("internal".to_owned(), vec!["*".to_owned()], headers);
        }
        if let Some(key) = token.strip_prefix("trama_") {
            return self.by_api_key(key, headers);
        }
        self.by_jwt(token)
    }

    fn for_service(
        &self,
        subject: String,
        scopes: Vec<String>,
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
            return self.for_service(stored.subject.clone(), stored.scopes.clone(), headers);
        }
        Ok(Principal {
            tenant: stored.tenant.clone(),
            subject: stored.subject.clone(),
            scopes: stored.scopes.clone(),
            service: false,
        })
    }

    fn by_jwt(&self, token: &str) -> Result<Principal, Error> {
        let refused =
            |why: &str| Error::new(Kind::Unauthenticated, format!("the token is not accepted: {why}"));
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused("it is no JWT"))?;
        for issuer in &self.0.issuers {
            let keys = issuer.keys.load();
            let Some(keys) = keys.as_ref().as_ref() else {
                continue;
            };
            let jwk = match &header.kid {
                Some(kid) => keys.find(kid),
                None => keys.keys.first(),
            };
            let Some(jwk) = jwk else { continue };
            let key = DecodingKey::from_jwk(jwk).map_err(|_| refused("its key cannot be used"))?;
            // The algorithm is the key's, never the token's word alone.
            if algorithm(jwk) != Some(header.alg) {
                return Err(refused("its algorithm is not the key's"));
            }
            let mut validation = Validation::new(header.alg);
            validation.set_issuer(&[&issuer.config.issuer]);
            validation.set_audience(&[&issuer.config.audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            // Times are checked below, with the injected clock.
            validation.validate_exp = false;
            let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
                .map_err(|e| refused(&e.to_string()))?
                .claims;
            let now = self.0.clock.now().timestamp();
            if claims.exp + 30 < now {
                return Err(refused("it has expired"));
            }
            if claims.nbf.is_some_and(|nbf| nbf - 30 > now) {
                return Err(refused("it is not valid yet"));
            }
            let tenant = claims
                .rest
                .get(&issuer.config.tenant_claim)
                .and_then(serde_json::Value::as_str)
                .ok_or_else(|| refused("it names no tenant"))?
                .parse()?;
            let mut scopes = claims.scope.into_list();
            scopes.extend(claims.scp.into_list());
            return Ok(Principal {
                tenant,
                subject: claims.sub,
                scopes,
                service: false,
            });
        }
        Err(refused("no trusted issuer has its key"))
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
        };
        assert!(who(&["thing.*"]).may("thing.read"));
        assert!(!who(&["thing.*"]).may("other.read"));
        assert!(!who(&["thing.read"]).may("thing.write"));
        assert!(who(&["*"]).may("thing.write"));
        assert!(!who(&[]).may("thing.write"));
    }
}
