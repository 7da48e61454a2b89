//! What is held of a person and how it is forgotten; requests, their answers, and addresses that stay forgotten.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, types::Json};
use trama_platform::{Error, privacy::Kept};
use trama_proto::ids::TenantId;
use uuid::Uuid;

use crate::domain::said::Said;

/// What an export shows, by the rows of a customer and their aliases.
pub const KEPT: &[Kept] = &[
    Kept {
        records: "profiles",
        rows: "SELECT to_jsonb(t) FROM customers t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY created_at",
        messages: &[],
    },
    Kept {
        records: "handles",
        rows: "SELECT to_jsonb(t) FROM handles t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY first_seen_at",
        messages: &[],
    },
    Kept {
        records: "revoked_handles",
        rows: "SELECT to_jsonb(t) FROM revoked_handles t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY revoked_at",
        messages: &[],
    },
    Kept {
        records: "traits",
        rows: "SELECT to_jsonb(t) FROM traits t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY name, set_at",
        messages: &[],
    },
    Kept {
        records: "segments",
        rows: "SELECT to_jsonb(t) FROM segment_members t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY segment",
        messages: &[],
    },
    Kept {
        records: "entitlements",
        rows: "SELECT to_jsonb(t) FROM entitlement_grants t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY granted_at",
        messages: &[],
    },
    Kept {
        records: "consents",
        rows: "SELECT to_jsonb(t) FROM consents t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY recorded_at",
        messages: &[],
    },
    Kept {
        records: "consent_confirmations",
        rows: "SELECT to_jsonb(t) FROM consent_confirmations t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY requested_at",
        messages: &[],
    },
    Kept {
        records: "verifications",
        rows: "SELECT to_jsonb(t) FROM verifications t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY verified_at",
        messages: &[],
    },
    Kept {
        records: "verification_log",
        rows: "SELECT to_jsonb(t) FROM verification_log t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY at",
        messages: &[],
    },
    Kept {
        records: "challenges",
        rows: "SELECT to_jsonb(t) FROM challenges t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY requested_at",
        messages: &[],
    },
    Kept {
        records: "merges",
        rows: "SELECT to_jsonb(t) - 'evidence' FROM merges t
               WHERE tenant = $1 AND survivor = ANY($2) AND merged = ANY($2) ORDER BY merged_at",
        messages: &[],
    },
    Kept {
        records: "relations",
        rows: "SELECT to_jsonb(t) FROM relations t WHERE tenant = $1 AND (one = ANY($2) OR other = ANY($2)) ORDER BY created_at",
        messages: &[],
    },
    Kept {
        records: "accesses",
        rows: "SELECT to_jsonb(t) FROM access_log t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY at",
        messages: &[],
    },
];

