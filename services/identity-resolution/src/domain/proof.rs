//! How long a proof holds, whether it fits a need, and when too many wrong answers lock.

use chrono::{DateTime, Duration, Utc};
use trama_proto::resources::{LockOut, MethodPolicy, NeedPolicy, ProofMethod, VerificationPolicy};

use super::customer::Verification;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Need {
    /// At least so strong.
    pub level: i32,
    /// At most so old.
    pub max_age: Option<Duration>,
    /// Only by these methods; by any when empty.
    pub methods: Vec<ProofMethod>,
}

impl Need {
    /// A level, however proven and however old.
    pub fn of_level(level: i32) -> Self {
        Self {
            level,
            ..Self::default()
        }
    }

    /// As the policy says.
    pub fn of_policy(policy: &NeedPolicy) -> Self {
        Self {
            level: policy.level,
            max_age: policy.max_age_minutes.map(|m| Duration::minutes(i64::from(m))),
            methods: policy.methods.clone(),
        }
    }

    /// The same, at least so strong.
    #[must_use]
    pub fn at_least(mut self, level: i32) -> Self {
        self.level = self.level.max(level);
        self
    }

    /// The proof that fits and holds longest, if any fits.
    pub fn met_by<'a>(&self, proofs: &'a [Verification], now: DateTime<Utc>) -> Option<&'a Verification> {
        proofs
            .iter()
            .filter(|p| p.expires_at > now && p.level >= self.level)
            .filter(|p| self.max_age.is_none_or(|age| now - p.verified_at < age))
            .filter(|p| {
                self.methods.is_empty()
                    || ProofMethod::parse(&p.method).is_some_and(|m| self.methods.contains(&m))
            })
            .max_by_key(|p| (p.level, p.expires_at, p.verified_at))
    }

    /// The methods that can prove it.
    pub fn methods(&self, policy: &VerificationPolicy) -> Vec<ProofMethod> {
        ProofMethod::ALL
            .into_iter()
            .filter(|m| self.methods.is_empty() || self.methods.contains(m))
            .filter(|m| policy.method(*m).max_level >= self.level)
            .filter(|m| *m != ProofMethod::KnowledgeQuestion || policy.knowledge_hook.is_some())
            .collect()
    }
}

/// How long a proof of a method holds that was given at one moment and relied upon at another.
pub fn holds_until(
    policy: &MethodPolicy,
    verified_at: DateTime<Utc>,
    relied_upon: DateTime<Utc>,
) -> DateTime<Utc> {
    let absolute = verified_at + Duration::hours(i64::from(policy.hours));
    match policy.idle_minutes {
        None => absolute,
        Some(minutes) => absolute.min(relied_upon + Duration::minutes(i64::from(minutes))),
    }
}

/// Wrong answers within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// About the customer, oldest first.
    pub customer: Vec<DateTime<Utc>>,
    /// About the handle, oldest first.
    pub handle: Vec<DateTime<Utc>>,
    /// From the source, oldest first.
    pub source: Vec<DateTime<Utc>>,
}

impl Failures {
    /// Until when nobody may try: `None` when they may. A lock ends when enough of the wrong answers left the window.
    pub fn locked_until(&self, policy: LockOut, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let window = window(policy);
        let until = |failures: &[DateTime<Utc>], most: u32| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let first = failures.len().checked_sub(most)?;
            failures
                .get(first)
                .map(|at| *at + window)
                .filter(|until| *until > now)
        };
        [
            until(&self.customer, policy.per_customer),
            until(&self.handle, policy.per_handle),
            until(&self.source, policy.per_source),
        ]
        .into_iter()
        .flatten()
        .max()
    }
}

/// The window in which wrong answers count.
pub fn window(policy: LockOut) -> Duration {
    Duration::minutes(i64::from(policy.window_minutes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
    }

    fn proof(level: i32, method: &str, age: i64, left: i64) -> Verification {
        Verification {
            level,
            method: method.into(),
            verified_by: "bruno".into(),
            verified_at: start() - Duration::minutes(age),
            expires_at: start() + Duration::minutes(left),
            evidence: 1,
            asked_in: None,
        }
    }

    #[test]
    fn a_need_looks_at_level_age_and_method() {
        let pay = Need {
            level: 2,
            max_age: Some(Duration::minutes(30)),
            methods: vec![ProofMethod::OneTimeCode, ProofMethod::Login],
        };
        let fits = |p: Verification| pay.met_by(&[p], start()).is_some();
        assert!(fits(proof(2, "one_time_code", 29, 60)));
        assert!(fits(proof(3, "site_login", 0, 60)));
        assert!(!fits(proof(1, "one_time_code", 0, 60)));
        assert!(!fits(proof(2, "one_time_code", 30, 60)));
        assert!(!fits(proof(2, "document", 0, 60)));
        assert!(!fits(proof(2, "one_time_code", 0, 0)));
    }

    #[test]
    fn methods_that_are_too_weak_are_not_offered() {
        let policy = VerificationPolicy::default();
        assert_eq!(Need::of_level(3).methods(&policy), [ProofMethod::Document]);
        assert!(
            !Need::of_level(1)
                .methods(&policy)
                .contains(&ProofMethod::KnowledgeQuestion)
        );
    }

    proptest! {
        #[test]
        fn a_proof_never_outlives_its_hours_and_never_idles_longer(
            hours in 1..200_u32, idle in prop::option::of(1..600_u32), used in 0..20_000_i64,
        ) {
            let policy = MethodPolicy { max_level: 2, hours, idle_minutes: idle };
            let relied = start() + Duration::minutes(used);
            let until = holds_until(&policy, start(), relied);
            prop_assert!(until <= start() + Duration::hours(i64::from(hours)));
            if let Some(idle) = idle {
                prop_assert!(until <= relied + Duration::minutes(i64::from(idle)));
            }
            // Relying on it later never shortens it.
            prop_assert!(holds_until(&policy, start(), relied + Duration::minutes(1)) >= until);
        }

        #[test]
        fn a_lock_begins_with_the_last_allowed_failure_and_ends_with_the_window(
            most in 1..6_u32, count in 0..10_i64, later in 0..180_i64,
        ) {
            let policy = LockOut { per_customer: most, per_handle: 100, per_source: 100, window_minutes: 60 };
            let failures = Failures {
                customer: (0..count).map(|m| start() + Duration::minutes(m)).collect(),
                ..Failures::default()
            };
            let now = start() + Duration::minutes(count + later);
            let inside = failures.customer.iter().filter(|at| **at + Duration::minutes(60) > now).count();
            let locked = failures.locked_until(policy, now);
            prop_assert_eq!(locked.is_some(), inside >= usize::try_from(most).expect("few"));
            if let Some(until) = locked {
                prop_assert!(until > now);
                prop_assert!(failures.locked_until(policy, until).is_none());
            }
        }
    }
}
