//! Keys that wrap data keys. They are named in the configuration and never in it.

use std::path::PathBuf;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};

use crate::{Error, Kind, config::SealingConfig};

/// A data key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Id of the key that wrapped it.
    pub by: String,
    /// What only that key unwraps.
    pub bytes: Vec<u8>,
}

/// Who wraps data keys: files here ([`FileKeys`]); a key service of a cloud would be another.
#[async_trait]
pub trait KeyService: Send + Sync + 'static {
    /// Id of the key that wraps; nothing is sealed without one.
    fn in_use(&self) -> Option<&str>;

    /// Wraps a data key. `context` says whose it is: it is unwrapped for nobody else.
    async fn wrap(&self, data_key: &[u8], context: &[u8]) -> Result<Wrapped, Error>;

    /// Unwraps a data key. The error says which key is missing, and where.
    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Vec<u8>, Error>;
}

/// The key service of a configuration.
pub(crate) fn of(config: &SealingConfig) -> Box<dyn KeyService> {
    match &config.keys_dir {
        Some(dir) => Box::new(FileKeys {
            dir: dir.clone(),
            in_use: (!config.key.is_empty()).then(|| config.key.clone()),
        }),
        None => Box::new(NoKeys),
    }
}

/// Whether this can be the id of a key: a file's name, and nothing that leads out of its folder.
pub(crate) fn is_key_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 63
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Nothing is configured: nothing is sealed, and what was sealed stays shut.
struct NoKeys;

#[async_trait]
impl KeyService for NoKeys {
    fn in_use(&self) -> Option<&str> {
        None
    }

    async fn wrap(&self, _: &[u8], _: &[u8]) -> Result<Wrapped, Error> {
        Err(Error::internal("no key is configured that could wrap"))
    }

    async fn unwrap(&self, wrapped: &Wrapped, _: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::new(
            Kind::Unavailable,
            format!(
                "it needs key `{}`, but sealing.keys_dir is not configured",
                wrapped.by
            ),
        ))
    }
}

/// Keys from a folder, such as a mounted Secret: a file's name is the key's id, its content 32 random bytes in base64.
/// Files are read whenever they are needed, so that a new one is there without a restart.
pub struct FileKeys {
    dir: PathBuf,
    in_use: Option<String>,
}

impl FileKeys {
    async fn key(&self, id: &str) -> Result<LessSafeKey, Error> {
        let unavailable = |problem: String| Error::new(Kind::Unavailable, problem);
        if !is_key_id(id) {
            return Err(unavailable(format!("`{id}` is no id of a key")));
        }
        let file = self.dir.join(id);
        let text = tokio::fs::read_to_string(&file).await.map_err(|error| {
            unavailable(format!(
                "key `{id}` cannot be read from {}: {error}",
                file.display()
            ))
        })?;
        let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
        UnboundKey::new(&AES_256_GCM, &bytes)
            .map(LessSafeKey::new)
            .map_err(|_| {
                unavailable(format!(
                    "{} must hold 32 bytes in base64, as `openssl rand -base64 32` makes them",
                    file.display()
                ))
            })
    }
}

#[async_trait]
impl KeyService for FileKeys {
    fn in_use(&self) -> Option<&str> {
        self.in_use.as_deref()
    }

    async fn wrap(&self, data_key: &[u8], context: &[u8]) -> Result<Wrapped, Error> {
        let Some(id) = &self.in_use else {
            return Err(Error::internal("sealing.key names no key that could wrap"));
        };
        let key = self.key(id).await?;
        let nonce = random::<NONCE_LEN>()?;
        let mut bytes = data_key.to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut bytes,
        )
        .map_err(|_| Error::internal("a data key cannot be wrapped"))?;
        Ok(Wrapped {
            by: id.clone(),
            bytes: [nonce.as_slice(), &bytes].concat(),
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Vec<u8>, Error> {
        let key = self.key(&wrapped.by).await?;
        let opened = wrapped.bytes.split_first_chunk().and_then(|(nonce, bytes)| {
            let mut bytes = bytes.to_vec();
            key.open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(context),
                &mut bytes,
            )
            .ok()
            .map(|clear| clear.to_vec())
        });
        opened.ok_or_else(|| {
            Error::new(
                Kind::Unavailable,
                format!(
                    "key `{}` in {} is not the one that wrapped it",
                    wrapped.by,
                    self.dir.display()
                ),
            )
        })
    }
}

/// Random bytes for keys and nonces.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the machine has no randomness"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, keys: &[(&str, [u8; 32])]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("trama-keys-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        for (id, bytes) in keys {
            // As a text editor leaves it.
            std::fs::write(dir.join(id), format!("{}\n", STANDARD.encode(bytes))).expect("a file");
        }
        dir
    }

    fn keys(dir: &std::path::Path, key: &str) -> Box<dyn KeyService> {
        of(&SealingConfig {
            keys_dir: Some(dir.to_owned()),
            key: key.to_owned(),
            ..SealingConfig::default()
        })
    }

    #[tokio::test]
    async fn a_new_key_unwraps_what_an_older_one_wrapped() {
        let dir = folder("rotation", &[("one", [1; 32]), ("two", [2; 32])]);
        let wrapped = keys(&dir, "one").wrap(b"data", b"acme").await.expect("wrapped");
        assert_eq!(wrapped.by, "one");
        let later = keys(&dir, "two");
        assert_eq!(later.unwrap(&wrapped, b"acme").await.expect("unwrapped"), b"data");
        assert_eq!(later.wrap(b"data", b"acme").await.expect("wrapped").by, "two");
    }

    #[tokio::test]
    async fn it_unwraps_for_nobody_else_and_by_no_other_key() {
        let dir = folder("strict", &[("one", [1; 32])]);
        let wrapped = keys(&dir, "one").wrap(b"data", b"acme").await.expect("wrapped");
        assert!(keys(&dir, "one").unwrap(&wrapped, b"globex").await.is_err());
        let other = folder("other", &[("one", [9; 32])]);
        let error = keys(&other, "one")
            .unwrap(&wrapped, b"acme")
            .await
            .expect_err("shut");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("not the one"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_or_short_key_is_named() {
        let dir = folder("missing", &[]);
        std::fs::write(dir.join("short"), "c2hvcnQ=").expect("a file");
        for (id, word) in [
            ("gone", "cannot be read"),
            ("short", "32 bytes"),
            ("../etc", "no id"),
        ] {
            let error = keys(&dir, id).wrap(b"data", b"acme").await.expect_err("no key");
            assert!(error.to_string().contains(word), "{error}");
        }
        let none = of(&SealingConfig::default());
        assert_eq!(none.in_use(), None);
        let wrapped = Wrapped {
            by: "one".into(),
            bytes: Vec::new(),
        };
        let error = none.unwrap(&wrapped, b"").await.expect_err("no keys");
        assert!(error.to_string().contains("`one`"), "{error}");
    }
}
