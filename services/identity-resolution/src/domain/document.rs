//! What the check of an identity document came to, as an integrator's hook reports it.

use serde::Deserialize;
use trama_proto::{ids::ChallengeId, resources::STRONGEST_LEVEL};

/// Longest words about a check.
const LONGEST: usize = 500;

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of which check.
    pub check: ChallengeId,
    /// What came of it.
    pub finding: Finding,
    /// How it was checked, in words; perhaps empty.
    evidence: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The document is real and the customer's.
    Passed {
        /// What it is worth, if the hook says so; the policy bounds it.
        level: Option<i32>,
    },
    /// It is not.
    Failed,
    /// The customer did not go through with it: that is nobody's failure.
    Abandoned,
}

/// Why a body is no report. Says nothing of what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReport {
    /// The whole.
    #[error("must be JSON with `checkId` and `result`, perhaps `level` and `evidence`")]
    Body,
    /// The check.
    #[error("must be the id that the check was begun with")]
    Check,
    /// The result.
    #[error("must be passed, failed or abandoned")]
    Result,
    /// The level.
    #[error("must be from 1 to 3")]
    Level,
    /// The words.
    #[error("must be at most 500 characters without control characters")]
    Evidence,
}

impl InvalidReport {
    /// Which field is wrong.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Check => "checkId",
            Self::Result => "result",
            Self::Level => "level",
            Self::Evidence => "evidence",
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    check_id: String,
    result: String,
    level: Option<i32>,
    #[serde(default)]
    evidence: String,
}

impl Report {
    /// Reads a body. Fields that are not known are left: a provider may say more than we ask.
    ///
    /// # Errors
    /// Says which field is wrong.
    pub fn read(body: &[u8]) -> Result<Self, InvalidReport> {
        let written: Written = serde_json::from_slice(body).map_err(|_| InvalidReport::Body)?;
        let check = written.check_id.parse().map_err(|_| InvalidReport::Check)?;
        let level = written.level;
        if level.is_some_and(|level| !(1..=STRONGEST_LEVEL).contains(&level)) {
            return Err(InvalidReport::Level);
        }
        let finding = match written.result.as_str() {
            "passed" => Finding::Passed { level },
            "failed" => Finding::Failed,
            "abandoned" => Finding::Abandoned,
            _ => return Err(InvalidReport::Result),
        };
        if written.evidence.chars().count() > LONGEST || written.evidence.chars().any(char::is_control) {
            return Err(InvalidReport::Evidence);
        }
        Ok(Self {
            check,
            finding,
            evidence: written.evidence.trim().to_owned(),
        })
    }

    /// How it was checked, or other words when the hook does not say.
    pub fn evidence_or<'a>(&'a self, otherwise: &'a str) -> &'a str {
        if self.evidence.is_empty() {
            otherwise
        } else {
            &self.evidence
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHECK: &str = "018f3c1e-7d2a-7000-8000-000000000001";

    fn read(body: &str) -> Result<Report, InvalidReport> {
        Report::read(body.as_bytes())
    }

    #[test]
    fn a_report_says_what_came_of_which_check() {
        let passed = format!(r#"{{"checkId":"{CHECK}","result":"passed","level":2,"provider":"x"}}"#);
        let report = read(&passed).expect("a report");
        assert_eq!(report.finding, Finding::Passed { level: Some(2) });
        assert_eq!(report.evidence_or("checked"), "checked");
        for (body, field) in [
            ("[]", "body"),
            (r#"{"checkId":"7","result":"passed"}"#, "checkId"),
            (&format!(r#"{{"checkId":"{CHECK}","result":"maybe"}}"#), "result"),
            (
                &format!(r#"{{"checkId":"{CHECK}","result":"passed","level":4}}"#),
                "level",
            ),
        ] {
            assert_eq!(read(body).expect_err("refused").field(), field);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::read(&body);
        }
    }
}
