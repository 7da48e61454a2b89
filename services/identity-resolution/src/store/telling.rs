//! Changes that are to be told to the outside.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

/// A change.
#[derive(Debug, Clone)]
pub struct Change {
    /// Id of the event.
    pub id: Uuid,
    /// Whose data.
    pub tenant: TenantId,
    /// About whom.
    pub customer: CustomerId,
    /// What replaces what: a later change of the same kind is sent instead.
    pub kind: String,
    /// What is sent.
    pub body: Vec<u8>,
    /// Tries so far.
    pub attempts: i32,
}

/// Notes changes; the last of a customer and kind stays.
pub async fn put(conn: &mut PgConnection, changes: &[Change], now: DateTime<Utc>) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO told_changes (tenant, customer_id, kind, change_id, body, due_at, attempts)
         SELECT DISTINCT ON (tenant, customer_id, kind) tenant, customer_id, kind, change_id, body, $6, 0
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::bytea[]) WITH ORDINALITY
             AS c (tenant, customer_id, kind, change_id, body, position)
         ORDER BY tenant, customer_id, kind, position DESC
         ON CONFLICT (tenant, customer_id, kind) DO UPDATE
         SET change_id = excluded.change_id, body = excluded.body, due_at = excluded.due_at, attempts = 0",
    )
    .bind(changes.iter().map(|c| c.tenant.as_str()).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.customer.uuid()).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.kind.as_str()).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.id).collect::<Vec<_>>())
    .bind(changes.iter().map(|c| c.body.as_slice()).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes what is due and holds it until a moment.
pub async fn claim(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Change>, Error> {
    let rows = sqlx::query(
        "UPDATE told_changes SET due_at = $2, attempts = attempts + 1 WHERE (tenant, customer_id, kind) IN (
             SELECT tenant, customer_id, kind FROM told_changes WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING tenant, customer_id, kind, change_id, body, attempts",
    )
    .bind(now)
    .bind(until)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Change {
                id: row.try_get("change_id")?,
                tenant: row.try_get::<String, _>("tenant")?.parse()?,
                customer: CustomerId::new(row.try_get("customer_id")?),
                kind: row.try_get("kind")?,
                body: row.try_get("body")?,
                attempts: row.try_get("attempts")?,
            })
        })
        .collect()
}

/// It was taken. One that replaced it meanwhile stays.
pub async fn done(conn: &mut PgConnection, change: &Change) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM told_changes WHERE tenant = $1 AND customer_id = $2 AND kind = $3 AND change_id = $4",
    )
    .bind(change.tenant.as_str())
    .bind(change.customer.uuid())
    .bind(&change.kind)
    .bind(change.id)
    .execute(conn)
    .await?;
    Ok(())
}

/// It was not taken.
pub async fn later(conn: &mut PgConnection, change: &Change, due_at: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query(
        "UPDATE told_changes SET due_at = $5 WHERE tenant = $1 AND customer_id = $2 AND kind = $3 AND change_id = $4",
    )
    .bind(change.tenant.as_str())
    .bind(change.customer.uuid())
    .bind(&change.kind)
    .bind(change.id)
    .bind(due_at)
    .execute(conn)
    .await?;
    Ok(())
}
