//! What a person may demand: a copy of everything, or to be forgotten. A service says what it holds ([`Holder`]); when
//! and how it is asked, answered and kept from coming back is here, once.
//!
//! Erasing happens in the stage, in the order of the service's other events, so that a merge that came before is worked in
//! before. Files are read and removed by [`worker`], outside of the stages. Until it answers, it waits for every transaction
//! that was under way when the rows went, and erases once more: what such a transaction wrote is gone too.

mod keys;
mod opened;
mod retention;
mod streams;
mod worker;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use prost::Message as _;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, types::Json};
use trama_proto::{
    ids::TenantId,
    privacy::v1::{PrivacyAction, PrivacyRequested, SubjectSort},
    readable::readable,
    time::from_wire,
};
use uuid::Uuid;

use crate::{Error, db::Tx, sealing::Column};

pub use keys::{Hasher, PrivacyKeys, SignedReport};
pub use streams::{Passed, remove_messages};
pub(crate) use {
    retention::{round as expire, start as start_retention},
    worker::start as start_worker,
};

/// What is asked, checked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names the request.
    pub id: Uuid,
    /// Whose data.
    pub tenant: TenantId,
    /// What is asked for.
    pub action: PrivacyAction,
    /// What the ids are ids of.
    pub sort: SubjectSort,
    /// Who or what it is about.
    pub subjects: Vec<Uuid>,
    /// Keyed hashes of addresses, see [`PrivacyKeys::hash`].
    pub handle_hashes: Vec<Vec<u8>>,
    /// What happened until then is theirs.
    pub requested_at: DateTime<Utc>,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// When it lacks what it must have.
    pub fn read(tenant: &TenantId, wire: &PrivacyRequested) -> Result<Self, Error> {
        let id =
            |field, text: &str| Uuid::try_parse(text).map_err(|_| Error::invalid(field, "must be a UUID"));
        if wire.action() == PrivacyAction::Unspecified || wire.sort() == SubjectSort::Unspecified {
            return Err(Error::invalid("action", "action and sort must be said"));
        }
        Ok(Self {
            id: id("request_id", &wire.request_id)?,
            tenant: tenant.clone(),
            action: wire.action(),
            sort: wire.sort(),
            subjects: wire
                .subject_ids
                .iter()
                .map(|text| id("subject_ids", text))
                .collect::<Result<_, _>>()?,
            handle_hashes: wire.handle_hashes.clone(),
            requested_at: from_wire(wire.requested_at.as_ref())
                .ok_or_else(|| Error::invalid("requested_at", "is missing"))?,
        })
    }
}

/// One kind of record of an export.
#[derive(Debug, Clone)]
pub struct Section {
    /// Name of the kind.
    pub records: &'static str,
    /// The records, readable.
    pub rows: Vec<Value>,
}

/// All that a service holds of somebody.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// Records by kind.
    pub sections: Vec<Section>,
    /// Keys of files in the object store.
    pub attachments: Vec<String>,
}

/// What a service forgot.
#[derive(Debug, Clone, Default)]
pub struct Erased {
    /// How many records of each kind.
    pub counts: Vec<(&'static str, u64)>,
    /// Keys of files that are to be removed from the object store.
    pub objects: Vec<String>,
    /// Further ids about which late events change nothing.
    pub also_forgotten: Vec<Uuid>,
}

/// What a service must say of itself to be asked.
#[async_trait]
pub trait Holder: Send + Sync + 'static {
    /// By which ids its rows are found.
    fn sort(&self) -> SubjectSort;

