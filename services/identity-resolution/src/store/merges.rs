//! Merges, their undoing, and who is kept apart.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, MergeId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        customer::Profile,
        handle::HandleKey,
        merge::{MergeRecord, Restored},
    },
    error::broken_row,
};

/// Ids that became aliases of these customers earlier.
pub async fn aliases(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
) -> Result<HashMap<CustomerId, Vec<CustomerId>>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT c.merged_into, c.customer_id FROM customers c
         JOIN unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id) ON c.tenant = a.tenant AND c.merged_into = a.customer_id",
    )
    .bind(customers.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|(_, id)| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    let mut aliases: HashMap<CustomerId, Vec<CustomerId>> = HashMap::new();
    for (into, alias) in rows {
        aliases
            .entry(CustomerId::new(into))
            .or_default()
            .push(CustomerId::new(alias));
    }
    Ok(aliases)
}

/// Pairs among these customers that a person parted.
pub async fn apart(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
) -> Result<Vec<(CustomerId, CustomerId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT one, other FROM kept_apart WHERE tenant = $1 AND one = ANY($2) AND other = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(customers.iter().map(|c| c.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(a, b)| (CustomerId::new(a), CustomerId::new(b)))
        .collect())
}

/// A person joins what a person parted.
pub async fn no_longer_apart(
    conn: &mut PgConnection,
    tenant: &TenantId,
    one: CustomerId,
    other: CustomerId,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM kept_apart WHERE tenant = $1 AND one = $2 AND other = $3")
        .bind(tenant.as_str())
        .bind(one.min(other).uuid())
        .bind(one.max(other).uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// Saves merges in the order in which they happened: the records, the aliases, whose the handles are now.
pub async fn save(conn: &mut PgConnection, merges: &mut [(&TenantId, MergeRecord)]) -> Result<(), Error> {
    if merges.is_empty() {
        return Ok(());
    }
    let merged: Vec<(&TenantId, CustomerId)> = merges.iter().map(|(t, m)| (*t, m.merged)).collect();
    let mut aliases = aliases(conn, &merged).await?;
    let mut target: HashMap<CustomerId, CustomerId> = HashMap::new();
    for (_, merge) in merges.iter_mut() {
        merge.merged_aliases = aliases.remove(&merge.merged).unwrap_or_default();
        let to_survivor = aliases.entry(merge.survivor).or_default();
        to_survivor.push(merge.merged);
        to_survivor.extend(&merge.merged_aliases);
        // A chain within this batch is shortened: no alias leads to an alias.
        target
            .values_mut()
            .filter(|t| **t == merge.merged)
            .for_each(|t| *t = merge.survivor);
        target.insert(merge.merged, merge.survivor);
    }
    insert(conn, merges).await?;
    let tenants: Vec<&str> = merges.iter().map(|(t, _)| t.as_str()).collect();
    let sources: Vec<Uuid> = merges.iter().map(|(_, m)| m.merged.uuid()).collect();
    let targets: Vec<Uuid> = merges.iter().map(|(_, m)| target[&m.merged].uuid()).collect();
    sqlx::query(
        "UPDATE handles h SET customer_id = m.target FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS m (tenant, source, target)
         WHERE h.tenant = m.tenant AND h.customer_id = m.source",
    )
    .bind(&tenants)
    .bind(&sources)
    .bind(&targets)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE customers c SET merged_into = m.target, version = c.version + 1
         FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS m (tenant, source, target)
         WHERE c.tenant = m.tenant AND (c.customer_id = m.source OR c.merged_into = m.source)",
    )
    .bind(&tenants)
    .bind(&sources)
    .bind(&targets)
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut PgConnection, merges: &[(&TenantId, MergeRecord)]) -> Result<(), Error> {
    let keys = |keys: &[HandleKey]| Json(keys.iter().map(ToString::to_string).collect::<Vec<_>>());
    sqlx::query(
        "INSERT INTO merges (tenant, merge_id, survivor, merged, decided_by, reason, survivor_handles, merged_handles, merged_aliases,
             survivor_before, survivor_after, merged_at)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[],
             $9::jsonb[], $10::jsonb[], $11::jsonb[], $12::timestamptz[])",
    )
    .bind(merges.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.id.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.survivor.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.merged.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.decided_by.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.reason.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| keys(&m.survivor_handles)).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| keys(&m.merged_handles)).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| Json(m.merged_aliases.clone())).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| Json(m.survivor_before.clone())).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| Json(m.survivor_after.clone())).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// A merge, unless it was undone; locked until the transaction ends.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: MergeId,
) -> Result<Option<(MergeRecord, bool)>, Error> {
    let row = sqlx::query(
        "SELECT merge_id, survivor, merged, decided_by, reason, survivor_handles, merged_handles, merged_aliases, survivor_before,
             survivor_after, merged_at, undone_at IS NOT NULL AS undone
         FROM merges WHERE tenant = $1 AND merge_id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((record(&row)?, row.try_get("undone")?)))
        .transpose()
}

