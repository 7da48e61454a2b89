//! Customers out, in the words in which an import takes them in.

mod lines;

use std::{collections::BTreeMap, sync::Arc};

use futures::Stream;
use lines::{Facts, columns, line, values};
use serde_json::{Map, Value};
use trama_platform::{Error, Tx, page};
use trama_proto::{
    identity_resolution::v1::{self as wire, RelationKind, RelationStatus},
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use super::{App, Caller};
use crate::{
    domain::import::{self, Bond, Format},
    store::{self, Question},
};

/// Customers in one piece.
const PIECE: i64 = 200;
/// Relations that are read at once.
const RELATIONS: i64 = 10_000;
/// Relations that a line names; of who has more, the others' lines name them.
const OF_ONE: usize = 1_000;
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
        let mut relations = bonds(&mut tx, tenant, &members, &roots).await?;
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
                relations: relations.remove(id).unwrap_or_default().words(),
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

/// The relations of a customer, as far as their line names them.
#[derive(Default)]
struct Bonds {
    named: Vec<String>,
    all: usize,
}

impl Bonds {
    fn add(&mut self, bond: &Bond) {
        self.all += 1;
        if self.named.len() < OF_ONE {
            self.named.push(bond.to_string());
        }
    }

    /// The words of the line; how many more there are is said, too.
    fn words(mut self) -> Vec<String> {
        let more = self.all - self.named.len();
        if more > 0 {
            self.named.push(import::more(more));
        }
        self.named
    }
}

/// The certain relations of customers, by customer, newest first. All pages are read: what is one customer's does not take
/// another's place.
async fn bonds(
    tx: &mut Tx,
    tenant: &TenantId,
    members: &[CustomerId],
    roots: &BTreeMap<Uuid, CustomerId>,
) -> Result<BTreeMap<CustomerId, Bonds>, Error> {
    let root = |of: CustomerId| roots.get(&of.uuid()).copied();
    let (mut found, mut after) = (BTreeMap::<CustomerId, Bonds>::new(), None);
    loop {
        let page = store::relations::list(tx.conn(), tenant, members, after, RELATIONS).await?;
        let certain = page
            .iter()
            .filter(|r| r.status == RelationStatus::Confirmed && r.kind != RelationKind::Unspecified);
        for relation in certain {
            let ends = [
                (relation.one, relation.other, true),
                (relation.other, relation.one, false),
            ];
            for (whose, other, first) in ends {
                let Some(whose) = root(whose) else { continue };
                found.entry(whose).or_default().add(&Bond {
                    kind: relation.kind,
                    first,
                    other: root(other).unwrap_or(other),
                    role: relation.role.clone(),
                });
            }
        }
        if i64::try_from(page.len()) != Ok(RELATIONS) {
            return Ok(found);
        }
        after = page.last().map(|r| (r.created_at, r.id.uuid()));
    }
}

#[cfg(test)]
mod tests;
