//! The bus: where it is kept, and what it promises.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The bus.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// First word of every subject and stream name.
    pub prefix: String,
    /// Partitions of the streams. The same in all services; changing it needs drained streams.
    pub partitions: u32,
    /// Copies of each stream: 1 on a laptop, 3 in a cluster.
    pub replicas: usize,
    /// Days for which the journal and the events are kept.
    pub retention_days: u64,
    /// What a provider's 2xx promises; the start warns when a stream is weaker.
    pub durability: Durability,
    /// The server's monitoring address, such as `http://127.0.0.1:8222`: lets the start check `sync_interval`, which
    /// a client cannot see otherwise.
    pub monitor_url: Option<String>,
    /// A credentials file (JWT and seed, as nsc makes it) by which NATS lets us in, read again at every connection. Without
    /// one, a user and password or a token in `nats_url`, if there are any.
    pub creds_file: Option<PathBuf>,
    /// The same for a file with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
}

/// What a PubAck is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// One server that syncs every 100 ms: a power loss may take the last 100 ms.
    Interval,
    /// Three or more replicas: a power loss of one machine takes nothing.
    Replicated,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            prefix: "trama".into(),
            partitions: 2,
            replicas: 1,
            retention_days: 7,
            durability: Durability::Interval,
            monitor_url: None,
            creds_file: None,
            nkey_file: None,
        }
    }
}

impl BusConfig {
    /// Which key is wrong, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=1024).contains(&self.partitions) {
            Some(("bus.partitions", "must be from 1 to 1024"))
        } else if self.creds_file.is_some() && self.nkey_file.is_some() {
            Some(("bus.creds_file", "excludes bus.nkey_file"))
        } else if self.prefix.is_empty() || !self.prefix.bytes().all(plain) {
            Some(("bus.prefix", "must be letters, digits, - and _"))
        } else if self.durability == Durability::Replicated && self.replicas < 3 {
            Some(("bus.durability", "`replicated` needs bus.replicas of 3 or more"))
        } else {
            None
        }
    }
}
