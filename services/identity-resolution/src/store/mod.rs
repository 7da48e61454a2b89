//! All SQL. Batches go as arrays: one statement for 256 interactions costs what one for one does.

pub mod access;
pub mod ages;
pub mod audit;
pub mod challenges;
pub mod consents;
pub mod handles;
pub mod imports;
pub mod load;
pub mod merges;
pub mod privacy;
pub mod profiles;
pub mod proofs;
pub mod relations;
pub mod reviews;
pub mod similar;
pub mod telling;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::domain::customer::{Origin, Own, Verification};

pub use handles::{HandleRow, move_handles, put_handles};
pub use load::{Question, Worlds, load};

/// Locks customers in the order of their ids; `false` when one of them is an alias by now. Whoever links a handle holds
/// them weakly, whoever merges or changes them holds them alone.
pub async fn lock(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    alone: bool,
) -> Result<bool, Error> {
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    customers.dedup();
    let tenants: Vec<&str> = customers.iter().map(|(t, _)| t.as_str()).collect();
    let ids: Vec<Uuid> = customers.iter().map(|(_, id)| id.uuid()).collect();
    // The lateral join takes the locks one after the other, in the order of the arrays.
    let statement = if alone {
        "SELECT c.merged_into FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR UPDATE) c"
    } else {
        "SELECT c.merged_into FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR KEY SHARE) c"
    };
    let leads_to: Vec<Option<Uuid>> = sqlx::query_scalar(statement)
        .bind(tenants)
        .bind(ids)
        .fetch_all(conn)
        .await?;
    Ok(leads_to.iter().all(Option::is_none))
}

/// Locks customers of a tenant in the order of their ids, alone, unless one of them is an alias by now, or one of `ids` leads to none
/// of them any more: then none is held, and the answer is `false`. Whoever asks anew with a lock in hand would take the next ones in
/// another order than everybody else.
pub async fn hold_alone(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[CustomerId],
    ids: &[CustomerId],
) -> Result<bool, Error> {
    let customers: BTreeSet<Uuid> = customers.iter().map(|id| id.uuid()).collect();
    let elsewhere: Option<Uuid> = sqlx::query_scalar("SELECT hold_alone($1, $2, $3)")
        .bind(tenant.as_str())
        .bind(customers.into_iter().collect::<Vec<_>>())
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .fetch_one(conn)
        .await?;
    Ok(elsewhere.is_none())
}

