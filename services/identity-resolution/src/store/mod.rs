//! All SQL. Batches go as arrays: one statement for 256 interactions costs what one for one does.

pub mod challenges;
pub mod merges;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        customer::{Customer, Held, Profile, Verification},
        handle::{HandleKey, Trust},
        resolution::{Moved, World},
    },
    error::broken_row,
};

/// The worlds of the tenants of a batch.
pub type Worlds = HashMap<TenantId, World>;

/// What a batch wants to know.
#[derive(Debug, Default)]
pub struct Question<'a> {
    /// Handles whose owners are wanted.
    pub handles: Vec<(&'a TenantId, &'a HandleKey)>,
    /// Customers that are wanted, by their own id or an old one.
    pub customers: Vec<(&'a TenantId, CustomerId)>,
}

/// All customers that hold one of the handles or are asked for by id, in one statement.
///
/// The lateral joins with LIMIT keep the planner on the primary keys, whatever it believes about fresh tables.
pub async fn load(
    conn: &mut PgConnection,
    question: &Question<'_>,
    now: DateTime<Utc>,
) -> Result<Worlds, Error> {
    let tenants: Vec<&str> = question.handles.iter().map(|(t, _)| t.as_str()).collect();
    let kinds: Vec<&str> = question.handles.iter().map(|(_, k)| k.kind.as_str()).collect();
    let values: Vec<&str> = question.handles.iter().map(|(_, k)| k.value.as_str()).collect();
    let id_tenants: Vec<&str> = question.customers.iter().map(|(t, _)| t.as_str()).collect();
    let ids: Vec<Uuid> = question.customers.iter().map(|(_, id)| id.uuid()).collect();
    let rows = sqlx::query(
        "WITH found AS (
             SELECT a.tenant, h.customer_id
             FROM unnest($1::text[], $2::text[], $3::text[]) AS a (tenant, kind, value)
             CROSS JOIN LATERAL (SELECT customer_id FROM handles
                 WHERE tenant = a.tenant AND kind = a.kind AND value = a.value LIMIT 1) h
             UNION
             SELECT tenant, customer_id FROM unnest($4::text[], $5::uuid[]) AS a (tenant, customer_id)
         ), roots AS (
             SELECT f.tenant, c.root, array_agg(f.customer_id) AS asked
             FROM found f
             CROSS JOIN LATERAL (SELECT COALESCE(merged_into, customer_id) AS root FROM customers
                 WHERE tenant = f.tenant AND customer_id = f.customer_id LIMIT 1) c
             GROUP BY f.tenant, c.root
         )
         SELECT r.tenant, r.root, r.asked, c.created_at, c.display_name, c.language, c.entitlement, c.persona_group,
                c.preferences, c.consents, h.kinds, h.vals, h.trusts, h.firsts, h.lasts, h.evidences, h.vias,
                v.methods, v.proofs, v.levels, v.checkers, v.verified, v.expires
         FROM roots r
         CROSS JOIN LATERAL (SELECT created_at, display_name, language, entitlement, persona_group, preferences, consents
             FROM customers WHERE tenant = r.tenant AND customer_id = r.root LIMIT 1) c
         CROSS JOIN LATERAL (SELECT array_agg(kind) AS kinds, array_agg(value) AS vals, array_agg(trust) AS trusts,
                 array_agg(first_seen_at) AS firsts, array_agg(last_seen_at) AS lasts, array_agg(evidence) AS evidences,
                 array_agg(via_interaction) AS vias
             FROM handles WHERE tenant = r.tenant AND customer_id = r.root) h
         CROSS JOIN LATERAL (SELECT array_agg(method) AS methods, array_agg(evidence) AS proofs, array_agg(level) AS levels,
                 array_agg(verified_by) AS checkers, array_agg(verified_at) AS verified, array_agg(expires_at) AS expires
             FROM verifications WHERE tenant = r.tenant AND customer_id = r.root AND expires_at > $6) v",
    )
    .bind(tenants)
    .bind(kinds)
    .bind(values)
    .bind(id_tenants)
    .bind(ids)
    .bind(now)
    .fetch_all(conn)
    .await?;
    let mut worlds = Worlds::new();
    for row in rows {
        let tenant: TenantId = row.try_get::<String, _>("tenant")?.parse()?;
        let asked: Vec<Uuid> = row.try_get("asked")?;
        let asked: Vec<CustomerId> = asked.into_iter().map(CustomerId::new).collect();
        worlds.entry(tenant).or_default().add(customer(&row)?, &asked);
    }
    Ok(worlds)
}

