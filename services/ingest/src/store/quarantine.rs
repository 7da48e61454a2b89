//! Table `quarantine`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::ids::{DeliveryId, TenantId};
use uuid::Uuid;

/// A request as it came.
pub const DELIVERY: Column = Column::bytes("quarantine", "delivery", &[("delivery_id", "uuid")]);

/// A delivery that could not be understood, without its bytes.
#[derive(Debug, sqlx::FromRow)]
pub struct Row {
    /// Which.
    pub delivery_id: Uuid,
    /// Channel it came on.
    pub channel: String,
    /// Why.
    pub reason: String,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// Size of the body.
    pub size_bytes: i64,
}

/// One to put in.
#[derive(Debug)]
pub struct New {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub delivery_id: Uuid,
    /// Channel it came on.
    pub channel: String,
    /// Why.
    pub reason: String,
    /// The encoded delivery.
    pub delivery: Vec<u8>,
    /// Size of the body.
    pub size_bytes: i64,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// Puts deliveries in, or renews the reason of those that fail again.
///
/// # Errors
/// When the database is away.
pub async fn put(tx: &mut Tx, new: &[New]) -> Result<(), Error> {
    let mut deliveries: Vec<Vec<u8>> = new.iter().map(|n| n.delivery.clone()).collect();
    let places = new.iter().map(|n| (n.tenant.as_str(), n.delivery_id));
    tx.seal(DELIVERY, places, &mut deliveries).await?;
    sqlx::query(
        "INSERT INTO quarantine (tenant, delivery_id, channel, reason, delivery, size_bytes, received_at)
         SELECT DISTINCT ON (row.tenant, row.delivery_id) row.*
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::timestamptz[])
              AS row (tenant, delivery_id, channel, reason, delivery, size_bytes, received_at)
         ON CONFLICT (tenant, delivery_id) DO UPDATE SET reason = excluded.reason, redrive_id = NULL",
    )
    .bind(new.iter().map(|n| n.tenant.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.delivery_id).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.channel.as_str()).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.reason.as_str()).collect::<Vec<_>>())
    .bind(deliveries)
    .bind(new.iter().map(|n| n.size_bytes).collect::<Vec<_>>())
    .bind(new.iter().map(|n| n.received_at).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Newest first, older than `before`.
///
/// # Errors
/// When the database is away.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let (at, id) = before.unzip();
    Ok(sqlx::query_as(
        "SELECT delivery_id, channel, reason, received_at, size_bytes FROM quarantine
         WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (received_at, delivery_id) < ($2, $3::uuid))
         ORDER BY received_at DESC, delivery_id DESC LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(at)
    .bind(id)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Marks a delivery as on its way and returns its bytes.
///
/// # Errors
/// When the database is away.
pub async fn begin_redrive(
    tx: &mut Tx,
    tenant: &TenantId,
    id: DeliveryId,
    redrive_id: Uuid,
) -> Result<Option<Vec<u8>>, Error> {
    let mut found: Option<Vec<u8>> = sqlx::query_scalar(
        "UPDATE quarantine SET redrive_id = $3 WHERE tenant = $1 AND delivery_id = $2 RETURNING delivery",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .bind(redrive_id)
    .fetch_optional(tx.conn())
    .await?;
    let sealed = found.iter_mut().map(|bytes| (tenant.as_str(), id.uuid(), bytes));
    tx.open(DELIVERY, sealed).await?;
    Ok(found)
}

/// Takes a delivery out that is still on this way.
///
/// # Errors
/// When the database is away.
pub async fn end_redrive(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: DeliveryId,
    redrive_id: Uuid,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM quarantine WHERE tenant = $1 AND delivery_id = $2 AND redrive_id = $3")
        .bind(tenant.as_str())
        .bind(id.uuid())
        .bind(redrive_id)
        .execute(conn)
        .await?;
    Ok(())
}
