//! Fields of profiles, what follows from them, and who looked at them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use crate::domain::profile::{Said, View};

/// The rows of customers and of their aliases: `(row, customer it belongs to)`, the customer's own first.
pub async fn rows_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
) -> Result<Vec<(Uuid, CustomerId)>, Error> {
    let ids: Vec<Uuid> = customers.iter().map(|c| c.uuid()).collect();
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT a.customer_id, a.customer_id FROM unnest($2::uuid[]) AS a (customer_id)
         UNION ALL
         SELECT c.customer_id, a.customer_id FROM unnest($2::uuid[]) AS a (customer_id)
         CROSS JOIN LATERAL (SELECT customer_id FROM customers WHERE tenant = $1 AND merged_into = a.customer_id) c",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(row, root)| (row, CustomerId::new(root)))
        .collect())
}

/// Everything that was said about rows.
pub async fn said(conn: &mut PgConnection, tenant: &TenantId, rows: &[Uuid]) -> Result<Vec<Said>, Error> {
    let found = sqlx::query(
        "SELECT t.customer_id, t.name, t.source, t.value, t.set_by, t.set_at FROM unnest($2::uuid[]) AS a (customer_id)
         CROSS JOIN LATERAL (SELECT customer_id, name, source, value, set_by, set_at FROM traits
             WHERE tenant = $1 AND customer_id = a.customer_id) t",
    )
    .bind(tenant.as_str())
    .bind(rows)
    .fetch_all(conn)
    .await?;
    found
        .iter()
        .map(|row| {
            Ok(Said {
                name: row.try_get("name")?,
                value: row.try_get("value")?,
                source: row.try_get("source")?,
                set_by: row.try_get("set_by")?,
                set_at: row.try_get("set_at")?,
                origin: CustomerId::new(row.try_get("customer_id")?),
            })
        })
        .collect()
}

/// Writes what sources say. Returns the customers about whom anything new was said.
pub async fn put_traits(
    conn: &mut PgConnection,
    tenant: &TenantId,
    said: &[Said],
) -> Result<Vec<CustomerId>, Error> {
    if said.is_empty() {
        return Ok(Vec::new());
    }
    let changed: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO traits AS t (tenant, customer_id, name, source, value, set_by, set_at)
         SELECT DISTINCT ON (customer_id, name, source) $1, customer_id, name, source, value, set_by, set_at
         FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[]) WITH ORDINALITY
             AS s (customer_id, name, source, value, set_by, set_at, position)
         ORDER BY customer_id, name, source, position DESC
         ON CONFLICT (tenant, customer_id, name, source) DO UPDATE
         SET value = excluded.value, set_by = excluded.set_by, set_at = excluded.set_at
         WHERE t.value <> excluded.value
         RETURNING customer_id",
    )
    .bind(tenant.as_str())
    .bind(said.iter().map(|s| s.origin.uuid()).collect::<Vec<_>>())
    .bind(said.iter().map(|s| s.name.as_str()).collect::<Vec<_>>())
    .bind(said.iter().map(|s| s.source.as_str()).collect::<Vec<_>>())
    .bind(said.iter().map(|s| s.value.as_str()).collect::<Vec<_>>())
    .bind(said.iter().map(|s| s.set_by.as_str()).collect::<Vec<_>>())
    .bind(said.iter().map(|s| s.set_at).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(changed.into_iter().map(CustomerId::new).collect())
}

/// Takes back what a source said about rows. Returns how many values went.
pub async fn clear_traits(
    conn: &mut PgConnection,
    tenant: &TenantId,
    rows: &[Uuid],
    names: &[&str],
    source: &str,
) -> Result<u64, Error> {
    let gone = sqlx::query(
        "DELETE FROM traits WHERE tenant = $1 AND customer_id = ANY($2) AND name = ANY($3) AND source = $4",
    )
    .bind(tenant.as_str())
    .bind(rows)
    .bind(names)
    .bind(source)
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// Keeps views beside their customers, and the segments where they are looked up.
pub async fn keep_views(
    conn: &mut PgConnection,
    tenant: &TenantId,
    views: &[(CustomerId, &View)],
) -> Result<(), Error> {
    if views.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = views.iter().map(|(id, _)| id.uuid()).collect();
    let bodies: Vec<Option<Json<&View>>> = views
        .iter()
        .map(|(_, view)| (**view != View::default()).then_some(Json(*view)))
        .collect();
    sqlx::query(
        "UPDATE customers c SET view = v.view, version = c.version + 1
         FROM unnest($2::uuid[], $3::jsonb[]) AS v (customer_id, view) WHERE c.tenant = $1 AND c.customer_id = v.customer_id",
    )
    .bind(tenant.as_str())
    .bind(&ids)
    .bind(bodies)
    .execute(&mut *conn)
    .await?;
    let (mut owners, mut segments) = (Vec::new(), Vec::new());
    for (id, view) in views {
        for segment in &view.segments {
            owners.push(id.uuid());
            segments.push(segment.as_str());
        }
    }
    sqlx::query("DELETE FROM segment_members WHERE tenant = $1 AND customer_id = ANY($2)")
        .bind(tenant.as_str())
        .bind(&ids)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO segment_members (tenant, segment, customer_id) SELECT $1, segment, customer_id
         FROM unnest($2::text[], $3::uuid[]) AS s (segment, customer_id) ON CONFLICT DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(segments)
    .bind(owners)
    .execute(conn)
    .await?;
    Ok(())
}

/// Version of a customer's row, and the ids that are aliases of it are in [`rows_of`].
pub async fn version(conn: &mut PgConnection, tenant: &TenantId, customer: CustomerId) -> Result<i64, Error> {
    let version: i32 =
        sqlx::query_scalar("SELECT version FROM customers WHERE tenant = $1 AND customer_id = $2")
            .bind(tenant.as_str())
            .bind(customer.uuid())
            .fetch_one(conn)
            .await?;
    Ok(i64::from(version))
}

/// How many interactions are known by these pieces of evidence.
pub async fn count_interactions(
    conn: &mut PgConnection,
    tenant: &TenantId,
    evidence: &[i64],
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM unnest($2::bigint[]) AS e (evidence)
         JOIN interaction_owner o ON o.tenant = $1 AND o.evidence = e.evidence",
    )
    .bind(tenant.as_str())
    .bind(evidence)
    .fetch_one(conn)
    .await?)
}

