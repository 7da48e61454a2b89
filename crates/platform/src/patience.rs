//! A start waits for what may still be on the way: servers that come up, and whoever brings a schema up to date.

use std::time::{Duration, Instant};

use crate::{Error, Kind};

/// How long a start waits for what may still be on the way.
#[derive(Debug, Clone, Copy)]
pub struct Patience(Instant);

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

impl Patience {
    /// From now on.
    pub fn of_seconds(seconds: u64) -> Self {
        Self(Instant::now() + Duration::from_secs(seconds))
    }

    pub(crate) fn lasts(self) -> bool {
        Instant::now() < self.0
    }

    pub(crate) async fn pause(self) {
        tokio::time::sleep(AGAIN).await;
    }

    /// Tries until somebody answers, or patience ends.
    ///
    /// # Errors
    /// Whatever went wrong last.
    pub async fn for_others<T, F: Future<Output = Result<T, Error>>>(
        self,
        attempt: impl Fn() -> F,
    ) -> Result<T, Error> {
        loop {
            match attempt().await {
                Err(error) if error.kind() == Kind::Unavailable && self.lasts() => {
                    tracing::info!(detail = error.detail(), "waiting");
                    self.pause().await;
                }
                done => return done,
            }
        }
    }
}
