//! Customers out, in the words in which an import takes them in.

use std::{collections::BTreeMap, sync::Arc};

use futures::Stream;
use serde_json::{Map, Value};
use trama_platform::{Error, page};
use trama_proto::{identity_resolution::v1 as wire, ids::CustomerId};
use uuid::Uuid;

use super::{App, Caller};
use crate::{
    domain::{
        consent::{self, Entry},
        customer::Customer,
        import::{Format, csv_value},
        profile::{ACCESSIBILITY_NEEDS, BIRTH_YEAR, Said, Schema},
        rules::Rules,
    },
    store::{self, Question},
};

/// Customers in one piece.
const PIECE: i64 = 200;
/// Columns before handles, fields and consents.
const FIXED: [&str; 7] = [
    "customer_id",
    "external_id",
    "display_name",
    "language",
    "persona_group",
    "entitlement",
    "segments",
];
/// Kinds of handles that have a column of their own.
const HANDLES: [&str; 11] = [
    "email",
    "phone",
    "whatsapp",
    "loyalty",
    "facebook",
    "instagram",
    "linkedin",
    "telegram",
    "tiktok",
    "x",
    "youtube",
];

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
            let of = |origin: CustomerId| roots.get(&origin.uuid()) == Some(id);
            let facts = Facts {
                customer,
                said: said.iter().filter(|s| of(s.origin)).cloned().collect(),
                log: log.iter().filter(|e| of(e.origin)).cloned().collect(),
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
}

fn columns(schema: &Schema) -> Vec<String> {
    let consents = ["service", "survey", "marketing"]
        .into_iter()
        .flat_map(|purpose| {
            ["email", "whatsapp", "voice", "webChat", "sms"].map(|kind| format!("consent:{kind}/{purpose}"))
        });
    FIXED
        .into_iter()
        .map(str::to_owned)
        .chain(HANDLES.map(|kind| format!("handle:{kind}")))
        .chain([BIRTH_YEAR, ACCESSIBILITY_NEEDS].map(|name| format!("trait:{name}")))
        .chain(schema.spec().fields.keys().map(|name| format!("trait:{name}")))
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
    let of_kind = |kind: &str| {
        let handles = facts
            .customer
            .handles
            .iter()
            .filter(|h| h.key.kind.as_str() == kind);
        handles.map(|h| h.key.value.clone()).collect::<Vec<_>>()
    };
    // One id there: a second one is somebody else's, or was.
    put(
        "external_id".into(),
        of_kind("crm").into_iter().next().unwrap_or_default(),
    );
    for kind in HANDLES {
        put(format!("handle:{kind}"), of_kind(kind).join("|"));
    }
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
