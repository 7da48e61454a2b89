//! Who became whom.

use std::collections::HashMap;

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

/// Undoes a merge: what was asked for under the restored customer, or under one merged into it, is theirs again.
pub async fn save_split(
    conn: &mut PgConnection,
    tenant: &TenantId,
    merge: MergeId,
    survivor: CustomerId,
    restored: CustomerId,
) -> Result<(), Error> {
    let changed = sqlx::query(
        "INSERT INTO customer_merges (tenant, merge_id, survivor_id, merged_id, undone) VALUES ($1, $2, $3, $4, true)
         ON CONFLICT (tenant, merge_id) DO UPDATE SET undone = true WHERE NOT customer_merges.undone",
    )
    .bind(tenant.as_str())
    .bind(merge.uuid())
    .bind(survivor.uuid())
    .bind(restored.uuid())
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if changed > 0 {
        sqlx::query(
            "WITH RECURSIVE theirs AS (
                 SELECT $2::uuid AS id
                 UNION
                 SELECT m.merged_id FROM theirs JOIN customer_merges m
                     ON m.tenant = $1 AND m.survivor_id = theirs.id AND NOT m.undone)
             UPDATE messages SET customer_id = $2 WHERE tenant = $1 AND asked_customer_id IN (SELECT id FROM theirs)",
        )
        .bind(tenant.as_str())
        .bind(restored.uuid())
        .execute(conn)
        .await?;
    }
    Ok(())
}
