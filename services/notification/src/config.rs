//! Section `services.notification` of the configuration.

use chrono::TimeDelta;
use serde::Deserialize;
use trama_platform::Error;

use crate::error::bad_setting;

/// How messages leave.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Messages on their way to providers at the same time.
    pub concurrency: usize,
    /// Tries on one channel before the next allowed one is taken.
    pub max_attempts: i32,
    /// First pause between tries, in milliseconds; it doubles.
    pub backoff_ms: i64,
    /// Longest pause between tries, in milliseconds.
    pub backoff_max_ms: i64,
    /// Seconds after which a message of a sender that died is taken up by another. Longer than `outbound.timeout_ms`.
    pub lease_seconds: i64,
    /// Seconds for which a receipt may settle a send whose answer never came, before it is tried once more.
    pub unknown_after_seconds: i64,
    /// Longest pause between two looks for messages that are due, in milliseconds.
    pub poll_ms: u64,
    /// Days for which a receipt of a message we do not know is kept.
    pub early_receipt_days: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 32,
            max_attempts: 5,
            backoff_ms: 1_000,
            backoff_max_ms: 300_000,
            lease_seconds: 60,
            unknown_after_seconds: 30,
            poll_ms: 1_000,
            early_receipt_days: 7,
        }
    }
}

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the key.
    pub fn validate(&self) -> Result<(), Error> {
        if self.concurrency == 0 || self.max_attempts < 1 || self.poll_ms == 0 {
            return Err(bad_setting(
                "concurrency, max_attempts and poll_ms must be at least 1",
            ));
        }
        if self.backoff_ms < 1 || self.backoff_max_ms < self.backoff_ms {
            return Err(bad_setting("backoff_max_ms must not be below backoff_ms"));
        }
        if self.lease_seconds < 1 || self.unknown_after_seconds < 0 || self.early_receipt_days < 1 {
            return Err(bad_setting(
                "lease_seconds and early_receipt_days must be positive",
            ));
        }
        Ok(())
    }

    pub(crate) fn lease(&self) -> TimeDelta {
        TimeDelta::seconds(self.lease_seconds)
    }
}
