//! Who became whom.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, MergeId, TenantId};
use uuid::Uuid;

/// The customers that ids stand for now: merges are followed to the survivor.
pub async fn resolve(
    conn: &mut PgConnection,
    wanted: &[(&TenantId, CustomerId)],
) -> Result<HashMap<(String, Uuid), CustomerId>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<Uuid>) = wanted.iter().map(|(t, c)| (t.as_str(), c.uuid())).unzip();
    // UNION, not UNION ALL: a circle would end.
    let rows: Vec<(String, Uuid, Uuid)> = sqlx::query_as(
        "WITH RECURSIVE chain AS (
             SELECT tenant, id AS asked, id AS now FROM unnest($1::text[], $2::uuid[]) AS given (tenant, id)
             UNION
             SELECT chain.tenant, chain.asked, m.survivor_id FROM chain
             JOIN customer_merges m ON m.tenant = chain.tenant AND m.merged_id = chain.now AND NOT m.undone)
         SELECT tenant, asked, now FROM chain
         WHERE NOT EXISTS (SELECT 1 FROM customer_merges m
             WHERE m.tenant = chain.tenant AND m.merged_id = chain.now AND NOT m.undone)",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, asked, now)| ((tenant, asked), CustomerId::new(now)))
        .collect())
}

/// Remembers a merge and repoints. A merge that is known, or was undone before it came, changes nothing.
pub async fn save_merge(
    conn: &mut PgConnection,
    tenant: &TenantId,
    merge: MergeId,
    survivor: CustomerId,
    merged: CustomerId,
) -> Result<(), Error> {
    let new = sqlx::query(
        "INSERT INTO customer_merges (tenant, merge_id, survivor_id, merged_id, undone) VALUES ($1, $2, $3, $4, false)
         ON CONFLICT (tenant, merge_id) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(merge.uuid())
    .bind(survivor.uuid())
    .bind(merged.uuid())
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if new > 0 {
        sqlx::query("UPDATE messages SET customer_id = $3 WHERE tenant = $1 AND customer_id = $2")
            .bind(tenant.as_str())
            .bind(merged.uuid())
            .bind(survivor.uuid())
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// A merge that was undone.
pub struct Split<'a> {
    /// Which.
    pub merge: MergeId,
    /// Who held both until now.
    pub survivor: CustomerId,
    /// Who is themselves again.
    pub restored: CustomerId,
    /// Their own words.
    pub interactions: &'a [Uuid],
    /// When they had become one, if that is known.
    pub merged_at: Option<DateTime<Utc>>,
    /// When they were parted.
    pub at: DateTime<Utc>,
}

/// Something that was asked for, as far as it says whose it is.
pub struct Trace<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// Under which customer.
    pub asked: CustomerId,
    /// Which word of a customer it follows, if any.
    pub interaction: Option<Uuid>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What splits say of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of who it was asked under.
    Asked,
    /// Of somebody who was given back meanwhile, by the word it follows.
    Restored(CustomerId),
    /// It was asked while two were one, and follows nobody's word.
    Undecided,
}

/// What the splits so far say of each of these, in their order: what was asked before may come after.
pub async fn whose(conn: &mut PgConnection, asked: &[Trace<'_>]) -> Result<Vec<Whose>, Error> {
    // Depth, as a restored customer's own part may have been given back in turn.
    let rows: Vec<(Option<Uuid>, bool)> = sqlx::query_as(
        "WITH RECURSIVE given AS (
             SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::timestamptz[]) WITH ORDINALITY
                 AS row (tenant, asked, interaction, at, position)),
         owner AS (
             SELECT position, tenant, interaction, asked AS id, 0 AS depth FROM given WHERE interaction IS NOT NULL
             UNION ALL
             SELECT o.position, o.tenant, o.interaction, m.merged_id, o.depth + 1 FROM owner o
             JOIN customer_merges m ON m.tenant = o.tenant AND m.undone AND o.id IN (m.survivor_id, m.holder_id)
                 AND o.interaction = ANY(m.restored_interactions)
             WHERE o.depth < 16),
         last AS (
             SELECT DISTINCT ON (position) position, id FROM owner WHERE depth > 0 ORDER BY position, depth DESC)
         SELECT last.id, given.interaction IS NULL AND EXISTS (SELECT 1 FROM customer_merges m
             WHERE m.tenant = given.tenant AND m.undone AND given.asked IN (m.survivor_id, m.holder_id)
               AND given.at <= m.split_at AND (m.merged_at IS NULL OR m.merged_at <= given.at))
         FROM given LEFT JOIN last USING (position) ORDER BY position",
    )
    .bind(asked.iter().map(|a| a.tenant.as_str()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.asked.uuid()).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.interaction).collect::<Vec<_>>())
    .bind(asked.iter().map(|a| a.at).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| match row {
            (Some(owner), _) => Whose::Restored(CustomerId::new(owner)),
            (None, true) => Whose::Undecided,
            (None, false) => Whose::Asked,
        })
        .collect())
}

/// Writes a split down, for what comes late. Returns who had remained when the two became one, or nothing when it is
/// known already.
async fn undo(
    conn: &mut PgConnection,
    tenant: &TenantId,
    split: &Split<'_>,
) -> Result<Option<CustomerId>, Error> {
    let survivor: Option<Uuid> = sqlx::query_scalar(
        "INSERT INTO customer_merges (tenant, merge_id, survivor_id, merged_id, undone, holder_id, restored_interactions,
             merged_at, split_at)
         VALUES ($1, $2, $3, $4, true, $3, $5, $6, $7)
         ON CONFLICT (tenant, merge_id) DO UPDATE SET undone = true, holder_id = excluded.holder_id,
             restored_interactions = excluded.restored_interactions, merged_at = excluded.merged_at,
             split_at = excluded.split_at
         WHERE NOT customer_merges.undone
         RETURNING survivor_id",
    )
    .bind(tenant.as_str())
    .bind(split.merge.uuid())
    .bind(split.survivor.uuid())
    .bind(split.restored.uuid())
    .bind(split.interactions)
    .bind(split.merged_at)
    .bind(split.at)
    .fetch_optional(conn)
    .await?;
    Ok(survivor.map(CustomerId::new))
}

/// Undoes a merge: what follows the restored customer's words, and what was asked for under them or under one merged
/// into them, is theirs. What nobody can tell is marked, and the sender ends it; one that has it in hand finds another
/// version.
pub async fn save_split(conn: &mut PgConnection, tenant: &TenantId, split: &Split<'_>) -> Result<(), Error> {
    let Some(survivor) = undo(conn, tenant, split).await? else {
        return Ok(());
    };
    // They may have become part of somebody else meanwhile.
    let restored = [(tenant, split.restored)];
    let now = resolve(conn, &restored)
        .await?
        .into_values()
        .next()
        .unwrap_or(split.restored);
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
    let traces: Vec<Trace<'_>> = found
        .iter()
        .map(|(_, interaction)| Trace {
            tenant,
            asked: split.restored,
            interaction: Some(*interaction),
            at: split.at,
        })
        .collect();
    // A split of what was theirs may have been heard of before this one.
    let theirs: Vec<Uuid> = found
        .iter()
        .zip(whose(conn, &traces).await?)
        .filter(|(_, whose)| *whose == Whose::Asked)
        .map(|((id, _), _)| *id)
        .collect();
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
