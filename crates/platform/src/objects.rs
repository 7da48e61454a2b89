//! Attachments: written before anybody hears of them. In a folder, or in a bucket that all processes share.

mod s3;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path as Key};
use trama_proto::ids::TenantId;

use crate::{Error, Kind, config::ObjectsConfig};

/// What is larger goes in parts of this size, each of which is tried again by itself.
const PART: usize = 8 * 1024 * 1024;
/// Parts that are under way at once.
const AT_ONCE: usize = 4;

/// Where attachments lie.
#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

/// The bytes of an object, in pieces.
pub type Pieces = BoxStream<'static, Result<Bytes, Error>>;

impl Objects {
    /// Where the configuration says.
    ///
    /// # Errors
    /// When the folder or the bucket is not there or cannot be written; `Unavailable` when the bucket's server is away.
    pub async fn open(config: &ObjectsConfig) -> Result<Self, Error> {
        if !config.s3.bucket.is_empty() {
            return Ok(Self(s3::open(&config.s3).await?));
        }
        let dir = &config.dir;
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::new(Kind::Precondition, format!("objects.dir {}: {e}", dir.display())))?;
        let store = LocalFileSystem::new_with_prefix(dir).map_err(Error::internal)?;
        Ok(Self(Arc::new(store)))
    }

    /// Stores bytes. The same key gets the same bytes again on a repeat.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let key = parse(key)?;
        if bytes.len() <= PART {
            let done = self.0.put(&key, PutPayload::from_bytes(bytes)).await;
            return done.map(|_| ()).map_err(away);
        }
        let mut upload = self.0.put_multipart(&key).await.map_err(away)?;
        let starts = (0..bytes.len()).step_by(PART);
        let parts: Vec<_> = starts
            .map(|start| upload.put_part(bytes.slice(start..bytes.len().min(start + PART)).into()))
            .collect();
        let sent = futures::stream::iter(parts)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await;
        let done = match sent {
            Ok(()) => upload.complete().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if done.is_err() {
            // What is left of it would lie there, and cost, for ever.
            let _ = upload.abort().await;
        }
        done.map_err(away)
    }

    /// Keys of all that lies in a folder of a tenant.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn keys(&self, tenant: &TenantId, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = parse(&format!("{tenant}/{folder}"))?;
        let found = self.0.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let found = found.map_err(away)?;
        Ok(found.into_iter().map(|meta| meta.location.to_string()).collect())
    }

    /// Removes what lies there; nothing there is as good. Another tenant's key is left alone.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn remove(&self, tenant: &TenantId, key: &str) -> Result<(), Error> {
        if !is_of(tenant, key) {
            return Ok(());
        }
        match self.0.delete(&parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }

    /// Reads bytes of a tenant; another tenant's key does not exist for them.
    ///
    /// # Errors
    /// `NotFound`, or `Unavailable` when the store is away.
    pub async fn get(&self, tenant: &TenantId, key: &str) -> Result<Bytes, Error> {
        self.find(tenant, key).await?.bytes().await.map_err(away)
    }

    /// The same in pieces of at most so many bytes: whoever hands them on need not hold the whole.
    ///
    /// # Errors
    /// `NotFound`, or `Unavailable` when the store is away.
    pub async fn read(&self, tenant: &TenantId, key: &str, most: usize) -> Result<Pieces, Error> {
        let bytes = self.find(tenant, key).await?.into_stream().map_err(away);
        let pieces = futures::stream::try_unfold(
            (bytes, BytesMut::new()),
            move |(mut bytes, mut held)| async move {
                while held.len() < most {
                    match bytes.try_next().await? {
                        Some(more) => held.extend_from_slice(&more),
                        None => break,
                    }
                }
                let piece = held.split_to(held.len().min(most)).freeze();
                Ok((!piece.is_empty()).then_some((piece, (bytes, held))))
            },
        );
        Ok(pieces.boxed())
    }

    async fn find(&self, tenant: &TenantId, key: &str) -> Result<object_store::GetResult, Error> {
        if !is_of(tenant, key) {
            return Err(Error::not_found("object", key));
        }
        match self.0.get(&parse(key)?).await {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => Err(Error::not_found("object", key)),
            Err(error) => Err(away(error)),
        }
    }
}

fn is_of(tenant: &TenantId, key: &str) -> bool {
    key.strip_prefix(tenant.as_str())
        .is_some_and(|rest| rest.starts_with('/'))
}

fn parse(key: &str) -> Result<Key, Error> {
    Key::parse(key).map_err(|e| Error::invalid("object_key", "not a key").because(e))
}

fn away(error: object_store::Error) -> Error {
    Error::unavailable("object store", error)
}
