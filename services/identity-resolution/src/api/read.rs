//! Fields of requests, checked one by one.

use std::str::FromStr;

use trama_platform::Error;
use trama_proto::{
    common::v1::CustomerContext,
    identity_resolution::v1::{self as wire, RelationKind},
    ids::{TenantId, derive},
    time::from_wire,
};

use crate::{
    app::{NewRecord, ProfileChange, Together},
    domain::{
        customer::{Field, is_need},
        handle::{Handle, InvalidHandle, Trust},
        rules::Rules,
        said::{Attribute, Said, postal},
    },
};

/// Handles that one record may have.
const MOST_HANDLES: usize = 32;

/// An id.
pub fn id<T: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|e: T::Err| Error::invalid(field, e.to_string()))
}

/// Why a handle is none.
pub fn invalid_handle(error: InvalidHandle) -> Error {
    let field = match error {
        InvalidHandle::Kind => "handle.kind",
        InvalidHandle::Email
        | InvalidHandle::Phone
        | InvalidHandle::Whatsapp
        | InvalidHandle::Device
        | InvalidHandle::Push
        | InvalidHandle::Loyalty
        | InvalidHandle::Social
        | InvalidHandle::Review
        | InvalidHandle::Value => "handle.value",
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
    if is_need(text) {
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

pub(super) fn display_name(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "customer.display_name",
            "at most 200 characters, no control characters",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn language(text: &str) -> Result<String, Error> {
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

/// A record of another system.
pub fn record(given: &wire::Record, tenant: &TenantId, rules: &Rules) -> Result<NewRecord, Error> {
    let name =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    if !name(&given.source, 63) {
        return Err(Error::invalid(
            "record.source",
            "say in 1 to 63 characters who says it",
        ));
    }
    if !name(&given.external_id, 255) {
        return Err(Error::invalid(
            "record.external_id",
            "must be the record's id there, of 1 to 255 characters",
        ));
    }
    if given.handles.len() > MOST_HANDLES {
        return Err(Error::invalid(
            "record.handles",
            format!("at most {MOST_HANDLES}"),
        ));
    }
    let mut handles = Vec::with_capacity(given.handles.len());
    for (place, handle) in given.handles.iter().enumerate() {
        let key = rules
            .handle(&handle.kind, &handle.value)
            .map_err(|e| Error::invalid(format!("record.handles[{place}]"), e.to_string()))?;
        let trust = Trust::from_wire(handle.trust(), Trust::Observed);
        handles.push(Handle { key, trust });
    }
    let facts = given.facts.clone().unwrap_or_default();
    let said = said(&facts)?;
    let display_name = if facts.full_name.is_empty() {
        format!("{} {}", facts.given_name.trim(), facts.surname.trim())
    } else {
        facts.full_name.clone()
    };
    let id = derive(&[
        b"record",
        tenant.as_str().as_bytes(),
        given.source.as_bytes(),
        given.external_id.as_bytes(),
    ]);
    Ok(NewRecord {
        id,
        source: given.source.clone(),
        handles,
        said,
        fields: vec![
            (
                Field::DisplayName,
                display_name.trim().chars().take(200).collect(),
            ),
            (Field::Language, language(&given.language)?),
        ],
        recorded_at: from_wire(given.recorded_at.as_ref()),
    })
}

fn said(facts: &wire::PersonFacts) -> Result<Said, Error> {
    let mut said = Said::default();
    for (field, attribute, text) in [
        ("full_name", Attribute::FullName, &facts.full_name),
        ("given_name", Attribute::GivenName, &facts.given_name),
        ("surname", Attribute::Surname, &facts.surname),
        ("birth_date", Attribute::Birth, &facts.birth_date),
        ("street", Attribute::Address, &facts.street),
        ("house_number", Attribute::Address, &facts.house_number),
        ("city", Attribute::Address, &facts.city),
        ("region", Attribute::Address, &facts.region),
        ("postal_code", Attribute::Address, &facts.postal_code),
        ("national_id", Attribute::National, &facts.national_id),
    ] {
        if text.chars().count() > 200 || text.chars().any(char::is_control) {
            let field = format!("record.facts.{field}");
            return Err(Error::invalid(
                field,
                "at most 200 characters, no control characters",
            ));
        }
        if attribute != Attribute::Address {
            said.add(attribute, text, Trust::Claimed);
        }
    }
    let address = postal(
        &facts.street,
        &facts.house_number,
        &facts.city,
        &facts.region,
        &facts.postal_code,
    );
    said.add(Attribute::Address, &address, Trust::Claimed);
    Ok(said)
}

/// Two who belong together.
pub fn together(relation: Option<&wire::Relation>) -> Result<Together, Error> {
    let relation = relation.ok_or_else(|| Error::invalid("relation", "is missing"))?;
    if relation.kind() == RelationKind::Unspecified {
        return Err(Error::invalid("relation.kind", "say how they belong together"));
    }
    for (field, text) in [("role", &relation.role), ("evidence", &relation.evidence)] {
        if text.chars().count() > 200 || text.chars().any(char::is_control) {
            let field = format!("relation.{field}");
            return Err(Error::invalid(
                field,
                "at most 200 characters, no control characters",
            ));
        }
    }
    Ok(Together {
        one: id("relation.customer_id", &relation.customer_id)?,
        other: id("relation.other_customer_id", &relation.other_customer_id)?,
        kind: relation.kind(),
        role: relation.role.trim().to_owned(),
        evidence: relation.evidence.trim().to_owned(),
    })
}
