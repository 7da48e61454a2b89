//! What is held of a person, found by address: chats, interactions that wait for files, deliveries in quarantine.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::ids::TenantId;
use uuid::Uuid;

use super::{chat, media, quarantine};

/// What is sealed.
pub const SEALED: &[Column] = &[quarantine::DELIVERY, media::INTERACTION, media::MEDIA, chat::BODY];

/// Conversations after a place, in the order of their keys: channel and visitor.
pub async fn conversations_after(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: &(String, String),
    limit: i64,
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(
        "SELECT channel, visitor FROM chat_conversations WHERE tenant = $1 AND (channel, visitor) > ($2, $3)
         ORDER BY channel, visitor LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(&after.0)
    .bind(&after.1)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// The lines of a conversation.
pub async fn lines(
    tx: &mut Tx,
    tenant: &TenantId,
    (channel, visitor): &(String, String),
) -> Result<Vec<Value>, Error> {
    let mut lines: Vec<Value> = sqlx::query_scalar(
        "SELECT to_jsonb(t) - 'tenant' FROM chat_messages t WHERE tenant = $1 AND channel = $2 AND visitor = $3 ORDER BY seq",
    )
    .bind(tenant.as_str())
    .bind(channel)
    .bind(visitor)
    .fetch_all(tx.conn())
    .await?;
    for line in &mut lines {
        let place = format!("{channel}/{visitor}/{}", line["seq"]);
        let Some(Value::String(body)) = line.get_mut("body") else {
            continue;
        };
        tx.open(chat::BODY, [(tenant.as_str(), place, body)]).await?;
    }
    Ok(lines)
}

/// Deletes a conversation. Returns how many lines it had.
pub async fn delete_conversation(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (channel, visitor): &(String, String),
) -> Result<u64, Error> {
    let lines = sqlx::query("DELETE FROM chat_messages WHERE tenant = $1 AND channel = $2 AND visitor = $3")
        .bind(tenant.as_str())
        .bind(channel)
        .bind(visitor)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM chat_conversations WHERE tenant = $1 AND channel = $2 AND visitor = $3")
        .bind(tenant.as_str())
        .bind(channel)
        .bind(visitor)
        .execute(&mut *conn)
        .await?;
    Ok(lines.rows_affected())
}

/// Interactions that wait for files: id and encoded interaction.
pub async fn pending(tx: &mut Tx, tenant: &TenantId) -> Result<Vec<(Uuid, Vec<u8>)>, Error> {
    let mut rows: Vec<(Uuid, i32, Vec<u8>)> =
        sqlx::query_as("SELECT interaction_id, revision, interaction FROM pending_media WHERE tenant = $1")
            .bind(tenant.as_str())
            .fetch_all(tx.conn())
            .await?;
    let sealed = rows
        .iter_mut()
        .map(|(id, revision, bytes)| (tenant.as_str(), format!("{id}/{revision}"), bytes));
    tx.open(media::INTERACTION, sealed).await?;
    Ok(rows.into_iter().map(|(id, _, bytes)| (id, bytes)).collect())
}

/// Deletes interactions that wait for files; their timers find nothing.
pub async fn delete_pending(
    conn: &mut PgConnection,
    tenant: &TenantId,
    interactions: &[Uuid],
) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM pending_media WHERE tenant = $1 AND interaction_id = ANY($2)")
        .bind(tenant.as_str())
        .bind(interactions)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Deliveries in quarantine after a place, in the order of their ids: id and encoded delivery.
pub async fn quarantined_after(
    tx: &mut Tx,
    tenant: &TenantId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Vec<u8>)>, Error> {
    let mut rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT delivery_id, delivery FROM quarantine WHERE tenant = $1 AND delivery_id > $2 ORDER BY delivery_id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let sealed = rows.iter_mut().map(|(id, bytes)| (tenant.as_str(), *id, bytes));
    tx.open(quarantine::DELIVERY, sealed).await?;
    Ok(rows)
}

/// Deletes deliveries from quarantine.
pub async fn delete_quarantined(
    conn: &mut PgConnection,
    tenant: &TenantId,
    deliveries: &[Uuid],
) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM quarantine WHERE tenant = $1 AND delivery_id = ANY($2)")
        .bind(tenant.as_str())
        .bind(deliveries)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Deletes deliveries that came into quarantine before a moment.
pub async fn expire_quarantine(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "DELETE FROM quarantine WHERE tenant = $1 AND delivery_id IN
             (SELECT delivery_id FROM quarantine WHERE tenant = $1 AND received_at < $2 LIMIT $3)",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes conversations in which nobody has written since a moment.
pub async fn expire_chats(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let old: Vec<(String, String)> = sqlx::query_as(
        "SELECT channel, visitor FROM chat_conversations c WHERE tenant = $1 AND created_at < $2
             AND NOT EXISTS (SELECT 1 FROM chat_messages m WHERE m.tenant = c.tenant AND m.channel = c.channel
                 AND m.visitor = c.visitor AND m.created_at >= $2)
         LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    for conversation in &old {
        delete_conversation(conn, tenant, conversation).await?;
    }
    Ok(old.len() as u64)
}
