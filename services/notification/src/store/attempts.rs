//! Tries to send, as they are kept.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{MessageId, TenantId};
use uuid::Uuid;

use super::Claimed;

/// One try to send.
#[derive(Debug, Clone, FromRow)]
pub struct AttemptRow {
    /// Of which message.
    pub message_id: Uuid,
    /// Number from 1.
    pub number: i32,
    /// On which channel.
    pub channel: String,
    /// `sending`, `accepted`, `refused` or `unknown`.
    pub state: String,
    /// What went wrong.
    pub error: String,
    /// The provider's id, when it took it.
    pub provider_message_id: String,
    /// When.
    pub started_at: DateTime<Utc>,
}

/// All tries of a message, in order.
pub async fn attempts_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: MessageId,
) -> Result<Vec<AttemptRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT message_id, number, channel, state, error, provider_message_id, started_at
         FROM attempts WHERE tenant = $1 AND message_id = $2 ORDER BY number",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .fetch_all(conn)
    .await?)
}

/// All tries of several messages, oldest first.
pub async fn last_attempts(conn: &mut PgConnection, messages: &[&Claimed]) -> Result<Vec<AttemptRow>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = messages
        .iter()
        .map(|m| (m.tenant.as_str(), m.message_id.uuid()))
        .unzip();
    Ok(sqlx::query_as(
        "SELECT a.message_id, a.number, a.channel, a.state, a.error, a.provider_message_id, a.started_at
         FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, message_id)
         JOIN attempts a ON a.tenant = wanted.tenant AND a.message_id = wanted.message_id
         ORDER BY a.number",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(conn)
    .await?)
}

/// Says how a try ended.
pub async fn close_attempt(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: MessageId,
    number: i32,
    state: &str,
    error: &str,
    provider_message_id: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE attempts SET state = $4, error = $5, provider_message_id = $6
         WHERE tenant = $1 AND message_id = $2 AND number = $3",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .bind(number)
    .bind(state)
    .bind(error)
    .bind(provider_message_id)
    .execute(conn)
    .await?;
    Ok(())
}