/// How it is forgotten, in this order. The log of accesses stays as long as the tenant keeps it: it says who looked at an
/// id that leads nowhere any more, and is how it is proven that nobody did.
pub const FORGOTTEN: &[(&str, &str)] = &[
    (
        "records",
        "DELETE FROM source_versions v USING handles h
         WHERE h.tenant = $1 AND h.customer_id = ANY($2) AND h.kind = 'crm' AND v.tenant = $1 AND v.external_id = h.value",
    ),
    (
        "handles",
        "DELETE FROM handle_claims c USING handles h
         WHERE h.tenant = $1 AND h.customer_id = ANY($2) AND c.tenant = $1 AND c.kind = h.kind AND c.value = h.value",
    ),
    ("handles", "DELETE FROM handle_claims WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("handles", "DELETE FROM handles WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("handles", "DELETE FROM revoked_handles WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("records", "DELETE FROM observations WHERE tenant = $1 AND customer_id = ANY($2)"),
    (
        "matching",
        "WITH old AS (DELETE FROM keys_of WHERE tenant = $1 AND customer_id = ANY($2) RETURNING customer_id, keys)
         DELETE FROM block_keys b USING (SELECT customer_id, unnest(keys) AS key FROM old) o
         WHERE b.key = o.key AND b.tenant = $1 AND b.customer_id = o.customer_id",
    ),
    ("matching", "DELETE FROM reevaluations WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("matching", "DELETE FROM name_words WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("matching", "DELETE FROM kept_apart WHERE tenant = $1 AND (one = ANY($2) OR other = ANY($2))"),
    ("matching", "DELETE FROM reviews WHERE tenant = $1 AND (one = ANY($2) OR other = ANY($2))"),
    ("merges", "DELETE FROM merges WHERE tenant = $1 AND (survivor = ANY($2) OR merged = ANY($2))"),
    ("relations", "DELETE FROM relations WHERE tenant = $1 AND (one = ANY($2) OR other = ANY($2))"),
    ("segments", "DELETE FROM segment_members WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("traits", "DELETE FROM traits WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("entitlements", "DELETE FROM entitlement_grants WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("consents", "DELETE FROM consents WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("consents", "DELETE FROM consent_confirmations WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("verifications", "DELETE FROM verifications WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("verifications", "DELETE FROM verification_log WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("verifications", "DELETE FROM challenges WHERE tenant = $1 AND customer_id = ANY($2)"),
    (
        "verifications",
        "DELETE FROM verification_failures
         WHERE tenant = $1 AND scope = ANY (SELECT 'customer:' || id FROM unnest($2::uuid[]) AS c (id))",
    ),
    ("interactions", "DELETE FROM interaction_owner WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("changes", "DELETE FROM told_changes WHERE tenant = $1 AND customer_id = ANY($2)"),
    ("profiles", "DELETE FROM customers WHERE tenant = $1 AND customer_id = ANY($2)"),
];

/// What records and interactions said of the person: stored in a form of our own.
pub async fn said(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<Vec<(String, DateTime<Utc>, Said)>, Error> {
    let rows: Vec<(String, DateTime<Utc>, Vec<u8>)> = sqlx::query_as(
        "SELECT source, first_at, said FROM observations WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY first_at",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(source, at, said)| Some((source, at, Said::decode(&said)?)))
        .collect())
}

/// Every address that ever led to these rows.
pub async fn handles_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[Uuid],
) -> Result<Vec<(String, String)>, Error> {
    Ok(sqlx::query_as(
        "SELECT kind, value FROM handles WHERE tenant = $1 AND customer_id = ANY($2)
         UNION SELECT kind, value FROM revoked_handles WHERE tenant = $1 AND customer_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?)
}

/// [`hold_decisions`] of the transaction's own tenant, not alone, for where a transaction begins.
pub const HOLD_DECISIONS: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended(current_setting('trama.tenant'), 23))";

/// Keeps everybody who takes interactions and records in from deciding while somebody is forgotten, and the other way
/// round: who decides holds it together with all others who decide, who erases holds it alone.
pub async fn hold_decisions(conn: &mut PgConnection, tenants: &[&str], alone: bool) -> Result<(), Error> {
    let statement = if alone {
        "SELECT count(pg_advisory_xact_lock(hashtextextended(t, 23))) FROM unnest($1::text[]) AS tenants (t)"
    } else {
        "SELECT count(pg_advisory_xact_lock_shared(hashtextextended(t, 23))) FROM unnest($1::text[]) AS tenants (t)"
    };
    sqlx::query(statement).bind(tenants).execute(conn).await?;
    Ok(())
}

/// Remembers addresses that are erased.
pub async fn put_erased(
    conn: &mut PgConnection,
    tenant: &TenantId,
    hashes: &[Vec<u8>],
    at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO erased_handles (tenant, hash, erased_at) SELECT DISTINCT $1, hash, $3::timestamptz FROM unnest($2::bytea[]) AS h (hash)
         ON CONFLICT (tenant, hash) DO UPDATE SET erased_at = GREATEST(erased_handles.erased_at, excluded.erased_at)",
    )
    .bind(tenant.as_str())
    .bind(hashes)
    .bind(at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Tenants that have erased somebody.
pub async fn tenants_with_erased(conn: &mut PgConnection, tenants: &[&str]) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT t FROM unnest($1::text[]) AS tenants (t) WHERE EXISTS (SELECT 1 FROM erased_handles WHERE tenant = t)",
    )
    .bind(tenants)
    .fetch_all(conn)
    .await?)
}

/// Which of some addresses are erased, and since when.
pub async fn erased(
    conn: &mut PgConnection,
    tenants: &[&str],
    hashes: &[Vec<u8>],
) -> Result<HashMap<(String, Vec<u8>), DateTime<Utc>>, Error> {
    let rows: Vec<(String, Vec<u8>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT e.tenant, e.hash, e.erased_at FROM unnest($1::text[], $2::bytea[]) AS a (tenant, hash)
         CROSS JOIN LATERAL (SELECT tenant, hash, erased_at FROM erased_handles
             WHERE tenant = a.tenant AND hash = a.hash) e",
    )
    .bind(tenants)
    .bind(hashes)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, hash, at)| ((tenant, hash), at))
        .collect())
}

/// A request.
#[derive(Debug, Clone, FromRow)]
pub struct RequestRow {
    /// Its id.
    pub request_id: Uuid,
    /// What was asked for.
    pub action: i16,
    /// Where it stands.
    pub state: i16,
    /// Whom it is about.
    pub customer_ids: Vec<Uuid>,
    /// Who asked.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it was done.
    pub done_at: Option<DateTime<Utc>>,
    /// When the files of an export go.
    pub expires_at: Option<DateTime<Utc>>,
    /// The signed report.
    pub report: Option<String>,
}

/// Adds a request.
pub async fn add_request(conn: &mut PgConnection, tenant: &TenantId, row: &RequestRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO privacy_requests (tenant, request_id, action, state, customer_ids, requested_by, reason, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(tenant.as_str())
    .bind(row.request_id)
    .bind(row.action)
    .bind(row.state)
    .bind(&row.customer_ids)
    .bind(&row.requested_by)
    .bind(&row.reason)
    .bind(row.created_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// A request, locked until the transaction ends.
pub async fn find_request(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
) -> Result<Option<RequestRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT request_id, action, state, customer_ids, requested_by, reason, created_at, done_at, expires_at, report
         FROM privacy_requests WHERE tenant = $1 AND request_id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id)
    .fetch_optional(conn)
    .await?)
}

/// A page of requests, newest first.
pub async fn list_requests(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<RequestRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT request_id, action, state, customer_ids, requested_by, reason, created_at, done_at, expires_at, NULL AS report
         FROM privacy_requests WHERE tenant = $1 AND ($2::timestamptz IS NULL OR (created_at, request_id) < ($2, $3))
         ORDER BY created_at DESC, request_id DESC LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(before.map(|(at, _)| at))
    .bind(before.map(|(_, id)| id))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// Writes where a request stands now.
pub async fn save_request(conn: &mut PgConnection, tenant: &TenantId, row: &RequestRow) -> Result<(), Error> {
    sqlx::query(
        "UPDATE privacy_requests SET state = $3, done_at = $4, expires_at = $5, report = $6
         WHERE tenant = $1 AND request_id = $2",
    )
    .bind(tenant.as_str())
    .bind(row.request_id)
    .bind(row.state)
    .bind(row.done_at)
    .bind(row.expires_at)
    .bind(&row.report)
    .execute(conn)
    .await?;
    Ok(())
}

/// Exports of somebody whose files may still lie in the object store.
pub async fn exports_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT a.object_key FROM privacy_requests r JOIN privacy_answers a USING (tenant, request_id)
         WHERE r.tenant = $1 AND r.customer_ids && $2 AND a.object_key <> ''",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .fetch_all(conn)
    .await?)
}

/// Exports that are older than their files may be, marked as expired; returns the keys of their files.
pub async fn expire_exports(
    conn: &mut PgConnection,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<(u64, Vec<String>), Error> {
    let rows: Vec<(Uuid, Option<String>)> = sqlx::query_as(
        "WITH old AS (UPDATE privacy_requests SET state = 4 WHERE tenant = $1 AND request_id IN
             (SELECT request_id FROM privacy_requests
              WHERE tenant = $1 AND action = 1 AND state = 3 AND done_at < $2 LIMIT $3)
             RETURNING request_id)
         SELECT old.request_id, a.object_key FROM old
         LEFT JOIN privacy_answers a ON a.tenant = $1 AND a.request_id = old.request_id AND a.object_key <> ''",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    let requests: std::collections::BTreeSet<Uuid> = rows.iter().map(|(id, _)| *id).collect();
    Ok((
        requests.len() as u64,
        rows.into_iter().filter_map(|(_, key)| key).collect(),
    ))
}

/// What a service answered.
#[derive(Debug, Clone, FromRow)]
pub struct AnswerRow {
    /// To which request.
    pub request_id: Uuid,
    /// Which service.
    pub service: String,
    /// What it found.
    pub counts: Json<BTreeMap<String, i64>>,
    /// Where its part of an export lies.
    pub object_key: String,
    /// When.
    pub done_at: DateTime<Utc>,
}

/// Keeps an answer; a second one changes nothing.
pub async fn add_answer(conn: &mut PgConnection, tenant: &TenantId, row: &AnswerRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO privacy_answers (tenant, request_id, service, counts, object_key, done_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, request_id, service) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(row.request_id)
    .bind(&row.service)
    .bind(&row.counts)
    .bind(&row.object_key)
    .bind(row.done_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// The answers to some requests.
pub async fn answers(
    conn: &mut PgConnection,
    tenant: &TenantId,
    requests: &[Uuid],
) -> Result<Vec<AnswerRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT request_id, service, counts, object_key, done_at FROM privacy_answers
         WHERE tenant = $1 AND request_id = ANY($2) ORDER BY service",
    )
    .bind(tenant.as_str())
    .bind(requests)
    .fetch_all(conn)
    .await?)
}

/// Notes when the file of an import was written.
pub async fn set_recorded_at(
    conn: &mut PgConnection,
    tenant: &TenantId,
    import: Uuid,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query("UPDATE imports SET recorded_at = $3 WHERE tenant = $1 AND import_id = $2")
        .bind(tenant.as_str())
        .bind(import)
        .bind(at)
        .execute(conn)
        .await?;
    Ok(())
}

/// When the file of an import was written.
pub async fn recorded_at(
    conn: &mut PgConnection,
    tenant: &TenantId,
    import: Uuid,
) -> Result<Option<DateTime<Utc>>, Error> {
    let found: Option<Option<DateTime<Utc>>> =
        sqlx::query_scalar("SELECT recorded_at FROM imports WHERE tenant = $1 AND import_id = $2")
            .bind(tenant.as_str())
            .bind(import)
            .fetch_optional(conn)
            .await?;
    Ok(found.flatten())
}