/// An entitlement for a time.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Id.
    pub id: Uuid,
    /// Whose.
    pub customer: CustomerId,
    /// Name of the Entitlement resource.
    pub entitlement: String,
    /// From when.
    pub valid_from: DateTime<Utc>,
    /// Until when.
    pub valid_until: Option<DateTime<Utc>>,
    /// Where it comes from.
    pub source: String,
}

impl Grant {
    /// Whether it is in force.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.valid_from <= now && self.valid_until.is_none_or(|until| until > now)
    }
}

/// Adds a grant.
pub async fn add_grant(
    conn: &mut PgConnection,
    tenant: &TenantId,
    grant: &Grant,
    (by, now): (&str, DateTime<Utc>),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO entitlement_grants (tenant, grant_id, customer_id, entitlement, valid_from, valid_until, source, granted_by, granted_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant.as_str())
    .bind(grant.id)
    .bind(grant.customer.uuid())
    .bind(&grant.entitlement)
    .bind(grant.valid_from)
    .bind(grant.valid_until)
    .bind(&grant.source)
    .bind(by)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// The grants of rows, the latest first.
pub async fn grants(conn: &mut PgConnection, tenant: &TenantId, rows: &[Uuid]) -> Result<Vec<Grant>, Error> {
    let found = sqlx::query(
        "SELECT grant_id, customer_id, entitlement, valid_from, valid_until, source FROM entitlement_grants
         WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY valid_from DESC, grant_id",
    )
    .bind(tenant.as_str())
    .bind(rows)
    .fetch_all(conn)
    .await?;
    found
        .iter()
        .map(|row| {
            Ok(Grant {
                id: row.try_get("grant_id")?,
                customer: CustomerId::new(row.try_get("customer_id")?),
                entitlement: row.try_get("entitlement")?,
                valid_from: row.try_get("valid_from")?,
                valid_until: row.try_get("valid_until")?,
                source: row.try_get("source")?,
            })
        })
        .collect()
}

/// Customers by the beginning of a word of their name: `(word, customer)`, after a place.
pub async fn by_name(
    conn: &mut PgConnection,
    tenant: &TenantId,
    prefix: &str,
    after: Option<&(String, Uuid)>,
    limit: i64,
) -> Result<Vec<(String, Uuid)>, Error> {
    // A range instead of LIKE: under row-level security only leak-proof comparisons reach the index.
    let end = format!("{prefix}\u{10FFFF}");
    let (word, id) = after.cloned().unwrap_or_else(|| (prefix.to_owned(), Uuid::nil()));
    Ok(sqlx::query_as(
        "SELECT word, customer_id FROM name_words
         WHERE tenant = $1 AND word >= $2 AND word < $3 AND (word, customer_id) > ($4, $5)
         ORDER BY word, customer_id LIMIT $6",
    )
    .bind(tenant.as_str())
    .bind(prefix)
    .bind(end)
    .bind(word)
    .bind(id)
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Customers of a segment, after one.
pub async fn by_segment(
    conn: &mut PgConnection,
    tenant: &TenantId,
    segment: &str,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT customer_id FROM segment_members WHERE tenant = $1 AND segment = $2 AND customer_id > $3
         ORDER BY customer_id LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(segment)
    .bind(after.unwrap_or(Uuid::nil()))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// All customers that are no aliases, after one.
pub async fn all_after(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT customer_id FROM customers WHERE tenant = $1 AND customer_id > $2 AND merged_into IS NULL
         ORDER BY customer_id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after.unwrap_or(Uuid::nil()))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Takes note of a version of another system's record. `false`: a newer one, or this one, was seen before.
pub async fn advance_version(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (source, external_id): (&str, &str),
    version: i64,
) -> Result<bool, Error> {
    let written = sqlx::query(
        "INSERT INTO source_versions AS v (tenant, source, external_id, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, source, external_id) DO UPDATE SET version = excluded.version WHERE v.version < excluded.version",
    )
    .bind(tenant.as_str())
    .bind(source)
    .bind(external_id)
    .bind(version)
    .execute(conn)
    .await?;
    Ok(written.rows_affected() > 0)
}

/// The schema by which a tenant's segments were worked out, whether the walk is done, and after whom it goes on.
pub async fn segment_walk(
    conn: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Option<(Vec<u8>, DateTime<Utc>, Option<Uuid>, bool)>, Error> {
    Ok(sqlx::query_as(
        "SELECT schema_hash, started_at, after, done FROM segment_walks WHERE tenant = $1 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .fetch_optional(conn)
    .await?)
}

/// Notes how far the walk is.
pub async fn save_segment_walk(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (hash, started_at): (&[u8], DateTime<Utc>),
    (after, done): (Option<Uuid>, bool),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO segment_walks (tenant, schema_hash, started_at, after, done) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (tenant) DO UPDATE
         SET schema_hash = excluded.schema_hash, started_at = excluded.started_at, after = excluded.after, done = excluded.done",
    )
    .bind(tenant.as_str())
    .bind(hash)
    .bind(started_at)
    .bind(after)
    .bind(done)
    .execute(conn)
    .await?;
    Ok(())
}
