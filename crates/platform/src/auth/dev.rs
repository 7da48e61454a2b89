//! A development issuer: keys made on this machine, trusted by nobody else.

use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::{Clock, Error, Kind, config::IssuerConfig};

const ISSUER: &str = "https://trama.local/dev";
const AUDIENCE: &str = "trama";

/// Signs tokens for development.
pub struct DevIssuer {
    key: EncodingKey,
    kid: String,
}

/// What a development token says.
#[derive(Debug, Clone)]
pub struct DevToken<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Subject.
    pub subject: &'a str,
    /// Scopes, separated by spaces.
    pub scopes: &'a str,
    /// Seconds until it expires.
    pub valid_seconds: i64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: &'a str,
    scope: &'a str,
    iat: i64,
    exp: i64,
}

impl DevIssuer {
    /// Opens the issuer in a folder; makes its keys (mode 600) the first time.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(dir: &Path) -> Result<(Self, IssuerConfig), Error> {
        let unwritable =
            |e: std::io::Error| Error::new(Kind::Precondition, format!("{}: {e}", dir.display()));
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        let private = dir.join("dev-issuer.pk8");
        let public = dir.join("dev-issuer.jwks.json");
        if !private.exists() || !public.exists() {
            let random = ring::rand::SystemRandom::new();
            let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&random)
                .map_err(|_| Error::internal("no randomness for a key"))?;
            write_private(&private, document.as_ref()).map_err(unwritable)?;
            let pair = ring::signature::Ed25519KeyPair::from_pkcs8(document.as_ref())
                .map_err(|_| Error::internal("our own key cannot be read"))?;
            let x = base64_url(ring::signature::KeyPair::public_key(&pair).as_ref());
            let kid = format!("dev-{}", &x[..8]);
            let set = serde_json::json!({"keys": [{
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x
            }]});
            std::fs::write(&public, set.to_string()).map_err(unwritable)?;
        }
        let bytes = std::fs::read(&private).map_err(unwritable)?;
        let set: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&public).map_err(unwritable)?).map_err(Error::internal)?;
        let kid = set["keys"][0]["kid"].as_str().unwrap_or_default().to_owned();
        let config = IssuerConfig {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            jwks: public.display().to_string(),
            tenant_claim: "tenant".into(),
        };
        Ok((
            Self {
                key: EncodingKey::from_ed_der(&bytes),
                kid,
            },
            config,
        ))
    }

    /// Signs a token.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn token(&self, clock: &Clock, token: &DevToken<'_>) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let now = clock.now().timestamp();
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: token.subject,
            tenant: token.tenant,
            scope: token.scopes,
            iat: now,
            exp: now + token.valid_seconds,
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(Error::internal)
    }
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
