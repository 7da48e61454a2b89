//! Attachments: written before anybody hears of them.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path as Key};
use trama_proto::ids::TenantId;

use crate::{Error, Kind};

/// Where attachments lie.
#[derive(Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

impl Objects {
    /// In a local folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn local(dir: &Path) -> Result<Self, Error> {
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
        self.0
            .put(&key, PutPayload::from_bytes(bytes))
            .await
            .map(|_| ())
            .map_err(|e| Error::unavailable("object store", e))
    }

    /// Keys of all that lies in a folder of a tenant.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn keys(&self, tenant: &TenantId, folder: &str) -> Result<Vec<String>, Error> {
        let prefix = parse(&format!("{tenant}/{folder}"))?;
        let found = self.0.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let found = found.map_err(|e| Error::unavailable("object store", e))?;
        Ok(found.into_iter().map(|meta| meta.location.to_string()).collect())
    }

    /// Removes what lies there; nothing there is as good. Another tenant's key is left alone.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn remove(&self, tenant: &TenantId, key: &str) -> Result<(), Error> {
        if !key.starts_with(&format!("{tenant}/")) {
            return Ok(());
        }
        match self.0.delete(&parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::unavailable("object store", error)),
        }
    }

    /// Reads bytes of a tenant; another tenant's key does not exist for them.
    ///
    /// # Errors
    /// `NotFound`, or `Unavailable` when the store is away.
    pub async fn get(&self, tenant: &TenantId, key: &str) -> Result<Bytes, Error> {
        if !key.starts_with(&format!("{tenant}/")) {
            return Err(Error::not_found("object", key));
        }
        let path = parse(key)?;
        match self.0.get(&path).await {
            Ok(found) => found
                .bytes()
                .await
                .map_err(|e| Error::unavailable("object store", e)),
            Err(object_store::Error::NotFound { .. }) => Err(Error::not_found("object", key)),
            Err(error) => Err(Error::unavailable("object store", error)),
        }
    }
}

fn parse(key: &str) -> Result<Key, Error> {
    Key::parse(key).map_err(|e| Error::invalid("object_key", "not a key").because(e))
}
