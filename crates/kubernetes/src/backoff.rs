//! Pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a cap of seconds. `kube`'s own grow to half a minute, and begin anew whenever a list is
/// tried, whether it succeeds or not.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The pause after another failure. `random` from 0 to 1 spreads the replicas, which all lost the same server.
    pub(crate) fn after_failure(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(self.longest)
            .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Something came through. Says whether there had been failures.
    pub(crate) const fn succeeded(&mut self) -> bool {
        let failed = self.failures > 0;
        self.failures = 0;
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_are_spread_and_never_longer_than_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let longest: Vec<_> = (0..7).map(|_| backoff.after_failure(1.0).as_millis()).collect();
        assert_eq!(longest, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after_failure(0.0), Duration::from_millis(2500));
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert_eq!(backoff.after_failure(1.0), Duration::from_millis(200));
        for _ in 0..100 {
            assert!(backoff.after_failure(1.0) <= Duration::from_secs(5));
        }
    }
}
