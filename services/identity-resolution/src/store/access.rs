//! Who read or changed whom: append-only, and gone when old enough.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

/// What somebody did.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// Who.
    pub subject: &'a str,
    /// `read`, `found`, `exported`, `changed`, `imported`.
    pub action: &'static str,
    /// What for, or which fields; never their values.
    pub detail: &'a str,
    /// From where.
    pub origin: &'a str,
}

/// Notes the same for some customers.
pub async fn note(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
    access: Access<'_>,
    (id, at): (Uuid, DateTime<Utc>),
) -> Result<(), Error> {
    if customers.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO access_log (tenant, customer_id, at, entry_id, subject, action, detail, origin)
         SELECT $1, customer_id, $3, $4, $5, $6, $7, $8 FROM unnest($2::uuid[]) AS c (customer_id)
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(customers.iter().map(|c| c.uuid()).collect::<Vec<_>>())
    .bind(at)
    .bind(id)
    .bind(access.subject)
    .bind(access.action)
    .bind(access.detail)
    .bind(access.origin)
    .execute(conn)
    .await?;
    Ok(())
}

/// A line as read.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Who.
    pub subject: String,
    /// Did what.
    pub action: String,
    /// What for.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Id.
    pub id: Uuid,
    /// To which row.
    pub origin: CustomerId,
    /// From where.
    pub from_where: String,
}

/// A page of lines about rows, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    rows: &[Uuid],
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Noted>, Error> {
    let (at, id) = before.unwrap_or((DateTime::<Utc>::MAX_UTC, Uuid::max()));
    let at = at.min(DateTime::from_timestamp(253_402_300_799, 0).unwrap_or(at));
    let found = sqlx::query(
        "SELECT customer_id, at, entry_id, subject, action, detail, origin FROM access_log
         WHERE tenant = $1 AND customer_id = ANY($2) AND (at, entry_id) < ($3, $4)
         ORDER BY at DESC, entry_id DESC LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(rows)
    .bind(at)
    .bind(id)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    found
        .iter()
        .map(|row| {
            Ok(Noted {
                subject: row.try_get("subject")?,
                action: row.try_get("action")?,
                detail: row.try_get("detail")?,
                at: row.try_get("at")?,
                id: row.try_get("entry_id")?,
                origin: CustomerId::new(row.try_get("customer_id")?),
                from_where: row.try_get("origin")?,
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
        "DELETE FROM access_log WHERE ctid IN (SELECT ctid FROM access_log WHERE tenant = $1 AND at < $2 LIMIT $3)",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
