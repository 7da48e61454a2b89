//! Handles: linked, seen again, given to others, revoked, and who else was seen with them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use super::load::{trust_number, trust_of};
use crate::{
    domain::{customer::Held, handle::HandleKey, resolution::Moved},
    error::broken_row,
};

/// A handle row to write.
#[derive(Debug, Clone)]
pub struct HandleRow<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// The handle, for the customer in `row_owner`.
    pub held: Held,
    /// Who linked it by hand.
    pub linked_by: Option<&'a str>,
}

/// Links handles and notes sightings, in the order of the keys so that two writers never wait for each other in a
/// circle. `false`: another transaction linked one of them to somebody else meanwhile; what this one linked is taken
/// back, so that the caller can read and decide again.
pub async fn put_handles(conn: &mut PgConnection, rows: &[HandleRow<'_>]) -> Result<bool, Error> {
    if rows.is_empty() {
        return Ok(true);
    }
    let written: Vec<(String, String, String, bool)> = sqlx::query_as(
        "INSERT INTO handles AS h (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at, evidence, via_interaction, linked_by, source)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::smallint[], $6::timestamptz[], $7::timestamptz[],
             $8::bigint[], $9::uuid[], $10::text[], $11::text[])
             AS r (tenant, kind, value, customer_id, trust, first_seen, last_seen, evidence, via, linked_by, source)
         ORDER BY r.tenant, r.kind, r.value
         ON CONFLICT (tenant, kind, value) DO UPDATE
         SET trust = GREATEST(h.trust, excluded.trust), last_seen_at = GREATEST(h.last_seen_at, excluded.last_seen_at)
         WHERE h.customer_id = excluded.customer_id
         RETURNING tenant, kind, value, xmax = 0",
    )
    .bind(rows.iter().map(|r| r.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.key.kind.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.key.value.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.row_owner.uuid()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| trust_number(r.held.trust)).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.first_seen).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.last_seen).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.evidence).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.via.map(InteractionId::uuid)).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.linked_by).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.held.source.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut *conn)
    .await?;
    if written.len() == rows.len() {
        return Ok(true);
    }
    let mine: Vec<_> = written.into_iter().filter(|(.., inserted)| *inserted).collect();
    sqlx::query(
        "DELETE FROM handles WHERE (tenant, kind, value) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))",
    )
    .bind(mine.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, k, ..)| k.as_str()).collect::<Vec<_>>())
    .bind(mine.iter().map(|(_, _, v, _)| v.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(false)
}

/// Gives handles that were only claimed to those who have them.
pub async fn move_handles(
    conn: &mut PgConnection,
    moved: &[(&TenantId, Moved)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if moved.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE handles h SET customer_id = m.target, trust = m.trust, evidence = m.evidence, last_seen_at = $8
         FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::smallint[], $7::bigint[])
             AS m (tenant, kind, value, source, target, trust, evidence)
         WHERE h.tenant = m.tenant AND h.kind = m.kind AND h.value = m.value AND h.customer_id = m.source",
    )
    .bind(moved.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| m.key.kind.as_str()).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| m.key.value.as_str()).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| m.from.uuid()).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| m.to.uuid()).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| trust_number(m.trust)).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, m)| m.evidence).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Handles that customers were seen with although they are another's.
pub type Claim<'a> = (&'a TenantId, HandleKey, CustomerId);

/// Notes who was seen with handles of others, and learns which of these several people share: those that more than
/// `most` customers were seen with. Aliases count as the customer they lead to. Gives those that were learnt just now.
pub async fn claim(
    conn: &mut PgConnection,
    claims: &[(Claim<'_>, i64)],
    now: DateTime<Utc>,
) -> Result<Vec<(TenantId, HandleKey)>, Error> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: Vec<&str> = claims.iter().map(|((t, ..), _)| t.as_str()).collect();
    let kinds: Vec<&str> = claims.iter().map(|((_, k, _), _)| k.kind.as_str()).collect();
    let values: Vec<&str> = claims.iter().map(|((_, k, _), _)| k.value.as_str()).collect();
    let customers: Vec<Uuid> = claims.iter().map(|((.., c), _)| c.uuid()).collect();
    let most: Vec<i64> = claims.iter().map(|(_, most)| *most).collect();
    let new = sqlx::query(
        "INSERT INTO handle_claims (tenant, kind, value, customer_id, first_at)
         SELECT DISTINCT a.tenant, a.kind, a.value, a.customer_id, $5
         FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) AS a (tenant, kind, value, customer_id)
         ORDER BY 1, 2, 3, 4
         ON CONFLICT (tenant, kind, value, customer_id) DO NOTHING",
    )
    .bind(&tenants)
    .bind(&kinds)
    .bind(&values)
    .bind(&customers)
    .bind(now)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if new == 0 {
        return Ok(Vec::new());
    }
    // The one who holds it counts too.
    let shared: Vec<(String, String, String)> = sqlx::query_as(
        "WITH seen AS (
             SELECT DISTINCT a.tenant, a.kind, a.value, a.most
             FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS a (tenant, kind, value, most)),
         shared AS (
             SELECT h.tenant, h.kind, h.value FROM seen s
             JOIN handles h ON h.tenant = s.tenant AND h.kind = s.kind AND h.value = s.value AND NOT h.shared
             CROSS JOIN LATERAL (
                 SELECT count(DISTINCT COALESCE(c.merged_into, c.customer_id)) AS customers
                 FROM (SELECT customer_id FROM handle_claims
                       WHERE tenant = s.tenant AND kind = s.kind AND value = s.value
                       UNION SELECT h.customer_id) k
                 JOIN customers c ON c.tenant = s.tenant AND c.customer_id = k.customer_id) n
             WHERE n.customers > s.most
             ORDER BY 1, 2, 3 FOR UPDATE OF h)
         UPDATE handles h SET shared = true FROM shared s
         WHERE h.tenant = s.tenant AND h.kind = s.kind AND h.value = s.value
         RETURNING h.tenant, h.kind, h.value",
    )
    .bind(tenants)
    .bind(kinds)
    .bind(values)
    .bind(most)
    .fetch_all(conn)
    .await?;
    let key = |kind: &str, value| HandleKey::of_row(kind, value).ok_or_else(|| broken_row("handles", kind));
    let shared = shared.into_iter();
    shared
        .map(|(tenant, kind, value)| Ok((tenant.parse()?, key(&kind, value)?)))
        .collect()
}

