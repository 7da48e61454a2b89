//! Whether, and when, a resolved case is asked about.

use chrono::{DateTime, TimeDelta, Utc};
use trama_proto::{
    case::v1::CaseKind,
    ids::{CaseId, CustomerId, derive},
    resources::SurveySpec,
};

/// What is known of earlier askings of a person.
#[derive(Debug, Clone, Copy, Default)]
pub struct History {
    /// When they were last asked, or chosen to be.
    pub last_invited_at: Option<DateTime<Utc>>,
    /// Whether an asking is open.
    pub open: bool,
}

/// Ask or not, always with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask at this moment.
    Ask {
        /// When.
        at: DateTime<Utc>,
        /// Why.
        reason: String,
    },
    /// Do not ask.
    Suppress {
        /// Why not.
        reason: String,
    },
}

/// Decides. The draw depends on person, survey and case alone, so that it can be checked later.
pub fn decide(
    spec: &SurveySpec,
    survey: &str,
    kind: CaseKind,
    (customer, case): (CustomerId, CaseId),
    history: History,
    now: DateTime<Utc>,
) -> Decision {
    let suppress = |reason: String| Decision::Suppress { reason };
    if kind == CaseKind::Recovery {
        // Whoever was just called about a bad answer is not asked again.
        return suppress("the case follows up an answer".into());
    }
    let share = draw(customer, survey, case);
    if share >= spec.sample_rate {
        return suppress(format!("not drawn: {share:.4} of {}", spec.sample_rate));
    }
    if history.open {
        return suppress("another survey is open".into());
    }
    let quarantine = TimeDelta::days(i64::from(spec.quarantine_days));
    match history.last_invited_at.map(|last| last + quarantine) {
        Some(until) if until > now => {
            suppress(format!("quarantine until {}", until.format("%Y-%m-%dT%H:%M:%SZ")))
        }
        Some(_) | None => Decision::Ask {
            at: now + TimeDelta::seconds(i64::from(spec.delay_seconds)),
            reason: "sampled".into(),
        },
    }
}

/// A number from 0 to below 1.
fn draw(customer: CustomerId, survey: &str, case: CaseId) -> f64 {
    let hash = derive(&[
        b"survey draw",
        customer.uuid().as_bytes(),
        survey.as_bytes(),
        case.uuid().as_bytes(),
    ]);
    // The low 62 bits of a UUIDv8 are free of version and variant.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let numerator = (hash.as_u128() & ((1 << 53) - 1)) as f64;
    numerator / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn spec(rate: f64, days: u32) -> SurveySpec {
        serde_json::from_value(serde_json::json!({
            "trigger": "caseResolved", "delaySeconds": 60, "sampleRate": rate, "quarantineDays": days,
            "questions": [{"id": "q", "measures": "nps", "text": {"en": "?"}}]
        }))
        .expect("a survey")
    }

    fn ids(n: u128) -> (CustomerId, CaseId) {
        (
            CustomerId::new(Uuid::from_u128(n)),
            CaseId::new(Uuid::from_u128(n + 1)),
        )
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("valid")
    }

    #[test]
    fn a_recovery_case_and_an_open_survey_are_reasons_not_to_ask() {
        let spec = spec(1.0, 0);
        let none = History::default();
        assert!(matches!(
            decide(&spec, "s", CaseKind::Recovery, ids(1), none, now()),
            Decision::Suppress { .. }
        ));
        let open = History { open: true, ..none };
        assert!(matches!(
            decide(&spec, "s", CaseKind::Need, ids(1), open, now()),
            Decision::Suppress { .. }
        ));
        assert_eq!(
            decide(&spec, "s", CaseKind::Need, ids(1), none, now()),
            Decision::Ask {
                at: now() + TimeDelta::seconds(60),
                reason: "sampled".into()
            }
        );
    }

    #[test]
    fn quarantine_ends_on_its_day() {
        let history = |days| History {
            last_invited_at: Some(now() - TimeDelta::days(days)),
            open: false,
        };
        let asked = |days| {
            matches!(
                decide(&spec(1.0, 30), "s", CaseKind::Need, ids(1), history(days), now()),
                Decision::Ask { .. }
            )
        };
        assert!(!asked(29));
        assert!(asked(30));
    }

    #[test]
    fn the_draw_keeps_its_share() {
        let spec = spec(0.3, 0);
        let asked = (0..10_000)
            .filter(|n| {
                matches!(
                    decide(&spec, "s", CaseKind::Need, ids(n * 7), History::default(), now()),
                    Decision::Ask { .. }
                )
            })
            .count();
        assert!((2_800..3_200).contains(&asked), "{asked}");
    }

    proptest! {
        #[test]
        fn all_and_none_mean_all_and_none(n in any::<u64>()) {
            let ids = ids(u128::from(n));
            let all = decide(&spec(1.0, 0), "s", CaseKind::Need, ids, History::default(), now());
            prop_assert!(matches!(all, Decision::Ask { .. }), "not asked");
            let none = decide(&spec(0.0, 0), "s", CaseKind::Need, ids, History::default(), now());
            prop_assert!(matches!(none, Decision::Suppress { .. }), "asked");
        }
    }
}
