//! Keys of privacy: hashes that only we can make, reports that everybody can check.

use ring::{
    hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};
use trama_proto::ids::TenantId;

use crate::{Error, Kind, config::PrivacyConfig};

/// Both keys, made from the one configured secret.
#[derive(Clone)]
pub struct PrivacyKeys(Option<String>);

impl PrivacyKeys {
    /// From the configuration.
    pub fn new(config: &PrivacyConfig) -> Self {
        Self((!config.secret.is_empty()).then(|| config.secret.clone()))
    }

    /// Whether there is a secret. Without one nobody can have been erased.
    pub fn are_set(&self) -> bool {
        self.0.is_some()
    }

    fn secret(&self) -> Result<&str, Error> {
        self.0.as_deref().ok_or_else(|| {
            Error::new(
                Kind::Precondition,
                "privacy.secret is not configured: set TRAMA_PRIVACY__SECRET, the same for all services",
            )
        })
    }

    /// A hash of an address that nobody can try addresses against without the secret; another one for each tenant.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn hash(&self, tenant: &TenantId, kind: &str, value: &str) -> Result<Vec<u8>, Error> {
        Ok(self.hasher(tenant)?.hash(kind, value))
    }

    /// For many addresses of a tenant.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn hasher(&self, tenant: &TenantId) -> Result<Hasher, Error> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, self.secret()?.as_bytes());
        let of_tenant = hmac::sign(&master, format!("handles of {tenant}").as_bytes());
        Ok(Hasher(hmac::Key::new(hmac::HMAC_SHA256, of_tenant.as_ref())))
    }

    /// Signs a report.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn sign(&self, report: String) -> Result<SignedReport, Error> {
        let pair = self.pair()?;
        Ok(SignedReport {
            algorithm: ALGORITHM.to_owned(),
            public_key: hex::encode(pair.public_key()),
            signature: hex::encode(pair.sign(report.as_bytes())),
            report,
        })
    }

    /// The key by which reports are checked, as hexadecimal digits.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn public_key(&self) -> Result<String, Error> {
        Ok(hex::encode(self.pair()?.public_key()))
    }

    fn pair(&self) -> Result<Ed25519KeyPair, Error> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, self.secret()?.as_bytes());
        let seed = hmac::sign(&master, b"reports");
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
            .map_err(|_| Error::internal("a seed of 32 bytes is refused"))
    }
}

const ALGORITHM: &str = "Ed25519";

/// Hashes addresses of one tenant.
pub struct Hasher(hmac::Key);

impl Hasher {
    /// The hash of `kind:value`.
    pub fn hash(&self, kind: &str, value: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind.as_bytes());
        context.update(b":");
        context.update(value.as_bytes());
        context.sign().as_ref().to_vec()
    }
}

/// A report that says by itself whether it is as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReport {
    /// The report: a JSON document, byte for byte as it was signed.
    pub report: String,
    /// `Ed25519`.
    pub algorithm: String,
    /// The key that checks it, in hexadecimal digits. Whoever trusts it must have it from elsewhere.
    pub public_key: String,
    /// The signature, in hexadecimal digits.
    pub signature: String,
}

impl SignedReport {
    /// Whether the signature is the key's.
    pub fn holds(&self) -> bool {
        let (Ok(key), Ok(signature)) = (hex::decode(&self.public_key), hex::decode(&self.signature)) else {
            return false;
        };
        self.algorithm == ALGORITHM
            && UnparsedPublicKey::new(&ED25519, key)
                .verify(self.report.as_bytes(), &signature)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str) -> PrivacyKeys {
        PrivacyKeys::new(&PrivacyConfig {
            secret: secret.to_owned(),
        })
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a tenant")
    }

    #[test]
    fn a_changed_report_no_longer_holds() {
        let signed = keys("a secret of the test")
            .sign("{\"messages\": 3}".into())
            .expect("a key");
        assert!(signed.holds());
        let changed = SignedReport {
            report: "{\"messages\": 4}".into(),
            ..signed.clone()
        };
        assert!(!changed.holds());
        let other = keys("another").public_key().expect("a key");
        assert_ne!(signed.public_key, other);
        assert!(
            !SignedReport {
                public_key: other,
                ..signed
            }
            .holds()
        );
    }

    #[test]
    fn the_same_address_has_another_hash_for_each_tenant_and_secret() {
        let hash = |secret: &str, name: &str| {
            keys(secret)
                .hash(&tenant(name), "email", "a@b.it")
                .expect("a key")
        };
        assert_eq!(hash("s", "acme"), hash("s", "acme"));
        assert_ne!(hash("s", "acme"), hash("s", "globex"));
        assert_ne!(hash("s", "acme"), hash("t", "acme"));
    }

    #[test]
    fn without_a_secret_nothing_is_hashed_or_signed() {
        assert!(keys("").hash(&tenant("acme"), "email", "a@b.it").is_err());
        assert!(keys("").sign(String::new()).is_err());
    }
}
