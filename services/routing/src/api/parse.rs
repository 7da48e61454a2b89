//! What several services check alike.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use trama_platform::Error;
use trama_proto::{common::v1::ChannelKind, ids::InvalidId, time::from_wire};

/// Longest reason that is kept.
const REASON_CHARS: usize = 500;
/// Longest note that is handed over.
const NOTE_CHARS: usize = 5_000;

pub(super) fn id<T: std::str::FromStr<Err = InvalidId>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|e: InvalidId| Error::invalid(field, e.to_string()))
}

fn words<'a>(field: &str, value: &'a str, most: usize) -> Result<&'a str, Error> {
    if value.chars().count() > most {
        return Err(Error::invalid(field, format!("at most {most} characters")));
    }
    if value.contains('\0') {
        return Err(Error::invalid(field, "must not contain NUL"));
    }
    Ok(value)
}

pub(super) fn reason(value: &str) -> Result<&str, Error> {
    words("reason", value, REASON_CHARS)
}

pub(super) fn note(value: &str) -> Result<&str, Error> {
    words("note", value, NOTE_CHARS)
}

pub(super) fn text(field: &str, value: &str, most: usize) -> Result<(), Error> {
    if value.chars().count() > most {
        return Err(Error::invalid(field, format!("at most {most} characters")));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(())
}

pub(super) fn named(field: &str, value: &str, most: usize) -> Result<(), Error> {
    if value.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    text(field, value, most)
}

/// A moment that may be absent.
pub(super) fn moment(field: &str, at: Option<&Timestamp>) -> Result<Option<DateTime<Utc>>, Error> {
    match at {
        None => Ok(None),
        Some(_) => from_wire(at)
            .map(Some)
            .ok_or_else(|| Error::invalid(field, "is out of range")),
    }
}

/// Kinds of channel, each once; unknown ones are refused.
pub(super) fn kinds(field: &str, numbers: &[i32]) -> Result<Vec<ChannelKind>, Error> {
    let mut kinds = Vec::with_capacity(numbers.len());
    for number in numbers {
        match ChannelKind::try_from(*number) {
            Ok(kind) if kind != ChannelKind::Unspecified => kinds.push(kind),
            Ok(_) | Err(_) => return Err(Error::invalid(field, "must name known kinds only")),
        }
    }
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}
