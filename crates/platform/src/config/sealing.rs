//! Texts that are encrypted in the database.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trama_proto::ids::TenantId;

use crate::sealing::keys::is_key_id;

/// Texts that are encrypted in the database. Nothing is, unless `key` is set.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SealingConfig {
    /// Folder of keys, such as a mounted Secret: a file's name is the key's id, its content 32 bytes in base64. The same
    /// for all services, and kept for good: what was sealed cannot be read without them.
    pub keys_dir: Option<PathBuf>,
    /// Id of the key in use. Without one nothing more is sealed; what is sealed is read as long as its keys are there.
    pub key: String,
    /// Tenants whose texts are sealed; none: every tenant's.
    pub tenants: Vec<String>,
}

impl SealingConfig {
    /// What makes no sense.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.key.is_empty() {
            return None;
        }
        if self.keys_dir.is_none() {
            return Some(("sealing.keys_dir", "must name the folder of `sealing.key`"));
        }
        if !is_key_id(&self.key) {
            return Some((
                "sealing.key",
                "must be the name of a file in sealing.keys_dir: letters, digits, `.`, `_` and `-`",
            ));
        }
        if self.tenants.iter().any(|t| t.parse::<TenantId>().is_err()) {
            return Some(("sealing.tenants", "a tenant is 1 to 63 of a-z, 0-9 and -"));
        }
        None
    }
}
