//! All SQL. Batches go as arrays: one statement for 256 interactions costs what one for one does.

pub mod access;
pub mod ages;
pub mod audit;
pub mod challenges;
pub mod consents;
pub mod handles;
mod holding;
pub mod imports;
pub mod known;
pub mod load;
pub mod merges;
pub mod privacy;
pub mod profiles;
pub mod proofs;
pub mod relations;
pub mod reviews;
pub mod similar;
pub mod telling;

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::domain::customer::{Origin, Own, Verification};

pub use handles::{HandleRow, move_handles, put_handles};
pub use holding::{Weakly, hold_all_alone, hold_alone, hold_if_free, hold_unchanged, hold_weakly, roots};
pub use load::{Question, Worlds, load};

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
