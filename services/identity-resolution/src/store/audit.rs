//! Who changed what: append-only, and gone when old enough.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::{audit::v1::AuditEntry, ids::TenantId};
use uuid::Uuid;

/// A row to keep.
#[derive(Debug)]
pub struct Line {
    /// Whose.
    pub tenant: TenantId,
    /// When.
    pub at: DateTime<Utc>,
    /// Names it.
    pub id: Uuid,
    /// What is said.
    pub entry: AuditEntry,
}

/// Between ids that share a text on their way to the database; no id has it.
const BETWEEN: &str = "\u{1f}";

/// Keeps lines; one that is there already stays as it is.
pub async fn keep(conn: &mut PgConnection, lines: &[Line]) -> Result<(), Error> {
    let objects = |line: &Line| {
        let ids: Vec<&str> = line.entry.objects.iter().map(|o| o.id.as_str()).collect();
        ids.join(BETWEEN)
    };
    sqlx::query(
        "INSERT INTO audit_log (tenant, at, entry_id, subject, credential_id, method, outcome, object_ids, entry)
         SELECT tenant, at, entry_id, subject, credential_id, method, outcome, string_to_array(objects, chr(31)), entry
         FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::integer[],
                     $8::text[], $9::bytea[])
              AS line (tenant, at, entry_id, subject, credential_id, method, outcome, objects, entry)
         ON CONFLICT DO NOTHING",
    )
    .bind(lines.iter().map(|l| l.tenant.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.at).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.id).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.entry.subject.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.entry.credential_id.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.entry.method.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.entry.outcome).collect::<Vec<_>>())
    .bind(lines.iter().map(objects).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.entry.encode_to_vec()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// What is looked for; what is empty does not narrow anything down.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// Who.
    pub subject: &'a str,
    /// With which credential.
    pub credential_id: &'a str,
    /// A method, or its beginning up to a `/`.
    pub method: &'a str,
    /// About what.
    pub object_id: &'a str,
    /// With what outcome.
    pub outcome: i32,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

/// A page of lines, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    wanted: &Wanted<'_>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Line>, Error> {
    let (before_at, before_id) = before.unzip();
    let rows = sqlx::query(
        "SELECT at, entry_id, entry FROM audit_log
         WHERE tenant = $1 AND ($2 = '' OR subject = $2) AND ($3 = '' OR credential_id = $3)
           AND ($4 = '' OR method = $4 OR (right($4, 1) = '/' AND starts_with(method, $4)))
           AND ($5 = '' OR object_ids @> ARRAY[$5]) AND ($6 = 0 OR outcome = $6)
           AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
           AND ($9::timestamptz IS NULL OR (at, entry_id) < ($9, $10::uuid))
         ORDER BY at DESC, entry_id DESC LIMIT $11",
    )
    .bind(tenant.as_str())
    .bind(wanted.subject)
    .bind(wanted.credential_id)
    .bind(wanted.method)
    .bind(wanted.object_id)
    .bind(wanted.outcome)
    .bind(wanted.from)
    .bind(wanted.until)
    .bind(before_at)
    .bind(before_id)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Line {
                tenant: tenant.clone(),
                at: row.try_get("at")?,
                id: row.try_get("entry_id")?,
                entry: AuditEntry::decode(row.try_get::<&[u8], _>("entry")?)?,
            })
        })
        .collect()
}

/// Removes what is older than kept, at most so many lines at once. Returns how many went.
pub async fn forget(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let gone = sqlx::query(
        "DELETE FROM audit_log WHERE tenant = $1 AND (at, entry_id) IN
             (SELECT at, entry_id FROM audit_log WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT $3)",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