fn customer(row: &PgRow) -> Result<Customer, Error> {
    let id = CustomerId::new(row.try_get("root")?);
    let map = |column| -> Result<BTreeMap<String, i32>, Error> {
        Ok(row
            .try_get::<Option<Json<BTreeMap<String, i32>>>, _>(column)?
            .map(|m| m.0)
            .unwrap_or_default())
    };
    Ok(Customer {
        id,
        created_at: row.try_get("created_at")?,
        profile: Profile {
            display_name: row.try_get("display_name")?,
            language: row.try_get("language")?,
            entitlement: row.try_get("entitlement")?,
            persona_group: row.try_get("persona_group")?,
            preferences: map("preferences")?,
            consents: map("consents")?,
        },
        handles: handles(row, id)?,
        verifications: verifications(row)?,
    })
}

fn handles(row: &PgRow, owner: CustomerId) -> Result<Vec<Held>, Error> {
    let Some(kinds) = row.try_get::<Option<Vec<String>>, _>("kinds")? else {
        return Ok(Vec::new());
    };
    let values: Vec<String> = row.try_get("vals")?;
    let trusts: Vec<i16> = row.try_get("trusts")?;
    let firsts: Vec<DateTime<Utc>> = row.try_get("firsts")?;
    let lasts: Vec<DateTime<Utc>> = row.try_get("lasts")?;
    let evidences: Vec<Option<i64>> = row.try_get("evidences")?;
    let vias: Vec<Option<Uuid>> = row.try_get("vias")?;
    let mut handles = Vec::with_capacity(kinds.len());
    for (position, (kind, value)) in kinds.into_iter().zip(values).enumerate() {
        let key = HandleKey::of_row(&kind, value).ok_or_else(|| broken_row("handles", owner))?;
        handles.push(Held {
            key,
            trust: trust_of(trusts[position]).ok_or_else(|| broken_row("handles", owner))?,
            first_seen: firsts[position],
            last_seen: lasts[position],
            evidence: evidences[position],
            via: vias[position].map(InteractionId::new),
            row_owner: owner,
        });
    }
    handles.sort_by(|a, b| (a.first_seen, &a.key).cmp(&(b.first_seen, &b.key)));
    Ok(handles)
}

fn verifications(row: &PgRow) -> Result<Vec<Verification>, Error> {
    let Some(methods) = row.try_get::<Option<Vec<String>>, _>("methods")? else {
        return Ok(Vec::new());
    };
    let proofs: Vec<i64> = row.try_get("proofs")?;
    let levels: Vec<i16> = row.try_get("levels")?;
    let checkers: Vec<String> = row.try_get("checkers")?;
    let verified: Vec<DateTime<Utc>> = row.try_get("verified")?;
    let expires: Vec<DateTime<Utc>> = row.try_get("expires")?;
    Ok(methods
        .into_iter()
        .zip(checkers)
        .enumerate()
        .map(|(position, (method, verified_by))| Verification {
            level: i32::from(levels[position]),
            method,
            verified_by,
            verified_at: verified[position],
            expires_at: expires[position],
            evidence: proofs[position],
        })
        .collect())
}

const fn trust_of(number: i16) -> Option<Trust> {
    match number {
        1 => Some(Trust::Claimed),
        2 => Some(Trust::Observed),
        3 => Some(Trust::Verified),
        _ => None,
    }
}

const fn trust_number(trust: Trust) -> i16 {
    match trust {
        Trust::Claimed => 1,
        Trust::Observed => 2,
        Trust::Verified => 3,
    }
}