/// The same for customers of several tenants; those of a tenant before may be held when the answer is `false`.
pub async fn hold_all_alone(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    ids: &[(&TenantId, CustomerId)],
) -> Result<bool, Error> {
    let mut by_tenant: BTreeMap<&TenantId, (Vec<CustomerId>, Vec<CustomerId>)> = BTreeMap::new();
    for (tenant, customer) in customers {
        by_tenant.entry(tenant).or_default().0.push(*customer);
    }
    for (tenant, id) in ids {
        by_tenant.entry(tenant).or_default().1.push(*id);
    }
    for (tenant, (customers, ids)) in by_tenant {
        if !hold_alone(conn, tenant, &customers, &ids).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Locks what is said under ids against other writers, in the order of the ids, and tells whether it is as it was read: `false` when
/// somebody else wrote meanwhile. Ids that are new (version 0) have nothing to hold.
pub async fn hold_unchanged<'a>(
    conn: &mut PgConnection,
    read: impl Iterator<Item = (&'a TenantId, CustomerId, i32)>,
) -> Result<bool, Error> {
    let mut read: Vec<_> = read.filter(|(.., version)| *version > 0).collect();
    if read.is_empty() {
        return Ok(true);
    }
    read.sort_unstable();
    // The lateral join takes the locks one after the other, in the order of the arrays.
    let unchanged: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[], $2::uuid[], $3::integer[]) AS a (tenant, customer_id, version)
         CROSS JOIN LATERAL (SELECT version FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR NO KEY UPDATE) c
         WHERE c.version = a.version",
    )
    .bind(read.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(read.iter().map(|(_, id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(read.iter().map(|(.., version)| *version).collect::<Vec<_>>())
    .fetch_one(conn)
    .await?;
    Ok(usize::try_from(unchanged).is_ok_and(|unchanged| unchanged == read.len()))
}

/// Whom ids lead to; those of nobody any more lead to nobody.
pub async fn roots(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: impl Iterator<Item = CustomerId>,
) -> Result<BTreeSet<CustomerId>, Error> {
    let roots: Vec<Uuid> = sqlx::query_scalar(
        "SELECT c.root FROM unnest($2::uuid[]) AS a (customer_id)
         CROSS JOIN LATERAL (SELECT COALESCE(merged_into, customer_id) AS root FROM customers
             WHERE tenant = $1 AND customer_id = a.customer_id LIMIT 1) c",
    )
    .bind(tenant.as_str())
    .bind(ids.map(CustomerId::uuid).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(roots.into_iter().map(CustomerId::new).collect())
}

/// Writes new customers, with what is said of them.
pub async fn add_customers(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if customers.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO customers (tenant, customer_id, created_at)
         SELECT tenant, customer_id, $3 FROM unnest($1::text[], $2::uuid[]) AS c (tenant, customer_id)
         ON CONFLICT (tenant, customer_id) DO NOTHING",
    )
    .bind(customers.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(customers.iter().map(|(_, id)| id.uuid()).collect::<Vec<_>>())
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks customers without waiting for anybody: `false` when somebody else holds one, or one is an alias by now. For
/// whoever can come back later, and whoever holds others already: nobody waits for them out of order.
pub async fn lock_if_free(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    alone: bool,
) -> Result<bool, Error> {
    let mut customers = customers.to_vec();
    customers.sort_unstable();
    customers.dedup();
    let statement = if alone {
        "SELECT count(*) FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR UPDATE SKIP LOCKED) c
         WHERE c.merged_into IS NULL"
    } else {
        "SELECT count(*) FROM unnest($1::text[], $2::uuid[]) AS a (tenant, customer_id)
         CROSS JOIN LATERAL (SELECT merged_into FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR KEY SHARE SKIP LOCKED) c
         WHERE c.merged_into IS NULL"
    };
    let held: i64 = sqlx::query_scalar(statement)
        .bind(customers.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
        .bind(customers.iter().map(|(_, id)| id.uuid()).collect::<Vec<_>>())
        .fetch_one(conn)
        .await?;
    Ok(usize::try_from(held).is_ok_and(|held| held == customers.len()))
}

/// What is said under an id.
#[derive(Debug)]
pub struct OwnRow<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// The id.
    pub id: CustomerId,
    /// What is said.
    pub own: &'a Own,
    /// Whose alias the id is if it is new.
    pub merged_into: Option<CustomerId>,
}

/// Writes what is said under ids as it is now, but for consents; an id that is new gets its row.
pub async fn save_own(
    conn: &mut PgConnection,
    rows: &[(&TenantId, CustomerId, &Own)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let rows: Vec<OwnRow<'_>> = rows
        .iter()
        .map(|(tenant, id, own)| OwnRow {
            tenant,
            id: *id,
            own,
            merged_into: None,
        })
        .collect();
    save_rows(conn, &rows, now).await.map(|_| ())
}

/// Where what is said comes from, but for consents: they are kept by [`consents::keep`] alone. Whoever works in what was
/// seen holds customers weakly, and would write back what held before a withdrawal that they did not see.
fn origins(own: &Own) -> Option<Json<BTreeMap<&str, &Origin>>> {
    let origins: BTreeMap<&str, &Origin> = own
        .origins
        .iter()
        .filter(|(field, _)| !field.starts_with("consents/"))
        .map(|(field, origin)| (field.as_str(), origin))
        .collect();
    (!origins.is_empty()).then_some(Json(origins))
}

/// The same; gives the ids that are new.
pub async fn save_rows(
    conn: &mut PgConnection,
    rows: &[OwnRow<'_>],
    now: DateTime<Utc>,
) -> Result<HashSet<CustomerId>, Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let map = |m: &BTreeMap<String, i32>| (!m.is_empty()).then(|| Json(m.clone()));
    let text = |of: fn(&Own) -> &str| rows.iter().map(|row| of(row.own)).collect::<Vec<_>>();
    // In the order of the keys, as everybody who holds several customers takes them.
    let written: Vec<(Uuid, bool)> = sqlx::query_as(
        "INSERT INTO customers AS c (tenant, customer_id, created_at, display_name, language, entitlement, persona_group,
             preferences, provenance, said, protected, merged_into, merged_at)
         SELECT p.tenant, p.customer_id, $11, p.display_name, p.language, p.entitlement, p.persona_group, p.preferences,
             p.provenance, p.said, p.protected, p.merged_into, CASE WHEN p.merged_into IS NOT NULL THEN $11::timestamptz END
         FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::jsonb[],
             $9::bytea[], $10::bool[], $12::uuid[])
             AS p (tenant, customer_id, display_name, language, entitlement, persona_group, preferences, provenance, said,
                 protected, merged_into)
         ORDER BY 1, 2
         ON CONFLICT (tenant, customer_id) DO UPDATE SET display_name = excluded.display_name,
             language = excluded.language, entitlement = excluded.entitlement, persona_group = excluded.persona_group,
             preferences = excluded.preferences, said = excluded.said, protected = excluded.protected,
             version = c.version + 1, provenance = CASE WHEN excluded.provenance IS NULL THEN c.provenance
                 ELSE COALESCE(c.provenance, '{}') || excluded.provenance END
         RETURNING customer_id, xmax = 0",
    )
    .bind(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.id.uuid()).collect::<Vec<_>>())
    .bind(text(|o| &o.profile.display_name))
    .bind(text(|o| &o.profile.language))
    .bind(text(|o| &o.profile.entitlement))
    .bind(text(|o| &o.profile.persona_group))
    .bind(rows.iter().map(|row| map(&row.own.profile.preferences)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| origins(row.own)).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|row| (!row.own.said.is_empty()).then(|| row.own.said.encode()))
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|row| row.own.protected).collect::<Vec<_>>())
    .bind(now)
    .bind(
        rows.iter()
            .map(|row| row.merged_into.map(CustomerId::uuid))
            .collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    let new = written.into_iter().filter(|(_, inserted)| *inserted);
    Ok(new.map(|(id, _)| CustomerId::new(id)).collect())
}

/// Whose an interaction is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// Which.
    pub interaction: InteractionId,
    /// Under which id of the customer.
    pub customer: CustomerId,
    /// By which handle.
    pub evidence: i64,
    /// Nothing but a claim, a shared handle or likeness led there: no proof of the customer holds for it.
    pub weak: bool,
}

/// Notes whose interactions are, the first time.
pub async fn add_owners(conn: &mut PgConnection, owners: &[Owner<'_>]) -> Result<(), Error> {
    if owners.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO interaction_owner (tenant, interaction_id, customer_id, evidence, weak)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bool[])
         ON CONFLICT (tenant, interaction_id) DO NOTHING",
    )
    .bind(owners.iter().map(|o| o.tenant.as_str()).collect::<Vec<_>>())
    .bind(owners.iter().map(|o| o.interaction.uuid()).collect::<Vec<_>>())
    .bind(owners.iter().map(|o| o.customer.uuid()).collect::<Vec<_>>())
    .bind(owners.iter().map(|o| o.evidence).collect::<Vec<_>>())
    .bind(owners.iter().map(|o| o.weak).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose an interaction was when it arrived.
pub async fn owner_of<'a>(
    conn: &mut PgConnection,
    tenant: &'a TenantId,
    interaction: InteractionId,
) -> Result<Option<Owner<'a>>, Error> {
    let row: Option<(Uuid, i64, bool)> = sqlx::query_as(
        "SELECT customer_id, evidence, weak FROM interaction_owner WHERE tenant = $1 AND interaction_id = $2",
    )
    .bind(tenant.as_str())
    .bind(interaction.uuid())
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(customer, evidence, weak)| Owner {
        tenant,
        interaction,
        customer: CustomerId::new(customer),
        evidence,
        weak,
    }))
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
        "INSERT INTO verifications AS v (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at, interaction_id)
         SELECT DISTINCT ON (1, 2, 3, 4) * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::smallint[], $6::text[],
             $7::timestamptz[], $8::timestamptz[], $9::uuid[])
             AS p (tenant, customer_id, method, evidence, level, verified_by, verified_at, expires_at, interaction_id)
         ORDER BY 1, 2, 3, 4, 8 DESC
         ON CONFLICT (tenant, customer_id, method, evidence) DO UPDATE
         SET level = excluded.level, verified_by = excluded.verified_by, verified_at = excluded.verified_at,
             expires_at = GREATEST(v.expires_at, excluded.expires_at),
             interaction_id = COALESCE(excluded.interaction_id, v.interaction_id)",
    )
    .bind(proofs.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(_, id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.method.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.evidence).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| i16::try_from(v.level).unwrap_or(i16::MAX)).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.verified_by.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.verified_at).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.expires_at).collect::<Vec<_>>())
    .bind(proofs.iter().map(|(.., v)| v.asked_in.map(InteractionId::uuid)).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}
