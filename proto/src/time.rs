//! Between the wire's timestamps and chrono.

use chrono::{DateTime, Utc};

/// A moment as the wire writes it.
pub fn to_wire(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: at.timestamp_subsec_nanos() as i32,
    }
}

/// A moment as chrono has it; `None` when it is absent or out of range.
pub fn from_wire(at: Option<&prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    let at = at?;
    DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)
}
