//! Who became whom, and whose is what was asked for before ([ADR 33](../../../docs/adr/0033-who-became-whom.md)).
//!
//! A service that keeps ids of customers has a table `customer_merges` in its own schema. What is asked of that table is the same in
//! each; what follows from the answer is the service's own.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, MergeId, TenantId};
use uuid::Uuid;

/// The customers that ids stand for now: merges are followed to the survivor.
///
/// # Errors
/// When the database is away.
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

/// Remembers a merge. `false` when it is known, or was undone before it came: then nothing changes.
///
/// # Errors
/// When the database is away.
pub async fn note_merge(
    conn: &mut PgConnection,
    tenant: &TenantId,
    merge: MergeId,
    survivor: CustomerId,
    merged: CustomerId,
) -> Result<bool, Error> {
    let new = sqlx::query(
        "INSERT INTO customer_merges (tenant, merge_id, survivor_id, merged_id, undone) VALUES ($1, $2, $3, $4, false)
         ON CONFLICT (tenant, merge_id) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(merge.uuid())
    .bind(survivor.uuid())
    .bind(merged.uuid())
    .execute(conn)
    .await?
    .rows_affected();
    Ok(new > 0)
}

/// A merge that was undone.
#[derive(Debug)]
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
#[derive(Debug)]
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
///
/// # Errors
/// When the database is away.
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

/// Two who are no longer one.
#[derive(Debug, Clone, Copy)]
pub struct Undone {
    /// Who had remained when the two became one.
    pub survivor: CustomerId,
    /// Who the restored customer is by now: they may have become part of somebody else meanwhile.
    pub now: CustomerId,
}

/// Writes a split down, for what comes late. Nothing when it is known already.
///
/// # Errors
/// When the database is away.
pub async fn undo(
    conn: &mut PgConnection,
    tenant: &TenantId,
    split: &Split<'_>,
) -> Result<Option<Undone>, Error> {
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
    .fetch_optional(&mut *conn)
    .await?;
    let Some(survivor) = survivor else {
        return Ok(None);
    };
    let restored = [(tenant, split.restored)];
    let now = resolve(conn, &restored).await?.into_values().next();
    Ok(Some(Undone {
        survivor: CustomerId::new(survivor),
        now: now.unwrap_or(split.restored),
    }))
}

/// Which of these, given with the words that they follow, go with words that a split gives back, whoever they were asked under. A
/// split of what was the restored customer's own may have been heard of before this one.
///
/// # Errors
/// When the database is away.
pub async fn of_restored(
    conn: &mut PgConnection,
    tenant: &TenantId,
    split: &Split<'_>,
    found: &[(Uuid, Uuid)],
) -> Result<Vec<Uuid>, Error> {
    let traces: Vec<Trace<'_>> = found
        .iter()
        .map(|(_, interaction)| Trace {
            tenant,
            asked: split.restored,
            interaction: Some(*interaction),
            at: split.at,
        })
        .collect();
    let theirs = found.iter().zip(whose(conn, &traces).await?);
    Ok(theirs
        .filter(|(_, whose)| *whose == Whose::Asked)
        .map(|((id, _), _)| *id)
        .collect())
}
