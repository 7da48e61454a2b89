//! Receipts, and those that came too early.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::{Error, Tx};
use trama_proto::ids::TenantId;
use uuid::Uuid;

use super::messages::{COLUMNS, Claimed, MessageRow, opened};

/// A receipt of a message whose provider id we do not know yet.
#[derive(Debug, Clone, FromRow)]
pub struct EarlyReceipt {
    /// Whose.
    pub tenant: String,
    /// On which channel.
    pub channel: String,
    /// The provider's id.
    pub provider_message_id: String,
    /// `ingest.v1.ReceiptStatus`.
    pub status: i32,
    /// Ours, where the provider gives it back.
    pub message_id: Option<Uuid>,
    /// The provider's words.
    pub error: String,
    /// By the provider's clock.
    pub occurred_at: DateTime<Utc>,
}

/// Serialises whoever works on the same provider ids: a receipt and the record of its send must see each other.
/// Taken before any row lock, in one order, so that nobody waits in a circle.
pub async fn lock_provider_ids(
    conn: &mut PgConnection,
    ids: &[(&TenantId, &str, &str)],
) -> Result<(), Error> {
    let keys: Vec<String> = ids
        .iter()
        .map(|(tenant, channel, id)| format!("{tenant}/{channel}/{id}"))
        .collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(7707, bucket)
         FROM (SELECT DISTINCT hashtext(key) & 1023 AS bucket FROM unnest($1::text[]) AS given (key) ORDER BY bucket) AS buckets",
    )
    .bind(keys)
    .execute(conn)
    .await?;
    Ok(())
}

/// Messages by the provider's ids or by ours, locked.
pub async fn rows_of(
    tx: &mut Tx,
    by_provider: &[(&str, &str)],
    by_message: &[(&str, Uuid)],
) -> Result<Vec<MessageRow>, Error> {
    let (tenants, provider_ids): (Vec<&str>, Vec<&str>) = by_provider.iter().copied().unzip();
    let (message_tenants, message_ids): (Vec<&str>, Vec<Uuid>) = by_message.iter().copied().unzip();
    let query = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM messages
         WHERE (tenant, message_id) IN (
             SELECT found.tenant, found.message_id FROM unnest($1::text[], $2::text[]) AS given (tenant, id)
             JOIN messages found ON found.tenant = given.tenant AND found.provider_message_id = given.id AND given.id <> ''
             UNION SELECT * FROM unnest($3::text[], $4::uuid[]))
         ORDER BY tenant, message_id FOR UPDATE"
    ));
    let rows = sqlx::query_as(query)
        .bind(tenants)
        .bind(provider_ids)
        .bind(message_tenants)
        .bind(message_ids)
        .fetch_all(tx.conn())
        .await?;
    opened(tx, rows).await
}

/// Writes where messages stand now; the rows are locked.
pub async fn save_standings(
    conn: &mut PgConnection,
    rows: &[&MessageRow],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = rows
        .iter()
        .map(|r| (r.tenant.as_str(), r.message_id.uuid()))
        .unzip();
    let standings: Vec<&str> = rows.iter().map(|r| r.standing.as_str()).collect();
    sqlx::query(
        "UPDATE messages SET status = row.status, version = version + 1, updated_at = $4
         FROM unnest($1::text[], $2::uuid[], $3::text[]) AS row (tenant, message_id, status)
         WHERE messages.tenant = row.tenant AND messages.message_id = row.message_id",
    )
    .bind(tenants)
    .bind(ids)
    .bind(standings)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps receipts aside until their message is known.
pub async fn keep_early(
    conn: &mut PgConnection,
    receipts: &[EarlyReceipt],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if receipts.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = receipts.iter().map(|r| r.tenant.as_str()).collect();
    let channels: Vec<&str> = receipts.iter().map(|r| r.channel.as_str()).collect();
    let ids: Vec<&str> = receipts.iter().map(|r| r.provider_message_id.as_str()).collect();
    let statuses: Vec<i32> = receipts.iter().map(|r| r.status).collect();
    let messages: Vec<Option<Uuid>> = receipts.iter().map(|r| r.message_id).collect();
    let errors: Vec<&str> = receipts.iter().map(|r| r.error.as_str()).collect();
    let times: Vec<DateTime<Utc>> = receipts.iter().map(|r| r.occurred_at).collect();
    sqlx::query(
        "INSERT INTO early_receipts (tenant, channel, provider_message_id, status, message_id, error, occurred_at, received_at)
         SELECT *, $8 FROM unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::uuid[], $6::text[], $7::timestamptz[])
         ON CONFLICT DO NOTHING",
    )
    .bind(tenants)
    .bind(channels)
    .bind(ids)
    .bind(statuses)
    .bind(messages)
    .bind(errors)
    .bind(times)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the early receipts of a message that is now known, in the order in which a message goes.
pub async fn take_early(
    conn: &mut PgConnection,
    tenant: &TenantId,
    channel: &str,
    provider_message_id: &str,
) -> Result<Vec<EarlyReceipt>, Error> {
    let mut taken: Vec<EarlyReceipt> = sqlx::query_as(
        "DELETE FROM early_receipts WHERE tenant = $1 AND channel = $2 AND provider_message_id = $3
         RETURNING tenant, channel, provider_message_id, status, message_id, error, occurred_at",
    )
    .bind(tenant.as_str())
    .bind(channel)
    .bind(provider_message_id)
    .fetch_all(conn)
    .await?;
    taken.sort_by_key(|r| r.status);
    Ok(taken)
}

/// Early receipts that name our own message ids.
pub async fn early_of_messages(
    conn: &mut PgConnection,
    messages: &[&Claimed],
) -> Result<Vec<EarlyReceipt>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = messages
        .iter()
        .map(|m| (m.tenant.as_str(), m.message_id.uuid()))
        .unzip();
    Ok(sqlx::query_as(
        "SELECT e.tenant, e.channel, e.provider_message_id, e.status, e.message_id, e.error, e.occurred_at
         FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, message_id)
         JOIN early_receipts e ON e.tenant = wanted.tenant AND e.message_id = wanted.message_id
         ORDER BY e.status",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(conn)
    .await?)
}

/// Forgets early receipts whose message never came: somebody else sent it over the same account.
pub async fn forget_early(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, Error> {
    Ok(sqlx::query("DELETE FROM early_receipts WHERE received_at < $1")
        .bind(before)
        .execute(conn)
        .await?
        .rows_affected())
}