    /// What an export shows, when that is rows alone.
    fn kept(&self) -> &'static [Kept] {
        &[]
    }

    /// What grows too old to be kept, when that is rows alone.
    fn aged(&self) -> &'static [Aged] {
        &[]
    }

    /// Collects what it holds. Changes nothing.
    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        Ok(Held {
            sections: collect(tx, self.kept(), &request.tenant, &request.subjects).await?,
            ..Held::default()
        })
    }

    /// Deletes it, or makes it nobody's. Called again later; then it finds only what came in between.
    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error>;

    /// Deletes what is not in the database, before the request is answered and outside of any transaction; doing it again
    /// changes nothing. Most have nothing of the kind.
    async fn erase_outside(&self, _request: &Request) -> Result<Vec<(&'static str, u64)>, Error> {
        Ok(Vec::new())
    }

    /// Deletes what is older than it may be: at most `limit` records of a kind. Returns how many went, and keys of files
    /// to remove. Kinds of other services are none of its business.
    async fn expire(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        records: &str,
        before: DateTime<Utc>,
        limit: i64,
    ) -> Result<(u64, Vec<String>), Error> {
        let mut gone = 0;
        for kind in self.aged().iter().filter(|kind| kind.records == records) {
            let ids: Vec<Uuid> = sqlx::query_scalar(kind.rows)
                .bind(tenant.as_str())
                .bind(before)
                .bind(limit)
                .fetch_all(tx.conn())
                .await?;
            run(tx.conn(), kind.with, tenant, &ids).await?;
            gone += ids.len() as u64;
        }
        Ok((gone, Vec::new()))
    }
}

