//! Tokens of OIDC issuers: checked against their key sets, which are read again and again.
//!
//! An agent's desk calls with the same token for an hour, and a signature takes longer to check than most commands to
//! carry out: what was checked is remembered until the key sets are read again. Times are checked at every call.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Credential, CredentialSort, Principal};
use crate::{Error, Kind, config::IssuerConfig, outbound::Outbound};

/// Tokens that are remembered; one more, and it begins anew.
const REMEMBERED: usize = 20_000;
/// Seconds that clocks may differ.
const LEEWAY: i64 = 30;

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
    #[serde(default)]
    jti: String,
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

/// A token whose signature is right.
struct Checked {
    principal: Principal,
    exp: i64,
    nbf: Option<i64>,
}

/// What was checked against the key sets as they are now, by the hash of the token.
type Memory = Mutex<HashMap<[u8; 32], Arc<Checked>>>;

/// Checks tokens.
pub(super) struct Tokens {
    issuers: Vec<Issuer>,
    checked: ArcSwap<Memory>,
    outbound: Outbound,
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Unauthenticated, format!("the token is not accepted: {why}"))
}

impl Tokens {
    pub(super) fn new(issuers: &[IssuerConfig], outbound: Outbound) -> Self {
        let issuers = issuers.iter().map(|i| Issuer {
            config: i.clone(),
            keys: ArcSwap::default(),
        });
        Self {
            issuers: issuers.collect(),
            checked: ArcSwap::default(),
            outbound,
        }
    }

    /// Reads the key sets again, and forgets what was checked against those before.
    pub(super) async fn refresh(&self) {
        for issuer in &self.issuers {
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
        // After the keys: who checks meanwhile against old ones remembers it in the old memory.
        self.checked.store(Arc::default());
    }

    async fn key_set(&self, location: &str) -> Result<JwkSet, Error> {
        let bytes = if location.starts_with("http://") || location.starts_with("https://") {
            self.outbound.get_bytes(location, 1024 * 1024).await?.to_vec()
        } else {
            std::fs::read(Path::new(location)).map_err(|e| Error::unavailable("key set", e))?
        };
        serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Invalid, "not a JWK set").because(e))
    }

    /// Whose token this is.
    pub(super) fn authenticate(&self, token: &str, now: DateTime<Utc>) -> Result<Principal, Error> {
        let memory = self.checked.load_full();
        let hash: [u8; 32] = Sha256::digest(token).into();
        let known = lock(&memory).get(&hash).cloned();
        let checked = match known {
            Some(known) => known,
            None => {
                let checked = Arc::new(self.check(token)?);
                let mut memory = lock(&memory);
                if memory.len() >= REMEMBERED {
                    memory.clear();
                }
                memory.insert(hash, Arc::clone(&checked));
                checked
            }
        };
        let now = now.timestamp();
        if checked.exp + LEEWAY < now {
            return Err(refused("it has expired"));
        }
        if checked.nbf.is_some_and(|nbf| nbf - LEEWAY > now) {
            return Err(refused("it is not valid yet"));
        }
        Ok(checked.principal.clone())
    }

    fn check(&self, token: &str) -> Result<Checked, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| refused("it is no JWT"))?;
        for issuer in &self.issuers {
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
            // Times are checked at every call, with the injected clock.
            validation.validate_exp = false;
            let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
                .map_err(|e| refused(&e.to_string()))?
                .claims;
            let tenant = claims
                .rest
                .get(&issuer.config.tenant_claim)
                .and_then(serde_json::Value::as_str)
                .ok_or_else(|| refused("it names no tenant"))?
                .parse()?;
            let mut scopes = claims.scope.into_list();
            scopes.extend(claims.scp.into_list());
            return Ok(Checked {
                principal: Principal {
                    tenant,
                    subject: claims.sub,
                    scopes,
                    service: false,
                    credential: Credential::new(CredentialSort::Token, &claims.jti),
                    origin: String::new(),
                },
                exp: claims.exp,
                nbf: claims.nbf,
            });
        }
        Err(refused("no trusted issuer has its key"))
    }
}

fn lock(memory: &Memory) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Checked>>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock,
        auth::{DevIssuer, DevToken},
        config::OutboundConfig,
    };

    #[tokio::test]
    async fn a_key_that_is_gone_from_the_set_opens_nothing_any_more() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let folder = std::env::temp_dir().join(format!("trama-tokens-{}", std::process::id()));
        let (issuer, config) = DevIssuer::open(&folder).expect("a folder for keys");
        let outbound = Outbound::new(&OutboundConfig::default()).expect("a client");
        let tokens = Tokens::new(std::slice::from_ref(&config), outbound);
        tokens.refresh().await;
        let told = DevToken {
            tenant: "acme",
            subject: "carla",
            scopes: "case.read",
            valid_seconds: 60,
        };
        let token = issuer.token(&clock, &told).expect("a token");
        // Twice: checked, and then known by heart.
        for _ in 0..2 {
            let who = tokens.authenticate(&token, clock.now()).expect("a good token");
            assert_eq!(who.subject, "carla");
        }
        let last = if token.ends_with('A') { 'Q' } else { 'A' };
        let forged = format!("{}{last}", &token[..token.len() - 1]);
        assert!(tokens.authenticate(&forged, clock.now()).is_err());

        std::fs::write(&config.jwks, r#"{"keys": []}"#).expect("the set is rotated");
        tokens.refresh().await;
        assert!(tokens.authenticate(&token, clock.now()).is_err());
        std::fs::remove_dir_all(&folder).expect("cleared away");
    }
}