/// Locks customers in the order of their ids and says which of them are aliases by now. Whoever links a handle holds
/// them weakly, whoever merges or changes them holds them alone.
pub async fn lock(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    alone: bool,
) -> Result<Vec<CustomerId>, Error> {
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    let tenants: Vec<&str> = customers.iter().map(|(t, _)| t.as_str()).collect();
    let ids: Vec<Uuid> = customers.iter().map(|(_, id)| id.uuid()).collect();
    // The lateral join takes the locks one after the other, in the order of the arrays.
    let statement = if alone {
        "SELECT c.customer_id, c.merged_into FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT customer_id, merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR UPDATE) c"
    } else {
        "SELECT c.customer_id, c.merged_into FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT customer_id, merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR KEY SHARE) c"
    };
    let rows: Vec<(Uuid, Option<Uuid>)> = sqlx::query_as(statement)
        .bind(tenants)
        .bind(ids)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .filter(|(_, into)| into.is_some())
        .map(|(id, _)| CustomerId::new(id))
        .collect())
}

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
        "INSERT INTO handles AS h (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at, evidence, via_interaction, linked_by)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::smallint[], $6::timestamptz[], $7::timestamptz[],
             $8::bigint[], $9::uuid[], $10::text[]) AS r (tenant, kind, value, customer_id, trust, first_seen, last_seen, evidence, via, linked_by)
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

/// Writes new customers.
pub async fn add_customers(
    conn: &mut PgConnection,
    customers: &[(&TenantId, &NewCustomer)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if customers.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO customers (tenant, customer_id, created_at, display_name, language)
         SELECT tenant, customer_id, $5, display_name, language
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[]) AS c (tenant, customer_id, display_name, language)
         ON CONFLICT (tenant, customer_id) DO NOTHING",
    )
    .bind(customers.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|(_, c)| c.id.uuid()).collect::<Vec<_>>())
    .bind(customers.iter().map(|(_, c)| c.display_name.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|(_, c)| c.language.as_str()).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// A customer as first written.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// Id.
    pub id: CustomerId,
    /// Name that came with the first interaction.
    pub display_name: String,
    /// Language that came with it.
    pub language: String,
}

/// Writes profiles as they are now.
pub async fn save_profiles(
    conn: &mut PgConnection,
    profiles: &[(&TenantId, CustomerId, &Profile)],
) -> Result<(), Error> {
    if profiles.is_empty() {
        return Ok(());
    }
    let map = |m: &BTreeMap<String, i32>| (!m.is_empty()).then(|| Json(m.clone()));
    sqlx::query(
        "UPDATE customers c SET display_name = p.display_name, language = p.language, entitlement = p.entitlement,
             persona_group = p.persona_group, preferences = p.preferences, consents = p.consents, version = c.version + 1
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[])
             AS p (tenant, customer_id, display_name, language, entitlement, persona_group, preferences, consents)
         WHERE c.tenant = p.tenant AND c.customer_id = p.customer_id",
    )
    .bind(profiles.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(_, id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| p.display_name.as_str()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| p.language.as_str()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| p.entitlement.as_str()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| p.persona_group.as_str()).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| map(&p.preferences)).collect::<Vec<_>>())
    .bind(profiles.iter().map(|(.., p)| map(&p.consents)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes whose interactions are, the first time.
pub async fn add_owners(
    conn: &mut PgConnection,
    owners: &[(&TenantId, InteractionId, CustomerId, i64)],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO interaction_owner (tenant, interaction_id, customer_id, evidence)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[])
         ON CONFLICT (tenant, interaction_id) DO NOTHING",
    )
    .bind(owners.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(owners.iter().map(|(_, i, ..)| i.uuid()).collect::<Vec<_>>())
    .bind(owners.iter().map(|(_, _, c, _)| c.uuid()).collect::<Vec<_>>())
    .bind(owners.iter().map(|(.., e)| *e).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes proofs; one that holds longer stays.
pub async fn save_verifications(
    conn: &mut PgConnection,
    proofs: &[(&TenantId, CustomerId, &Verification)],
) -> Result<(), Error> {
    if proofs.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO verifications AS v (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at)
         SELECT DISTINCT ON (1, 2, 3, 4) * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::smallint[], $6::text[],
             $7::timestamptz[], $8::timestamptz[]) AS p (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at)
         ORDER BY 1, 2, 3, 4, 8 DESC
         ON CONFLICT (tenant, customer_id, method, evidence) DO UPDATE
         SET level = excluded.level, verified_by = excluded.verified_by, verified_at = excluded.verified_at,
             expires_at = GREATEST(v.expires_at, excluded.expires_at)",
    )
    .bind(proofs.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(_, id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.method.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.evidence).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| i16::try_from(v.level).unwrap_or(i16::MAX)).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.verified_by.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.verified_at).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.expires_at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
