//! Section `services.routing` of the configuration.

use serde::Deserialize;

/// How long routing waits, and how far it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds between heartbeats of a desk's line; at least 1.
    pub heartbeat_seconds: u32,
    /// Seconds for which a lost line may come back before the agent counts as gone.
    pub grace_seconds: u32,
    /// Seconds for which somebody who let an offer lapse is not asked.
    pub not_responding_seconds: u32,
    /// Most waiting items that one transaction looks at when agents become free; at least 1.
    pub queue_look_ahead: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 15,
            grace_seconds: 30,
            not_responding_seconds: 60,
            queue_look_ahead: 500,
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

    /// Seconds for which somebody who let an offer lapse is not asked.
    pub(crate) fn not_responding(self) -> i64 {
        i64::from(self.not_responding_seconds)
    }

    /// Most waiting items that one transaction looks at.
    pub(crate) fn look_ahead(self) -> i64 {
        i64::from(self.queue_look_ahead.max(1))
    }
}
