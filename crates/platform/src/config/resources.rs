//! Where resources and secrets come from: a folder, or a cluster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where resources and secrets come from.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcesConfig {
    /// Folder of YAML files, watched.
    pub dir: Option<PathBuf>,
    /// Values for `${NAME}` in them, before the environment's.
    pub variables: std::collections::BTreeMap<String, String>,
    /// Folder of secrets: `<namespace>/<name>/<key>`.
    pub secrets_dir: Option<PathBuf>,
    /// The cluster instead of a folder.
    pub kubernetes: KubernetesConfig,
}

/// Resources from a cluster's API server. A namespace is a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Read them from there.
    pub enabled: bool,
    /// Namespaces that are watched; none: our own.
    pub namespaces: Vec<String>,
    /// Watch every namespace there is. Needs rights in the whole cluster.
    pub all_namespaces: bool,
    /// Tenants of namespaces that are called otherwise.
    pub tenants: std::collections::BTreeMap<String, String>,
    /// Folder for the last good resources, with which we start when the API server is away.
    pub snapshot_dir: Option<PathBuf>,
    /// The Lease in our own namespace whose holder writes status.
    pub lease: String,
    /// Seconds to wait for the first lists before we start with the last good resources, or not at all.
    pub start_timeout_seconds: u64,
    /// Longest pause between two attempts to reach the API server, in seconds.
    pub max_backoff_seconds: u64,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            namespaces: Vec::new(),
            all_namespaces: false,
            tenants: std::collections::BTreeMap::new(),
            snapshot_dir: None,
            lease: "trama-resources".into(),
            start_timeout_seconds: 20,
            max_backoff_seconds: 5,
        }
    }
}

impl ResourcesConfig {
    /// Which key is wrong, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let cluster = &self.kubernetes;
        let problem = if !cluster.enabled {
            return None;
        } else if self.dir.is_some() {
            "resources.dir is set as well: resources come from one place"
        } else if cluster.all_namespaces && !cluster.namespaces.is_empty() {
            "all_namespaces and namespaces exclude each other"
        } else if cluster
            .tenants
            .values()
            .any(|t| t.parse::<trama_proto::ids::TenantId>().is_err())
        {
            "tenants: a tenant is 1 to 63 of a-z, 0-9 and -"
        } else if cluster.lease.is_empty()
            || cluster.start_timeout_seconds == 0
            || cluster.max_backoff_seconds == 0
        {
            "lease, start_timeout_seconds and max_backoff_seconds must not be empty"
        } else {
            return None;
        };
        Some(("resources.kubernetes", problem))
    }
}
