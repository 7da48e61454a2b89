//! Customers out, in the words in which an import takes them in.

use std::{collections::BTreeMap, sync::Arc};

use futures::Stream;
use serde_json::{Map, Value};
use trama_platform::{Error, page};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{self as wire, RelationKind, RelationStatus},
    ids::CustomerId,
};
use uuid::Uuid;

use super::{App, Caller};
use crate::{
    domain::{
        consent::{self, CHANNELS, Entry, channel_name},
        customer::Customer,
        import::{Format, csv_value, list},
        profile::{ACCESSIBILITY_NEEDS, BIRTH_YEAR, Said, Schema},
        rules::Rules,
    },
    store::{self, Question, relations::Relation},
};

/// Customers in one piece.
const PIECE: i64 = 200;
/// Relations of one piece.
const RELATIONS: i64 = 10_000;
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

/// What is exported.
#[derive(Debug, Clone)]
pub struct Export {
    /// How records are written.
    pub format: Format,
    /// Only customers of this segment; all when empty.
    pub segment: String,
    /// Why, for the access log.
    pub reason: String,
}

impl App {
    /// The pieces of an export, each read by itself: nothing is held in between, and any of them can be the first.
    pub fn export(
        self: &Arc<Self>,
        caller: Caller,
        export: Export,
        page_token: &str,
    ) -> Result<impl Stream<Item = Result<wire::ExportCustomersResponse, Error>> + Send + use<>, Error> {
        let after: Option<Uuid> = page::start(page_token)?;
        let start = (Arc::clone(self), caller, export, after, false);
        Ok(futures::stream::try_unfold(
            start,
            |(app, caller, export, after, done)| async move {
                if done {
                    return Ok(None);
                }
                let (piece, last) = app.piece(&caller, &export, after).await?;
                let done = last.is_none();
                Ok(Some((piece, (app, caller, export, last, done))))
            },
        ))
    }

    async fn piece(
        &self,
        caller: &Caller,
        export: &Export,
        after: Option<Uuid>,
    ) -> Result<(wire::ExportCustomersResponse, Option<Uuid>), Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let ids = if export.segment.is_empty() {
            store::profiles::all_after(tx.conn(), tenant, after, PIECE).await?
        } else {
            store::profiles::by_segment(tx.conn(), tenant, &export.segment, after, PIECE).await?
        };
        let customers: Vec<CustomerId> = ids.iter().map(|id| CustomerId::new(*id)).collect();
        let question = Question {
            customers: customers.iter().map(|id| (tenant, *id)).collect(),
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let rows = store::profiles::rows_of(tx.conn(), tenant, &customers).await?;
        let roots: BTreeMap<Uuid, CustomerId> = rows.iter().copied().collect();
        let row_ids: Vec<Uuid> = roots.keys().copied().collect();
        let said = store::profiles::said(tx.conn(), tenant, &row_ids).await?;
        let log = store::consents::log(tx.conn(), tenant, &row_ids).await?;
        let members: Vec<CustomerId> = row_ids.iter().map(|id| CustomerId::new(*id)).collect();
        let relations = store::relations::list(tx.conn(), tenant, &members, None, RELATIONS).await?;
        self.note(&mut tx, caller, &customers, "exported", &export.reason)
            .await?;
        tx.commit().await?;
        let (schema, rules) = (self.schema(tenant), self.rules(tenant));
        let columns = columns(&schema);
        let mut data = String::new();
        if let (Format::Csv { delimiter }, None) = (export.format, after) {
            line(&mut data, columns.iter().map(String::as_str), delimiter);
        }
        let mut written = 0;
        for id in &customers {
            // An alias that still stands in a segment belongs to somebody who is exported anyway.
            let Some(customer) = worlds
                .get(tenant)
                .and_then(|w| w.get(*id))
                .filter(|c| c.id == *id)
            else {
                continue;
            };
            let root = |of: CustomerId| roots.get(&of.uuid()).copied().unwrap_or(of);
            let of = |origin: CustomerId| roots.get(&origin.uuid()) == Some(id);
            let facts = Facts {
                customer,
                said: said.iter().filter(|s| of(s.origin)).cloned().collect(),
                log: log.iter().filter(|e| of(e.origin)).cloned().collect(),
                relations: relations.iter().filter_map(|r| relation(r, &of, &root)).collect(),
            };
            let values = values(facts, &schema, &rules, now);
            match export.format {
                Format::Csv { delimiter } => {
                    let values = columns.iter().map(|c| values.get(c).map_or("", String::as_str));
                    line(&mut data, values, delimiter);
                }
                Format::JsonLines => {
                    let object: Map<String, Value> =
                        values.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
                    data.push_str(&Value::Object(object).to_string());
                    data.push('\n');
                }
            }
            written += 1;
        }
        let full = i64::try_from(ids.len()) == Ok(PIECE);
        let last = ids.last().copied();
        let piece = wire::ExportCustomersResponse {
            data: data.into_bytes(),
            customers: written,
            page_token: last.or(after).map(|id| page::token(&id)).unwrap_or_default(),
        };
        Ok((piece, last.filter(|_| full)))
    }
}

