//! What follows when customers become one, and two again.

use sqlx::PgConnection;
use trama_customers::{Split, Undone};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, MergeId, TenantId};
use uuid::Uuid;

/// Remembers a merge and repoints. A merge that is known, or was undone before it came, changes nothing.
pub async fn save_merge(
    conn: &mut PgConnection,
    tenant: &TenantId,
    merge: MergeId,
    survivor: CustomerId,
    merged: CustomerId,
) -> Result<(), Error> {
    if trama_customers::note_merge(conn, tenant, merge, survivor, merged).await? {
        sqlx::query("UPDATE messages SET customer_id = $3 WHERE tenant = $1 AND customer_id = $2")
            .bind(tenant.as_str())
            .bind(merged.uuid())
            .bind(survivor.uuid())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Undoes a merge: what follows the restored customer's words, and what was asked for under them or under one merged
/// into them, is theirs. What nobody can tell is marked, and the sender ends it; one that has it in hand finds another
/// version.
pub async fn save_split(conn: &mut PgConnection, tenant: &TenantId, split: &Split<'_>) -> Result<(), Error> {
    let Some(Undone { survivor, now }) = trama_customers::undo(conn, tenant, split).await? else {
        return Ok(());
    };
    sqlx::query(
        "WITH RECURSIVE theirs AS (
             SELECT $2::uuid AS id
             UNION
             SELECT m.merged_id FROM theirs JOIN customer_merges m
                 ON m.tenant = $1 AND m.survivor_id = theirs.id AND NOT m.undone)
         UPDATE messages SET customer_id = $3, version = version + 1
         WHERE tenant = $1 AND asked_customer_id IN (SELECT id FROM theirs)",
    )
    .bind(tenant.as_str())
    .bind(split.restored.uuid())
    .bind(now.uuid())
    .execute(&mut *conn)
    .await?;
    give_by_words(conn, tenant, split, now).await?;
    sqlx::query(
        "WITH RECURSIVE held AS (
             SELECT unnest($2::uuid[]) AS id
             UNION
             SELECT m.survivor_id FROM held JOIN customer_merges m
                 ON m.tenant = $1 AND m.merged_id = held.id AND NOT m.undone)
         UPDATE messages SET undecided = true, version = version + 1
         WHERE tenant = $1 AND status IN ('queued', 'sent') AND interaction_id IS NULL
           AND asked_customer_id IN (SELECT id FROM held) AND ($3::timestamptz IS NULL OR requested_at >= $3)",
    )
    .bind(tenant.as_str())
    .bind([survivor.uuid(), split.survivor.uuid()])
    .bind(split.merged_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// What follows words that went to the restored customer goes with them, whoever it was asked under.
async fn give_by_words(
    conn: &mut PgConnection,
    tenant: &TenantId,
    split: &Split<'_>,
    now: CustomerId,
) -> Result<(), Error> {
    let found: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT message_id, interaction_id FROM messages WHERE tenant = $1 AND interaction_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(split.interactions)
    .fetch_all(&mut *conn)
    .await?;
    let theirs = trama_customers::of_restored(conn, tenant, split, &found).await?;
    sqlx::query(
        "UPDATE messages SET customer_id = $3, asked_customer_id = $4, version = version + 1
         WHERE tenant = $1 AND message_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(theirs)
    .bind(now.uuid())
    .bind(split.restored.uuid())
    .execute(conn)
    .await?;
    Ok(())
}