/// A handle with all that is known of it.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// The handle as it is, or was, held.
    pub held: Held,
    /// Who linked it by hand.
    pub linked_by: Option<String>,
    /// When it was revoked, and why.
    pub revoked: Option<(DateTime<Utc>, String)>,
}

/// Handles kept under these ids, revoked ones last.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &[CustomerId],
) -> Result<Vec<Provenance>, Error> {
    let rows = sqlx::query(
        "SELECT kind, value, customer_id, trust, first_seen_at, last_seen_at, via_interaction, linked_by, source, shared,
                NULL::timestamptz AS revoked_at, NULL::text AS reason
         FROM handles WHERE tenant = $1 AND customer_id = ANY($2)
         UNION ALL
         SELECT kind, value, customer_id, trust, first_seen_at, last_seen_at, via_interaction, linked_by, source, false,
                revoked_at, reason
         FROM revoked_handles WHERE tenant = $1 AND customer_id = ANY($2)
         ORDER BY revoked_at NULLS FIRST, first_seen_at, kind, value LIMIT 1000",
    )
    .bind(tenant.as_str())
    .bind(members.iter().map(|m| m.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let owner = CustomerId::new(row.try_get("customer_id")?);
            let kind: String = row.try_get("kind")?;
            let broken = || broken_row("handles", owner);
            let key = HandleKey::of_row(&kind, row.try_get("value")?).ok_or_else(broken)?;
            let trust = trust_of(row.try_get("trust")?).ok_or_else(broken)?;
            let via: Option<Uuid> = row.try_get("via_interaction")?;
            let revoked_at: Option<DateTime<Utc>> = row.try_get("revoked_at")?;
            let reason: Option<String> = row.try_get("reason")?;
            Ok(Provenance {
                held: Held {
                    last_seen: row.try_get("last_seen_at")?,
                    via: via.map(InteractionId::new),
                    source: row.try_get("source")?,
                    shared: row.try_get("shared")?,
                    ..Held::first(key, trust, owner, row.try_get("first_seen_at")?)
                },
                linked_by: row.try_get("linked_by")?,
                revoked: revoked_at.zip(reason),
            })
        })
        .collect()
}

/// Takes a handle from its customer and keeps that it was theirs.
pub async fn revoke(
    conn: &mut PgConnection,
    tenant: &TenantId,
    key: &HandleKey,
    (by, reason): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "WITH gone AS (DELETE FROM handles WHERE tenant = $1 AND kind = $2 AND value = $3 RETURNING *)
         INSERT INTO revoked_handles (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at, via_interaction,
             linked_by, source, revoked_at, revoked_by, reason)
         SELECT tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at, via_interaction, linked_by, source,
             $4, $5, $6 FROM gone
         ON CONFLICT DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(key.kind.as_str())
    .bind(&key.value)
    .bind(now)
    .bind(by)
    .bind(reason)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM handle_claims WHERE tenant = $1 AND kind = $2 AND value = $3")
        .bind(tenant.as_str())
        .bind(key.kind.as_str())
        .bind(&key.value)
        .execute(conn)
        .await?;
    Ok(())
}

/// Puts handles, and what came by them, under another id.
pub async fn extract(
    conn: &mut PgConnection,
    tenant: &TenantId,
    keys: &[HandleKey],
    from: &[CustomerId],
    to: CustomerId,
) -> Result<Vec<InteractionId>, Error> {
    let from: Vec<Uuid> = from.iter().map(|m| m.uuid()).collect();
    let evidence: Vec<i64> = keys.iter().map(HandleKey::evidence).collect();
    sqlx::query(
        "UPDATE handles SET customer_id = $4 WHERE tenant = $1
         AND (kind, value) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
    )
    .bind(tenant.as_str())
    .bind(keys.iter().map(|k| k.kind.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.value.as_str()).collect::<Vec<_>>())
    .bind(to.uuid())
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE observations SET customer_id = $4 WHERE tenant = $1 AND customer_id = ANY($2) AND evidence = ANY($3)")
        .bind(tenant.as_str())
        .bind(&from)
        .bind(&evidence)
        .bind(to.uuid())
        .execute(&mut *conn)
        .await?;
    let interactions: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE interaction_owner SET customer_id = $4 WHERE tenant = $1 AND customer_id = ANY($2) AND evidence = ANY($3)
         RETURNING interaction_id",
    )
    .bind(tenant.as_str())
    .bind(&from)
    .bind(&evidence)
    .bind(to.uuid())
    .fetch_all(conn)
    .await?;
    Ok(interactions.into_iter().map(InteractionId::new).collect())
}

/// Takes away the proofs that rest on handles: those that were given to an alias, too, else a split brings them back.
pub async fn drop_proofs(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &[CustomerId],
    evidence: &[i64],
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM verifications WHERE tenant = $1 AND customer_id = ANY($2) AND evidence = ANY($3)",
    )
    .bind(tenant.as_str())
    .bind(members.iter().map(|m| m.uuid()).collect::<Vec<_>>())
    .bind(evidence)
    .execute(conn)
    .await?;
    Ok(())
}