struct Facts<'a> {
    customer: &'a Customer,
    said: Vec<Said>,
    log: Vec<Entry>,
    /// `household:<customer>`, `company_contact:<customer>:<role>`: with whom, and how.
    relations: Vec<String>,
}

/// A relation in a word, as one of the two has it; nothing when it is another's, or only suggested.
fn relation(
    relation: &Relation,
    of: &impl Fn(CustomerId) -> bool,
    root: &impl Fn(CustomerId) -> CustomerId,
) -> Option<String> {
    if relation.status != RelationStatus::Confirmed {
        return None;
    }
    // Who is told of it first decides what the other is: of a company its contacts, of a contact the company.
    let (other, of_the_first) = match (of(relation.one), of(relation.other)) {
        (true, _) => (relation.other, true),
        (false, true) => (relation.one, false),
        (false, false) => return None,
    };
    let kind = match (relation.kind, of_the_first) {
        (RelationKind::Unspecified, _) => return None,
        (RelationKind::Household, _) => "household",
        (RelationKind::CompanyContact, true) => "contact",
        (RelationKind::CompanyContact, false) => "company",
        (RelationKind::PartOf, true) => "part",
        (RelationKind::PartOf, false) => "whole",
        (RelationKind::Representative, true) => "representative",
        (RelationKind::Representative, false) => "represents",
    };
    let role = if relation.role.is_empty() {
        String::new()
    } else {
        format!(":{}", relation.role)
    };
    Some(format!("{kind}:{}{role}", root(other)))
}

