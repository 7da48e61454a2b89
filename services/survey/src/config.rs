//! Section `services.survey` of the configuration.

use chrono::TimeDelta;
use serde::Deserialize;

/// How askings end.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Seconds after the end of an asking for which an answer given in time may still be on its way to us.
    pub lapse_grace_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lapse_grace_seconds: 300,
        }
    }
}

impl Config {
    pub(crate) fn lapse_grace(self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.lapse_grace_seconds))
    }
}
