//! Section `services.case` of the configuration.

use chrono::TimeDelta;
use serde::Deserialize;

use crate::understanding::Sure;

/// When a word belongs to a need, when it is understood, and what is shown of it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Hours after the end of a case within which a thank-you belongs to it and opens nothing.
    pub courtesy_hours: u32,
    /// Below this probability, 0 to 1, an intent counts as unknown.
    pub intent_threshold: f64,
    /// … and also when the runner-up is as close as this.
    pub intent_margin: f64,
    /// The least share of a question's weight, 0 to 1, that an article must cover to be suggested.
    pub search_coverage: f64,
    /// How many lines of the timeline travel with an offer; at least 1.
    pub snapshot_lines: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            courtesy_hours: 24,
            intent_threshold: 0.45,
            intent_margin: 0.12,
            search_coverage: 0.35,
            snapshot_lines: 50,
        }
    }
}

impl Config {
    pub(crate) fn courtesy(self) -> TimeDelta {
        TimeDelta::hours(i64::from(self.courtesy_hours))
    }

    pub(crate) fn sure(self) -> Sure {
        Sure {
            threshold: self.intent_threshold,
            margin: self.intent_margin,
        }
    }

    pub(crate) fn lines(self) -> u16 {
        self.snapshot_lines.max(1)
    }
}
