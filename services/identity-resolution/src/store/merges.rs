//! Merges, their undoing, and who is kept apart.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, MergeId, TenantId};
use uuid::Uuid;

use crate::domain::{
    handle::HandleKey,
    merge::{Likeness, MATCHING, MergeRecord},
};

/// Pairs among these customers that a person parted, under any of their ids; as the ids they have now.
pub async fn apart(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
) -> Result<Vec<(CustomerId, CustomerId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        // Where a person never parted anybody, nobody's aliases need be read.
        "WITH members AS (
             SELECT r.root, m.customer_id FROM unnest($2::uuid[]) AS r (root)
             CROSS JOIN LATERAL (
                 SELECT r.root AS customer_id
                 UNION ALL
                 (SELECT customer_id FROM customers WHERE tenant = $1 AND merged_into = r.root LIMIT 100000)) m
             WHERE EXISTS (SELECT FROM kept_apart WHERE tenant = $1))
         SELECT a.root, b.root FROM members a
         CROSS JOIN LATERAL (SELECT other FROM kept_apart WHERE tenant = $1 AND one = a.customer_id LIMIT 100000) k
         JOIN members b ON b.customer_id = k.other",
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

/// A person parts two: matching never joins them again by itself.
pub async fn keep_apart(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (one, other): (CustomerId, CustomerId),
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO kept_apart (tenant, one, other, decided_by, decided_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant, one, other) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(one.min(other).uuid())
    .bind(one.max(other).uuid())
    .bind(by)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// A person joins what a person parted.
pub async fn no_longer_apart(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ones: &[CustomerId],
    others: &[CustomerId],
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM kept_apart WHERE tenant = $1
         AND ((one = ANY($2) AND other = ANY($3)) OR (one = ANY($3) AND other = ANY($2)))",
    )
    .bind(tenant.as_str())
    .bind(ones.iter().map(|c| c.uuid()).collect::<Vec<_>>())
    .bind(others.iter().map(|c| c.uuid()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// How often matching merged into each of these customers: within the last day, and ever.
pub async fn by_matching(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
    now: DateTime<Utc>,
) -> Result<HashMap<CustomerId, (i64, i64)>, Error> {
    let rows: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "SELECT survivor, count(*) FILTER (WHERE merged_at > $3), count(*) FROM merges
         WHERE tenant = $1 AND survivor = ANY($2) AND undone_at IS NULL AND decided_by = $4 GROUP BY survivor",
    )
    .bind(tenant.as_str())
    .bind(customers.iter().map(|c| c.uuid()).collect::<Vec<_>>())
    .bind(now - Duration::days(1))
    .bind(MATCHING)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, day, ever)| (CustomerId::new(id), (day, ever)))
        .collect())
}

/// Whose alias each is after merges that happened in this order.
pub fn targets<'a>(merges: impl IntoIterator<Item = &'a MergeRecord>) -> HashMap<CustomerId, CustomerId> {
    let mut targets: HashMap<CustomerId, CustomerId> = HashMap::new();
    for merge in merges {
        // A chain within this batch is shortened: no alias leads to an alias.
        targets
            .values_mut()
            .filter(|t| **t == merge.merged)
            .for_each(|t| *t = merge.survivor);
        targets.insert(merge.merged, merge.survivor);
    }
    targets
}

/// Saves merges in the order in which they happened: the edges, and whose the ids are now. Nothing else moves. Rows that
/// are `new` say already whose alias they are.
pub async fn save(
    conn: &mut PgConnection,
    merges: &[(&TenantId, MergeRecord)],
    new: &HashSet<CustomerId>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if merges.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO merges (tenant, merge_id, survivor, merged, decided_by, reason, bits, evidence, merged_at, rests_on)
         SELECT tenant, merge_id, survivor, merged, decided_by, reason, bits, evidence, merged_at,
             NULLIF(string_to_array(rests_on, ' ')::bigint[], '{}')
         FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::float8[], $8::jsonb[],
             $9::timestamptz[], $10::text[])
             AS m (tenant, merge_id, survivor, merged, decided_by, reason, bits, evidence, merged_at, rests_on)",
    )
    .bind(merges.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.id.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.survivor.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.merged.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.decided_by.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|(_, m)| m.reason.as_str()).collect::<Vec<_>>())
    .bind(
        merges
            .iter()
            .map(|(_, m)| m.likeness.as_ref().map(|l| l.bits))
            .collect::<Vec<_>>(),
    )
    .bind(
        merges
            .iter()
            .map(|(_, m)| m.likeness.as_ref().map(Json))
            .collect::<Vec<_>>(),
    )
    .bind(merges.iter().map(|(_, m)| m.at).collect::<Vec<_>>())
    .bind(
        merges
            .iter()
            .map(|(_, m)| m.rests_on.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>(),
    )
    .execute(&mut *conn)
    .await?;
    let target = targets(merges.iter().map(|(_, merge)| merge));
    let known: Vec<_> = merges.iter().filter(|(_, m)| !new.contains(&m.merged)).collect();
    if known.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = known.iter().map(|(t, _)| t.as_str()).collect();
    let sources: Vec<Uuid> = known.iter().map(|(_, m)| m.merged.uuid()).collect();
    let targets: Vec<Uuid> = known.iter().map(|(_, m)| target[&m.merged].uuid()).collect();
    sqlx::query(
        "UPDATE customers c SET merged_into = m.target, version = c.version + 1,
             merged_at = CASE WHEN c.customer_id = m.source THEN $4 ELSE c.merged_at END
         FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS m (tenant, source, target)
         WHERE c.tenant = m.tenant AND (c.customer_id = m.source OR c.merged_into = m.source)",
    )
    .bind(&tenants)
    .bind(&sources)
    .bind(&targets)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    super::reviews::answered_by_merges(conn, &tenants, &targets, now).await
}

