//! Section `services.routing` of the configuration.

use std::time::Duration;

use serde::Deserialize;

/// How long routing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds between heartbeats of a desk's line; at least 1.
    pub heartbeat_seconds: u32,
    /// Seconds for which a lost line may come back before the agent counts as gone.
    pub grace_seconds: u32,
    /// Seconds after which the work of somebody who is offline goes to others.
    pub left_behind_seconds: u32,
    /// Seconds for which a replica leads a tenant without renewing; at least 3. After a crash another one leads within
    /// this time and three seconds: one to look, two so that each replica takes its share only.
    pub lease_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 15,
            grace_seconds: 30,
            left_behind_seconds: 900,
            lease_seconds: 6,
        }
    }
}

impl Config {
    /// Seconds between heartbeats.
    pub(crate) fn heartbeat(self) -> i64 {
        i64::from(self.heartbeat_seconds.max(1))
    }

    /// Seconds for which a lost line may come back.
    pub(crate) fn grace(self) -> i64 {
        i64::from(self.grace_seconds)
    }

    /// Seconds after a heartbeat until its agent counts as gone, if no other follows.
    pub(crate) fn grace_after_heartbeat(self) -> i64 {
        self.grace() + self.heartbeat()
    }

    /// Seconds after which the work of somebody who is offline goes to others.
    pub(crate) fn left_behind(self) -> i64 {
        i64::from(self.left_behind_seconds)
    }

    /// For how long a lease holds.
    pub(crate) fn lease(self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds.max(3)))
    }
}