/// Works a request in: forgets, in this transaction; what is slow is left to the worker, which answers.
///
/// # Errors
/// When the holder fails or the database is away.
pub async fn take_in(
    tx: &mut Tx,
    holder: &Arc<dyn Holder>,
    tenant: &TenantId,
    wire: &PrivacyRequested,
) -> Result<(), Error> {
    let request = Request::read(tenant, wire)?;
    if request.sort != holder.sort() {
        return Ok(());
    }
    let erased = match request.action {
        PrivacyAction::Erase => forget(tx, holder, &request).await?,
        PrivacyAction::Export | PrivacyAction::Unspecified => Erased::default(),
    };
    sqlx::query(
        "INSERT INTO privacy_work (tenant, request_id, request, counts, objects) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant, request_id) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(request.id)
    .bind(wire.encode_to_vec())
    .bind(Json(sum(&erased.counts, BTreeMap::new())))
    .bind(&erased.objects)
    .execute(tx.conn())
    .await?;
    tx.wake_privacy();
    Ok(())
}

/// Erases, and remembers that it is so.
async fn forget(tx: &mut Tx, holder: &Arc<dyn Holder>, request: &Request) -> Result<Erased, Error> {
    let erased = holder.erase(tx, request).await?;
    let mut ids = request.subjects.clone();
    ids.extend(&erased.also_forgotten);
    sqlx::query(
        "INSERT INTO forgotten (tenant, subject_id, forgotten_at)
         SELECT DISTINCT $1, subject_id, $3::timestamptz FROM unnest($2::uuid[]) AS s (subject_id)
         ON CONFLICT (tenant, subject_id) DO NOTHING",
    )
    .bind(request.tenant.as_str())
    .bind(&ids)
    .bind(request.requested_at)
    .execute(tx.conn())
    .await?;
    // Remembered answers of commands name whom they were about. The one to this very request stays: it names ids only.
    let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    sqlx::query(
        "DELETE FROM requests WHERE tenant = $1 AND position(convert_to($3, 'UTF8') IN response) = 0
         AND NOT $5 = ANY(about)
         AND (about && $4 OR EXISTS
             (SELECT 1 FROM unnest($2::text[]) AS s (id) WHERE position(convert_to(id, 'UTF8') IN response) > 0))",
    )
    .bind(request.tenant.as_str())
    .bind(&texts)
    .bind(request.id.to_string())
    .bind(&ids)
    .bind(request.id)
    .execute(tx.conn())
    .await?;
    Ok(erased)
}

/// Which of some ids are forgotten, and since when.
///
/// # Errors
/// When the database is away.
pub async fn forgotten(
    tx: &mut Tx,
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, DateTime<Utc>>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(Uuid, DateTime<Utc>)> = sqlx::query_as(
        "SELECT f.subject_id, f.forgotten_at FROM unnest($2::uuid[]) AS s (subject_id)
         CROSS JOIN LATERAL (SELECT subject_id, forgotten_at FROM forgotten
             WHERE tenant = $1 AND subject_id = s.subject_id) f",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().collect())
}

fn sum(counts: &[(&'static str, u64)], mut before: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (records, count) in counts {
        *before.entry((*records).to_owned()).or_default() += count;
    }
    before
}

/// A kind of record: how its rows are found, and which of their columns are encoded messages.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Name of the kind.
    pub records: &'static str,
    /// A query of one jsonb column, of a table that it calls `t`; `$1` is the tenant, `$2` the ids.
    pub rows: &'static str,
    /// Columns with encoded messages: name of the column, full name of the message. Other binary columns are left out.
    pub messages: &'static [(&'static str, &'static str)],
}

/// A kind of record that grows old.
#[derive(Debug, Clone, Copy)]
pub struct Aged {
    /// Name of the kind, as a RetentionPolicy says it.
    pub records: &'static str,
    /// Deletes rows and returns their ids; `$1` is the tenant, `$2` the moment before which they were over, `$3` how many
    /// go at most.
    pub rows: &'static str,
    /// What goes with them, as in [`run`].
    pub with: &'static [(&'static str, &'static str)],
}

/// The rows of all kinds, readable. Kinds without rows are left out.
///
/// # Errors
/// When the database is away.
pub async fn collect(
    tx: &mut Tx,
    kinds: &[Kept],
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<Vec<Section>, Error> {
    let mut sections = Vec::new();
    for kind in kinds {
        let mut rows: Vec<Value> = sqlx::query_scalar(kind.rows)
            .bind(tenant.as_str())
            .bind(ids)
            .fetch_all(tx.conn())
            .await?;
        // The table that is shown is called `t`.
        let shown = |column: &&Column| kind.rows.contains(&format!("FROM {} t ", column.table));
        let columns: Vec<Column> = tx.db().sealed().iter().filter(shown).copied().collect();
        opened::open_rows(tx, &columns, tenant, &mut rows).await?;
        if !rows.is_empty() {
            sections.push(Section {
                records: kind.records,
                rows: rows
                    .into_iter()
                    .map(|row| readable_row(row, kind.messages))
                    .collect(),
            });
        }
    }
    Ok(sections)
}

/// Decodes messages; drops what else is binary, which PostgreSQL writes as `\x…`, and the tenant's name.
fn readable_row(mut row: Value, messages: &[(&str, &str)]) -> Value {
    if let Value::Object(columns) = &mut row {
        columns.remove("tenant");
        for (column, message) in messages {
            let decoded = columns
                .get(*column)
                .and_then(Value::as_str)
                .and_then(|text| hex::decode(text.strip_prefix("\\x")?).ok())
                .and_then(|bytes| readable(message, &bytes));
            columns.insert((*column).to_owned(), decoded.unwrap_or_default());
        }
        columns.retain(|_, value| !(value.is_null() || value.as_str().is_some_and(|t| t.starts_with("\\x"))));
    }
    row
}

/// Runs statements with `$1` the tenant and `$2` the ids, and counts the rows of each kind.
///
/// # Errors
/// When the database is away.
pub async fn run(
    conn: &mut PgConnection,
    statements: &[(&'static str, &'static str)],
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<Vec<(&'static str, u64)>, Error> {
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    for (records, statement) in statements {
        let done = sqlx::query(AssertSqlSafe(*statement))
            .bind(tenant.as_str())
            .bind(ids)
            .execute(&mut *conn)
            .await?;
        match counts.iter_mut().find(|(known, _)| known == records) {
            Some((_, count)) => *count += done.rows_affected(),
            None => counts.push((records, done.rows_affected())),
        }
    }
    counts.retain(|(_, count)| *count > 0);
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_reads_without_keys_hashes_and_nothing() {
        let handle = trama_proto::common::v1::Handle {
            kind: "email".into(),
            value: "anna@example.com".into(),
            trust: 0,
        };
        let row = json!({
            "tenant": "acme", "handle": format!("\\x{}", hex::encode(handle.encode_to_vec())),
            "code_hash": "\\x00ff", "note": null, "level": 2,
        });
        let read = readable_row(row, &[("handle", "trama.common.v1.Handle")]);
        assert_eq!(read["handle"]["value"], "anna@example.com");
        assert_eq!(read.as_object().map(|o| o.len()), Some(2));
    }
}