const COLUMNS: &str =
    "merge_id, survivor, merged, decided_by, reason, evidence, merged_at, undone_at, undone_by";

/// A merge as stored, with when and by whom it was undone.
pub type Stored = (MergeRecord, Option<(DateTime<Utc>, String)>);

/// A merge; locked until the transaction ends if it is to be undone.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: MergeId,
    to_undo: bool,
) -> Result<Option<Stored>, Error> {
    let lock = if to_undo { "FOR UPDATE" } else { "" };
    let statement = format!("SELECT {COLUMNS} FROM merges WHERE tenant = $1 AND merge_id = $2 {lock}");
    let row = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(conn)
        .await?;
    row.as_ref()
        .map(|row| {
            let undone_at: Option<DateTime<Utc>> = row.try_get("undone_at")?;
            let undone_by: Option<String> = row.try_get("undone_by")?;
            Ok((record(row)?, undone_at.zip(undone_by)))
        })
        .transpose()
}

/// Merges by matching that rest on handles which turned out to be several people's: tenant, survivor, merged, kind of handle.
pub async fn resting_on<'a>(
    conn: &mut PgConnection,
    shared: &'a [(TenantId, HandleKey)],
) -> Result<Vec<(&'a TenantId, CustomerId, CustomerId, &'a HandleKey)>, Error> {
    let rows: Vec<(i64, Uuid, Uuid)> = sqlx::query_as(
        "SELECT a.place, m.survivor, m.merged
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS a (tenant, kind, value, evidence, place)
         JOIN handles h ON h.tenant = a.tenant AND h.kind = a.kind AND h.value = a.value
         JOIN customers c ON c.tenant = a.tenant AND c.customer_id = h.customer_id
         CROSS JOIN LATERAL (
             SELECT COALESCE(c.merged_into, c.customer_id) AS customer_id
             UNION
             (SELECT customer_id FROM customers
              WHERE tenant = a.tenant AND merged_into = COALESCE(c.merged_into, c.customer_id) LIMIT 100000)) k
         JOIN merges m ON m.tenant = a.tenant AND m.survivor = k.customer_id AND m.undone_at IS NULL
             AND m.decided_by = $5 AND a.evidence = ANY(m.rests_on)",
    )
    .bind(shared.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(shared.iter().map(|(_, k)| k.kind.as_str()).collect::<Vec<_>>())
    .bind(shared.iter().map(|(_, k)| k.value.as_str()).collect::<Vec<_>>())
    .bind(shared.iter().map(|(_, k)| k.evidence()).collect::<Vec<_>>())
    .bind(MATCHING)
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().filter_map(|(place, survivor, merged)| {
        let (tenant, key) = shared.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        Some((tenant, CustomerId::new(survivor), CustomerId::new(merged), key))
    });
    Ok(found.collect())
}

/// Who of these became an alias of whom by more than likeness.
pub async fn ties(
    conn: &mut PgConnection,
    members: &[(&TenantId, CustomerId)],
) -> Result<HashMap<(TenantId, CustomerId), CustomerId>, Error> {
    if members.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, Uuid, Uuid)> = sqlx::query_as(
        "SELECT a.tenant, m.merged, m.survivor FROM unnest($1::text[], $2::uuid[]) AS a (tenant, merged)
         JOIN merges m ON m.tenant = a.tenant AND m.merged = a.merged AND m.undone_at IS NULL AND m.bits IS NULL",
    )
    .bind(members.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(members.iter().map(|(_, id)| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(tenant, merged, survivor)| {
            Ok((
                (tenant.parse()?, CustomerId::new(merged)),
                CustomerId::new(survivor),
            ))
        })
        .collect()
}

/// The merges in force that made a customer of these ids, newest first.
pub async fn in_force(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &[CustomerId],
) -> Result<Vec<MergeRecord>, Error> {
    let statement = format!(
        "SELECT {COLUMNS} FROM merges WHERE tenant = $1 AND undone_at IS NULL AND survivor = ANY($2)
         ORDER BY merged_at DESC, merge_id DESC"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(tenant.as_str())
        .bind(members.iter().map(|m| m.uuid()).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    rows.iter().map(record).collect()
}

fn record(row: &PgRow) -> Result<MergeRecord, Error> {
    Ok(MergeRecord {
        id: MergeId::new(row.try_get("merge_id")?),
        survivor: CustomerId::new(row.try_get("survivor")?),
        merged: CustomerId::new(row.try_get("merged")?),
        decided_by: row.try_get("decided_by")?,
        reason: row.try_get("reason")?,
        likeness: row.try_get::<Option<Json<Likeness>>, _>("evidence")?.map(|j| j.0),
        rests_on: Vec::new(),
        at: row.try_get("merged_at")?,
    })
}

/// What is undone, by whom.
#[derive(Debug)]
pub struct Undo<'a> {
    /// The merge.
    pub record: &'a MergeRecord,
    /// Who is one customer with the merged side now.
    pub holder: CustomerId,
    /// The ids that go with the merged side.
    pub side: &'a BTreeSet<CustomerId>,
    /// Evidence of the handles that go with it.
    pub evidence: &'a [i64],
    /// Agent id, or matching.
    pub by: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

/// Takes the edge away. Returns the interactions that are the restored side's.
pub async fn undo(
    conn: &mut PgConnection,
    tenant: &TenantId,
    undo: &Undo<'_>,
) -> Result<Vec<InteractionId>, Error> {
    let (record, tenant) = (undo.record, tenant.as_str());
    let side: Vec<Uuid> = undo.side.iter().map(|id| id.uuid()).collect();
    sqlx::query("UPDATE merges SET undone_at = $3, undone_by = $4 WHERE tenant = $1 AND merge_id = $2")
        .bind(tenant)
        .bind(record.id.uuid())
        .bind(undo.at)
        .bind(undo.by)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "UPDATE customers SET version = version + 1,
             merged_into = CASE WHEN customer_id = $2 THEN NULL ELSE $2 END,
             merged_at = CASE WHEN customer_id = $2 THEN NULL ELSE merged_at END
         WHERE tenant = $1 AND customer_id = ANY($3)",
    )
    .bind(tenant)
    .bind(record.merged.uuid())
    .bind(&side)
    .execute(&mut *conn)
    .await?;
    give_proofs(conn, tenant, &[undo.holder.uuid()], record.merged, undo.evidence).await?;
    let interactions: Vec<Uuid> = sqlx::query_scalar(
        "SELECT interaction_id FROM interaction_owner WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY interaction_id",
    )
    .bind(tenant)
    .bind(&side)
    .fetch_all(conn)
    .await?;
    Ok(interactions.into_iter().map(InteractionId::new).collect())
}

/// How many interactions were kept under these ids.
pub async fn count_interactions(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &BTreeSet<CustomerId>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM interaction_owner WHERE tenant = $1 AND customer_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(members.iter().map(|m| m.uuid()).collect::<Vec<_>>())
    .fetch_one(conn)
    .await?)
}

/// Proofs that rest on a handle go with the handle, whichever of the ids they were given to.
pub async fn give_proofs(
    conn: &mut PgConnection,
    tenant: &str,
    from: &[Uuid],
    to: CustomerId,
    evidence: &[i64],
) -> Result<(), Error> {
    sqlx::query(
        "WITH given AS (
             DELETE FROM verifications WHERE tenant = $1 AND customer_id = ANY($2) AND customer_id <> $3 AND evidence = ANY($4)
             RETURNING *)
         INSERT INTO verifications AS v (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at, interaction_id)
         SELECT DISTINCT ON (method, evidence) tenant, $3, method, evidence, level, verified_by, verified_at, expires_at, interaction_id
         FROM given ORDER BY method, evidence, expires_at DESC
         ON CONFLICT (tenant, customer_id, method, evidence) DO UPDATE
         SET level = excluded.level, verified_by = excluded.verified_by, verified_at = excluded.verified_at,
             expires_at = GREATEST(v.expires_at, excluded.expires_at),
             interaction_id = COALESCE(excluded.interaction_id, v.interaction_id)",
    )
    .bind(tenant)
    .bind(from)
    .bind(to.uuid())
    .bind(evidence)
    .execute(conn)
    .await?;
    Ok(())
}
