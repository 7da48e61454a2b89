//! Fields of requests, checked one by one.

use std::str::FromStr;

use trama_platform::Error;
use trama_proto::common::v1::CustomerContext;

use crate::{
    app::ProfileChange,
    domain::{customer::EVERY_NEED, handle::InvalidHandle},
};

/// An id.
pub fn id<T: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|e: T::Err| Error::invalid(field, e.to_string()))
}

/// Why a handle is none.
pub fn invalid_handle(error: InvalidHandle) -> Error {
    let field = match error {
        InvalidHandle::Kind => "handle.kind",
        InvalidHandle::Email | InvalidHandle::Phone | InvalidHandle::Whatsapp | InvalidHandle::Value => {
            "handle.value"
        }
    };
    Error::invalid(field, error.to_string())
}

/// Why something is done: shown to whoever wants to undo it.
pub fn reason(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 500 {
        return Err(Error::invalid("reason", "say why in 1 to 500 characters"));
    }
    Ok(text.to_owned())
}

/// The name of an intent, or `*`.
pub fn need(field: &str, text: &str) -> Result<String, Error> {
    let name = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if text == EVERY_NEED || name {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(field, "must be the name of an intent, or `*`"))
    }
}

/// The masked fields of a profile.
pub fn profile_change(
    given: &CustomerContext,
    mask: Option<&prost_types::FieldMask>,
) -> Result<ProfileChange, Error> {
    let paths = mask.map(|m| m.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", "name the fields to change"));
    }
    let mut change = ProfileChange::default();
    for path in paths {
        match path.as_str() {
            "display_name" => change.display_name = Some(display_name(&given.display_name)?),
            "language" => change.language = Some(language(&given.language)?),
            "entitlement" => change.entitlement = Some(given.entitlement.clone()),
            "persona_group" => change.persona_group = Some(persona_group(&given.persona_group)?),
            other => {
                let words = format!(
                    "`{other}` cannot be changed here; display_name, language, entitlement and persona_group can"
                );
                return Err(Error::invalid("update_mask", words));
            }
        }
    }
    Ok(change)
}

fn display_name(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "customer.display_name",
            "at most 200 characters, no control characters",
        ));
    }
    Ok(text.to_owned())
}

fn language(text: &str) -> Result<String, Error> {
    let mut parts = text.split('-');
    let primary = parts
        .next()
        .is_some_and(|p| (2..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    if text.is_empty() || (primary && rest && text.len() <= 35) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(
            "customer.language",
            "must be a BCP 47 language such as it or en-GB, or empty",
        ))
    }
}

fn persona_group(text: &str) -> Result<String, Error> {
    match text {
        "" | "progressive" | "conservative" => Ok(text.to_owned()),
        _ => Err(Error::invalid(
            "customer.persona_group",
            "must be progressive, conservative or empty",
        )),
    }
}
