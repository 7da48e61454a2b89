//! What is too old to be kept.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};
use trama_platform::Error;
use trama_proto::ids::TenantId;
use uuid::Uuid;

/// Forgets what records and interactions said that have not said so since, as far as it stands among the next `most` after
/// an id. Returns how many went, and the last that was looked at, or nothing at the end.
pub async fn sayings(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: Uuid,
    before: DateTime<Utc>,
    most: i64,
) -> Result<(u64, Option<Uuid>), Error> {
    let (gone, seen, last): (i64, i64, Option<Uuid>) = sqlx::query_as(
        "WITH slice AS (
             SELECT observation_id, last_at FROM observations
             WHERE tenant = $1 AND observation_id > $3 ORDER BY observation_id LIMIT $4),
         gone AS (
             DELETE FROM observations o USING slice s
             WHERE o.tenant = $1 AND o.observation_id = s.observation_id AND s.last_at < $2 AND o.last_at < $2
             RETURNING 1)
         SELECT (SELECT count(*) FROM gone), count(*), (array_agg(observation_id ORDER BY observation_id DESC))[1] FROM slice",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(after)
    .bind(most)
    .fetch_one(conn)
    .await?;
    Ok((u64::try_from(gone).unwrap_or(0), last.filter(|_| seen == most)))
}

/// Forgets what was proven, tried in vain and revoked. Returns how many lines went.
pub async fn proofs(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Error> {
    let gone = sqlx::query(
        "DELETE FROM verification_log WHERE tenant = $1 AND (customer_id, at, entry_id) IN
             (SELECT customer_id, at, entry_id FROM verification_log WHERE tenant = $1 AND at < $2 ORDER BY at LIMIT $3)",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// How far a walk is; nothing while another replica walks.
pub async fn walked_to(
    conn: &mut PgConnection,
    tenant: &TenantId,
    records: &str,
) -> Result<Option<Uuid>, Error> {
    sqlx::query("INSERT INTO age_walks (tenant, records, after) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(tenant.as_str())
        .bind(records)
        .bind(Uuid::nil())
        .execute(&mut *conn)
        .await?;
    let query = "SELECT after FROM age_walks WHERE tenant = $1 AND records = $2 FOR UPDATE SKIP LOCKED";
    Ok(sqlx::query_scalar(query)
        .bind(tenant.as_str())
        .bind(records)
        .fetch_optional(conn)
        .await?)
}

/// Notes how far a walk is; from the beginning when nothing is left.
pub async fn walk_to(
    conn: &mut PgConnection,
    tenant: &TenantId,
    records: &str,
    after: Option<Uuid>,
) -> Result<(), Error> {
    sqlx::query("UPDATE age_walks SET after = $3 WHERE tenant = $1 AND records = $2")
        .bind(tenant.as_str())
        .bind(records)
        .bind(after.unwrap_or_default())
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether nobody has heard of customer `c` or of one of their aliases since $2: no word, no record, no proof, no consent, no
/// statement, and no entitlement that holds. Whoever is protected stays.
const SILENT: &str = "NOT c.protected AND c.created_at < $2 AND NOT EXISTS (
    SELECT 1 FROM (
        SELECT c.customer_id AS id
        UNION ALL SELECT a.customer_id FROM customers a WHERE a.tenant = $1 AND a.merged_into = c.customer_id) m
    WHERE EXISTS (SELECT 1 FROM customers x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.created_at >= $2)
       OR EXISTS (SELECT 1 FROM handles x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.last_seen_at >= $2)
       OR EXISTS (SELECT 1 FROM observations x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.last_at >= $2)
       OR EXISTS (SELECT 1 FROM verification_log x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.at >= $2)
       OR EXISTS (SELECT 1 FROM verifications x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.verified_at >= $2)
       OR EXISTS (SELECT 1 FROM consents x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.recorded_at >= $2)
       OR EXISTS (SELECT 1 FROM traits x WHERE x.tenant = $1 AND x.customer_id = m.id AND x.set_at >= $2)
       OR EXISTS (SELECT 1 FROM entitlement_grants x WHERE x.tenant = $1 AND x.customer_id = m.id
                  AND (x.valid_until IS NULL OR x.valid_until >= $2)))";

/// A piece of the walk.
#[derive(Debug)]
pub struct Slice {
    /// Of whom nobody has heard, by id.
    pub silent: Vec<Uuid>,
    /// The last who was looked at; nobody at the end of the walk.
    pub last: Option<Uuid>,
}

/// The next customers by id, and of whom of them nobody has heard since `before`.
pub async fn slice(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: Uuid,
    before: DateTime<Utc>,
    most: i64,
) -> Result<Slice, Error> {
    let rows: Vec<(Uuid, bool)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT c.customer_id, {SILENT} FROM (
             SELECT customer_id, created_at, protected FROM customers
             WHERE tenant = $1 AND customer_id > $3 AND merged_into IS NULL ORDER BY customer_id LIMIT $4) c
         ORDER BY 1"
    )))
    .bind(tenant.as_str())
    .bind(before)
    .bind(after)
    .bind(most)
    .fetch_all(conn)
    .await?;
    let full = i64::try_from(rows.len()) == Ok(most);
    Ok(Slice {
        last: rows.last().filter(|_| full).map(|(id, _)| *id),
        silent: rows
            .into_iter()
            .filter_map(|(id, silent)| silent.then_some(id))
            .collect(),
    })
}

/// Of whom of these nobody has heard since `before`.
pub async fn silent_among(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[Uuid],
    before: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT c.customer_id FROM customers c
         WHERE c.tenant = $1 AND c.customer_id = ANY($3) AND c.merged_into IS NULL AND {SILENT} ORDER BY 1"
    )))
    .bind(tenant.as_str())
    .bind(before)
    .bind(ids)
    .fetch_all(conn)
    .await?)
}
