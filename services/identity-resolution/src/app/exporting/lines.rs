//! A customer as a line: columns and what stands in them.

use std::collections::BTreeMap;

use trama_proto::{common::v1::ChannelKind, identity_resolution::v1 as wire};

use crate::domain::{
    consent::{self, CHANNELS, Entry, channel_name},
    customer::Customer,
    import::{csv_value, list},
    profile::{ACCESSIBILITY_NEEDS, BIRTH_YEAR, Said, Schema},
    rules::Rules,
};

/// Columns before handles, fields and consents.
const FIXED: [&str; 10] = [
    "customer_id",
    "external_id",
    "display_name",
    "language",
    "persona_group",
    "entitlement",
    "segments",
    "preferences",
    "relations",
    "proofs",
];
/// Kinds of handles that have a column of their own; all others share one.
const HANDLES: [&str; 17] = [
    "email",
    "phone",
    "whatsapp",
    "webchat",
    // All but the first, which is the `external_id`.
    "crm",
    "cookie",
    "device",
    "push",
    "loyalty",
    "facebook",
    "instagram",
    "linkedin",
    "telegram",
    "tiktok",
    "x",
    "youtube",
    "review",
];
/// The column of handles of all other kinds.
const OTHER_HANDLES: &str = "handles";

/// What is told of a customer.
pub(super) struct Facts<'a> {
    pub customer: &'a Customer,
    pub said: Vec<Said>,
    pub log: Vec<Entry>,
    /// `household:<customer>`, `company_contact:<customer>:<role>`: with whom, and how.
    pub relations: Vec<String>,
}

/// All columns of a tenant, in order.
pub(super) fn columns(schema: &Schema) -> Vec<String> {
    let spec = schema.spec();
    let consents = ["service", "survey", "marketing"]
        .into_iter()
        .flat_map(|purpose| {
            ["email", "whatsapp", "voice", "webChat", "sms"].map(|kind| format!("consent:{kind}/{purpose}"))
        })
        .flat_map(|all| {
            let of_brands = spec.brands.iter().map(|brand| format!("{all}/{brand}"));
            std::iter::once(all.clone()).chain(of_brands).collect::<Vec<_>>()
        });
    FIXED
        .into_iter()
        .map(str::to_owned)
        .chain(HANDLES.map(|kind| format!("handle:{kind}")))
        .chain([OTHER_HANDLES.to_owned()])
        .chain([BIRTH_YEAR, ACCESSIBILITY_NEEDS].map(|name| format!("trait:{name}")))
        .chain(spec.fields.keys().map(|name| format!("trait:{name}")))
        .chain(consents)
        .collect()
}

/// What a line says, by column; nothing where there is nothing to say.
pub(super) fn values(
    facts: Facts<'_>,
    schema: &Schema,
    rules: &Rules,
    now: chrono::DateTime<chrono::Utc>,
) -> BTreeMap<String, String> {
    let context = facts.customer.context(rules, now, false);
    let mut values = BTreeMap::new();
    let mut put = |column: String, value: String| {
        if !value.is_empty() {
            values.insert(column, value);
        }
    };
    put("customer_id".into(), context.customer_id);
    put("display_name".into(), context.display_name);
    put("language".into(), context.language);
    // What follows from the year of birth is not said again as if somebody had said it.
    put(
        "persona_group".into(),
        facts.customer.profile.persona_group.clone(),
    );
    put("entitlement".into(), context.entitlement);
    put("segments".into(), context.segments.join("|"));
    // As with the group: what the customer said, not what their generation usually wants.
    let wishes = facts
        .customer
        .profile
        .preferences
        .iter()
        .filter_map(|(need, kind)| {
            let kind = ChannelKind::try_from(*kind).ok()?;
            CHANNELS
                .contains(&kind)
                .then(|| format!("{need}:{}", channel_name(kind)))
        });
    put(
        "preferences".into(),
        list::join(wishes.collect::<Vec<_>>().iter().map(String::as_str)),
    );
    put(
        "relations".into(),
        list::join(facts.relations.iter().map(String::as_str)),
    );
    let holding = facts.customer.verifications.iter().filter(|v| v.expires_at > now);
    let proofs: Vec<String> = holding
        .map(|v| {
            format!(
                "{}:{}:{}",
                v.method,
                v.level,
                v.expires_at.format("%Y-%m-%dT%H:%M:%SZ")
            )
        })
        .collect();
    put("proofs".into(), list::join(proofs.iter().map(String::as_str)));
    let mut by_kind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut others = Vec::new();
    for held in &facts.customer.handles {
        let (kind, value) = (held.key.kind.as_str(), held.key.value.as_str());
        if HANDLES.contains(&kind) {
            by_kind.entry(kind).or_default().push(value);
        } else {
            others.push(format!("{kind}:{value}"));
        }
    }
    // One id there: a second one is somebody else's, or was.
    if let Some(accounts) = by_kind.get_mut("crm") {
        put("external_id".into(), accounts.remove(0).to_owned());
    }
    for (kind, values) in by_kind {
        put(format!("handle:{kind}"), list::join(values));
    }
    put(
        OTHER_HANDLES.into(),
        list::join(others.iter().map(String::as_str)),
    );
    for known in schema.choose(facts.said) {
        put(format!("trait:{}", known.current.name), known.current.value);
    }
    for (subject, entry) in consent::current(&facts.log, now) {
        let said = match entry.state(now) {
            wire::ConsentState::Granted => "true",
            wire::ConsentState::Denied => "false",
            wire::ConsentState::Unspecified | wire::ConsentState::Pending | wire::ConsentState::Expired => {
                continue;
            }
        };
        put(format!("consent:{}", subject.words()), said.to_owned());
    }
    values
}

/// Writes a line of CSV.
pub(super) fn line<'a>(into: &mut String, values: impl Iterator<Item = &'a str>, delimiter: u8) {
    for (position, value) in values.enumerate() {
        if position > 0 {
            into.push(char::from(delimiter));
        }
        into.push_str(&csv_value(value, delimiter));
    }
    into.push_str("\r\n");
}
