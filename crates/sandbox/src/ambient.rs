//! The time and new ids. A service is handed both; a development tool takes them itself, and only here.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The time on the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a development tool has no injected clock"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A fresh random id.
#[expect(
    clippy::disallowed_methods,
    reason = "providers draw their ids at random, so does their stand-in"
)]
pub(crate) fn new_id() -> Uuid {
    Uuid::new_v4()
}