/// Merges into a customer, or into one of their aliases, that can be undone; newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customer: CustomerId,
) -> Result<Vec<MergeRecord>, Error> {
    let rows = sqlx::query(
        "SELECT merge_id, survivor, merged, decided_by, reason, survivor_handles, merged_handles, merged_aliases, survivor_before,
             survivor_after, merged_at
         FROM merges
         WHERE tenant = $1 AND undone_at IS NULL AND survivor IN (
             SELECT customer_id FROM customers WHERE tenant = $1 AND (customer_id = $2 OR merged_into = $2))
         ORDER BY merged_at DESC, merge_id DESC LIMIT 100",
    )
    .bind(tenant.as_str())
    .bind(customer.uuid())
    .fetch_all(conn)
    .await?;
    rows.iter().map(record).collect()
}

fn record(row: &PgRow) -> Result<MergeRecord, Error> {
    let id = MergeId::new(row.try_get("merge_id")?);
    let keys = |column| -> Result<Vec<HandleKey>, Error> {
        let texts: Json<Vec<String>> = row.try_get(column)?;
        texts
            .0
            .iter()
            .map(|t| HandleKey::stored(t).ok_or_else(|| broken_row("merges", id)))
            .collect()
    };
    Ok(MergeRecord {
        id,
        survivor: CustomerId::new(row.try_get("survivor")?),
        merged: CustomerId::new(row.try_get("merged")?),
        decided_by: row.try_get("decided_by")?,
        reason: row.try_get("reason")?,
        survivor_handles: keys("survivor_handles")?,
        merged_handles: keys("merged_handles")?,
        merged_aliases: row.try_get::<Json<Vec<CustomerId>>, _>("merged_aliases")?.0,
        survivor_before: row.try_get::<Json<Profile>, _>("survivor_before")?.0,
        survivor_after: row.try_get::<Json<Profile>, _>("survivor_after")?.0,
        at: row.try_get("merged_at")?,
    })
}

/// What is undone, by whom.
#[derive(Debug)]
pub struct Undo<'a> {
    /// The merge.
    pub record: &'a MergeRecord,
    /// Who holds what was merged now: the survivor, or who they were merged into since.
    pub holder: CustomerId,
    /// What goes back.
    pub restored: &'a Restored,
    /// Agent id.
    pub by: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// Gives the restored customer back what is theirs and notes that a person parted the two.
/// Returns the interactions that are theirs.
pub async fn undo(
    conn: &mut PgConnection,
    tenant: &TenantId,
    undo: &Undo<'_>,
) -> Result<Vec<InteractionId>, Error> {
    let (record, tenant) = (undo.record, tenant.as_str());
    sqlx::query("UPDATE merges SET undone_at = $3, undone_by = $4 WHERE tenant = $1 AND merge_id = $2")
        .bind(tenant)
        .bind(record.id.uuid())
        .bind(undo.at)
        .bind(undo.by)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "UPDATE customers SET merged_into = CASE WHEN customer_id = $2 THEN NULL ELSE $2 END, version = version + 1
         WHERE tenant = $1 AND merged_into = $3 AND (customer_id = $2 OR customer_id = ANY($4))",
    )
    .bind(tenant)
    .bind(record.merged.uuid())
    .bind(undo.holder.uuid())
    .bind(record.merged_aliases.iter().map(|a| a.uuid()).collect::<Vec<_>>())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "UPDATE handles SET customer_id = $4 WHERE tenant = $1 AND customer_id = $5
         AND (kind, value) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
    )
    .bind(tenant)
    .bind(
        undo.restored
            .handles
            .iter()
            .map(|k| k.kind.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        undo.restored
            .handles
            .iter()
            .map(|k| k.value.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(record.merged.uuid())
    .bind(undo.holder.uuid())
    .execute(&mut *conn)
    .await?;
    // Proofs given since the merge by one of these handles prove the restored customer.
    sqlx::query(
        "WITH given AS (
             DELETE FROM verifications WHERE tenant = $1 AND customer_id = $2 AND verified_at >= $4 AND evidence = ANY($5) RETURNING *)
         INSERT INTO verifications AS v (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at)
         SELECT tenant, $3, method, evidence, level, verified_by, verified_at, expires_at FROM given
         ON CONFLICT (tenant, customer_id, method, evidence) DO UPDATE
         SET level = excluded.level, verified_by = excluded.verified_by, verified_at = excluded.verified_at,
             expires_at = GREATEST(v.expires_at, excluded.expires_at)",
    )
    .bind(tenant)
    .bind(undo.holder.uuid())
    .bind(record.merged.uuid())
    .bind(record.at)
    .bind(&undo.restored.evidence)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO kept_apart (tenant, one, other, decided_by, decided_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant, one, other) DO NOTHING",
    )
    .bind(tenant)
    .bind(record.merged.min(undo.holder).uuid())
    .bind(record.merged.max(undo.holder).uuid())
    .bind(undo.by)
    .bind(undo.at)
    .execute(&mut *conn)
    .await?;
    let interactions: Vec<Uuid> = sqlx::query_scalar(
        "SELECT interaction_id FROM interaction_owner WHERE tenant = $1 AND evidence = ANY($2) ORDER BY interaction_id",
    )
    .bind(tenant)
    .bind(&undo.restored.evidence)
    .fetch_all(conn)
    .await?;
    Ok(interactions.into_iter().map(InteractionId::new).collect())
}