fn columns(schema: &Schema) -> Vec<String> {
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

fn values(
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

fn line<'a>(into: &mut String, values: impl Iterator<Item = &'a str>, delimiter: u8) {
    for (position, value) in values.enumerate() {
        if position > 0 {
            into.push(char::from(delimiter));
        }
        into.push_str(&csv_value(value, delimiter));
    }
    into.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;
    use trama_proto::resources::TenantResources;

    use super::*;
    use crate::domain::{
        consent::{Subject, Word},
        customer::Held,
        handle::Trust,
        import::{Mapping, Next, Reading, Row, next},
    };

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
    }

    fn schema() -> Schema {
        let spec = serde_json::json!({"brands": ["acme", "bottega"], "fields": {"note": {"type": "string"}}});
        let spec = serde_json::from_value(spec).expect("a schema");
        let resources = TenantResources {
            customer_schemas: [("default".to_owned(), Arc::new(spec))].into(),
            ..TenantResources::default()
        };
        Schema::new(Some(&resources))
    }

    /// Any way in which handles are written; those that are none are left out.
    fn handles() -> impl Strategy<Value = Vec<(String, String)>> {
        let one = prop_oneof![
            ("[a-z|.+]{1,8}@[a-z]{2,6}\\.it").prop_map(|v| ("email", v)),
            ("\\+39[0-9]{8,10}").prop_map(|v| ("phone", v)),
            ("39[0-9]{9}|[A-Z]{2}\\.[0-9]{8}").prop_map(|v| ("whatsapp", v)),
            ("[ -~]{1,20}").prop_map(|v| ("webchat", v)),
            ("[ -~]{1,20}").prop_map(|v| ("crm", v)),
            ("\\PC{1,20}").prop_map(|v| ("cookie", v)),
            ("[a-f0-9-]{8,36}").prop_map(|v| ("device", v)),
            ("[!-~]{16,40}").prop_map(|v| ("push", v)),
            ("[A-Za-z0-9 -]{6,20}").prop_map(|v| ("loyalty", v)),
            ("@?[A-Za-z0-9._]{1,20}").prop_map(|v| ("instagram", v)),
            ("UC[A-Za-z0-9_-]{22}").prop_map(|v| ("youtube", v)),
            ("[a-z]{3,8}\\.com/\\PC{1,12}").prop_map(|v| ("review", v)),
            ("\\PC{1,20}").prop_map(|v| ("till-card", v)),
        ];
        prop::collection::vec(one.prop_map(|(kind, value)| (kind.to_owned(), value)), 1..12)
    }

    fn somebody(handles: &[(String, String)], rules: &Rules) -> Customer {
        let mut customer = Customer::new(CustomerId::derived(&[b"anna"]), now());
        for (kind, value) in handles {
            let Ok(key) = rules.handle(kind, value) else {
                continue;
            };
            if customer.holds(&key).is_none() {
                customer.handles.push(Held {
                    key,
                    trust: Trust::Observed,
                    first_seen: now(),
                    last_seen: now(),
                    evidence: None,
                    via: None,
                    row_owner: customer.id,
                    source: "door".into(),
                    shared: false,
                });
            }
        }
        customer
    }

    /// What an import reads of what an export wrote.
    fn back(values: &BTreeMap<String, String>, format: Format, schema: &Schema, rules: &Rules) -> Row {
        let by = Reading {
            schema,
            rules,
            trust: Trust::Observed,
            now: now(),
        };
        let mut text = String::new();
        let members = match format {
            Format::Csv { delimiter } => {
                let columns = columns(schema);
                line(
                    &mut text,
                    columns.iter().map(|c| values.get(c).map_or("", String::as_str)),
                    delimiter,
                );
                match next(text.as_bytes(), format, false, true) {
                    Next::Values(values, _) => columns.into_iter().zip(values).collect(),
                    other => panic!("{other:?}"),
                }
            }
            Format::JsonLines => match next(
                serde_json::to_string(values).expect("JSON").as_bytes(),
                format,
                false,
                true,
            ) {
                Next::Members(members, _) => members,
                other => panic!("{other:?}"),
            },
        };
        Mapping::default()
            .read(&members, &by)
            .unwrap_or_else(|wrong| panic!("{wrong:?}"))
    }

    proptest! {
        #[test]
        fn what_an_export_says_an_import_reads(
            handles in handles(),
            name in "\\PC{0,30}",
            note in "\\PC{1,30}",
            granted in any::<[bool; 3]>(),
            wishes in prop::collection::btree_map("[a-z_-]{1,12}|[*]", prop::sample::select(CHANNELS.to_vec()), 0..4),
        ) {
            let (schema, rules) = (schema(), Rules::default());
            let mut customer = somebody(&handles, &rules);
            prop_assume!(!customer.handles.is_empty() && !note.trim().is_empty());
            customer.profile.display_name = name.trim().to_owned();
            customer.profile.preferences = wishes.iter().map(|(need, kind)| (need.clone(), *kind as i32)).collect();
            let subjects = ["email/marketing", "sms/survey/acme", "whatsapp/marketing/bottega"];
            let log: Vec<Entry> = subjects
                .iter()
                .zip(granted)
                .map(|(subject, granted)| Entry {
                    subject: Subject::parse(subject).expect("a subject"),
                    word: if granted { Word::Granted } else { Word::Denied },
                    evidence: "form 12".into(),
                    by: "bruno".into(),
                    at: now(),
                    expires_at: None,
                    origin: customer.id,
                    of_the_whole: true,
                })
                .collect();
            let said = vec![Said {
                name: "note".into(),
                value: note.trim().to_owned(),
                source: "crm".into(),
                set_by: "bruno".into(),
                set_at: now(),
                origin: customer.id,
            }];
            let facts = Facts { customer: &customer, said, log, relations: vec!["household:somebody".to_owned()] };
            let values = values(facts, &schema, &rules, now());
            for format in [Format::Csv { delimiter: b';' }, Format::JsonLines] {
                let row = back(&values, format, &schema, &rules);
                let mut read: Vec<_> = row.handles.iter().map(|h| &h.key).collect();
                let mut held: Vec<_> = customer.handles.iter().map(|h| &h.key).collect();
                read.sort();
                held.sort();
                prop_assert_eq!(read, held);
                prop_assert_eq!(&row.preferences, &wishes);
                prop_assert_eq!(&row.display_name, &customer.profile.display_name);
                prop_assert_eq!(row.traits.get("note").map(String::as_str), Some(note.trim()));
                let mut consents: Vec<_> = row.consents.iter().map(|c| (c.subject.words(), c.granted)).collect();
                let mut expected: Vec<_> = subjects.iter().map(|s| (*s).to_owned()).zip(granted).collect();
                consents.sort();
                expected.sort();
                prop_assert_eq!(consents, expected);
            }
        }
    }
}
