//! Which customer ids are names of another.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::PgConnection;
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    common::v1::CustomerContext,
    ids::{CustomerId, MergeId, TenantId},
};
use uuid::Uuid;

/// What was known of the customer who remains.
pub const SURVIVOR: Column = Column::bytes("customer_aliases", "survivor", &[("merge_id", "uuid")]);

/// A customer of a tenant.
pub type Key = (TenantId, CustomerId);

/// Merges that hold, as far as a batch needs them.
#[derive(Debug, Default)]
pub struct Aliases {
    by_merged: HashMap<Key, (CustomerId, CustomerContext)>,
}

impl Aliases {
    /// Who a customer is now.
    pub fn resolve(&self, tenant: &TenantId, customer: CustomerId) -> CustomerId {
        self.walk(tenant, customer).map_or(customer, |(id, _)| id)
    }

    /// Who a customer is now and what was known of them at the merge; nothing when they are themselves.
    pub fn walk(&self, tenant: &TenantId, customer: CustomerId) -> Option<(CustomerId, &CustomerContext)> {
        let mut found = self.by_merged.get(&(tenant.clone(), customer))?;
        // Merges form chains, and a wrong one could form a ring.
        for _ in 0..16 {
            match self.by_merged.get(&(tenant.clone(), found.0)) {
                Some(next) if found.0 != customer => found = next,
                _ => break,
            }
        }
        Some((found.0, &found.1))
    }

    /// Takes in a merge.
    pub fn add(
        &mut self,
        tenant: &TenantId,
        merged: CustomerId,
        survivor: CustomerId,
        context: CustomerContext,
    ) {
        if merged != survivor {
            self.by_merged
                .insert((tenant.clone(), merged), (survivor, context));
        }
    }
}

/// Makes batches that touch the same customer go one after the other: an interaction must not open a case while a
/// merge gives its customer's cases away.
///
/// # Errors
/// When the database is away.
pub async fn lock(db: &mut PgConnection, mut keys: Vec<String>) -> Result<(), Error> {
    // In one order everywhere, or two batches would wait for each other.
    keys.sort_unstable();
    keys.dedup();
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(key, 17)) FROM unnest($1::text[]) AS key")
        .bind(keys)
        .execute(db)
        .await?;
    Ok(())
}

/// The merges that lead on from these customers.
///
/// # Errors
/// When the database is away.
pub async fn load(tx: &mut Tx, tenants: &[&str], customers: &[Uuid]) -> Result<Aliases, Error> {
    let mut rows: Vec<(String, Uuid, Uuid, Vec<u8>, Uuid)> = sqlx::query_as(
        "WITH RECURSIVE walk (tenant, merged_id, survivor_id, survivor, merge_id, depth) AS (
             SELECT tenant, merged_id, survivor_id, survivor, merge_id, 1 FROM customer_aliases
             WHERE tenant = ANY($1) AND merged_id = ANY($2) AND split_at IS NULL
             UNION ALL
             SELECT a.tenant, a.merged_id, a.survivor_id, a.survivor, a.merge_id, walk.depth + 1
             FROM walk JOIN customer_aliases a
                  ON a.tenant = walk.tenant AND a.merged_id = walk.survivor_id AND a.split_at IS NULL
             WHERE walk.depth < 16)
         SELECT DISTINCT tenant, merged_id, survivor_id, survivor, merge_id FROM walk",
    )
    .bind(tenants)
    .bind(customers)
    .fetch_all(tx.conn())
    .await?;
    tx.open(
        SURVIVOR,
        rows.iter_mut().map(|row| (row.0.as_str(), row.4, &mut row.3)),
    )
    .await?;
    let mut aliases = Aliases::default();
    for (tenant, merged, survivor, context, _) in rows {
        let context = CustomerContext::decode(context.as_slice())?;
        aliases.add(
            &tenant.parse()?,
            CustomerId::new(merged),
            CustomerId::new(survivor),
            context,
        );
    }
    Ok(aliases)
}

/// Who a customer is now, and all ids that are theirs.
///
/// # Errors
/// When the database is away.
pub async fn group(
    tx: &mut Tx,
    tenant: &TenantId,
    customer: CustomerId,
) -> Result<(CustomerId, Vec<Uuid>), Error> {
    let now = load(tx, &[tenant.as_str()], &[customer.uuid()])
        .await?
        .resolve(tenant, customer);
    let mut all: Vec<Uuid> = sqlx::query_scalar(
        "WITH RECURSIVE own (id, depth) AS (
             SELECT $2::uuid, 0
             UNION
             SELECT a.merged_id, own.depth + 1 FROM own JOIN customer_aliases a
                  ON a.tenant = $1 AND a.survivor_id = own.id AND a.split_at IS NULL
             WHERE own.depth < 16)
         SELECT DISTINCT id FROM own",
    )
    .bind(tenant.as_str())
    .bind(now.uuid())
    .fetch_all(tx.conn())
    .await?;
    if !all.contains(&customer.uuid()) {
        all.push(customer.uuid());
    }
    Ok((now, all))
}

/// A merge to remember.
#[derive(Debug)]
pub struct Merge {
    /// Whose data.
    pub tenant: TenantId,
    /// Which.
    pub id: MergeId,
    /// Whose id is now an alias.
    pub merged: CustomerId,
    /// Who remains.
    pub survivor: CustomerId,
    /// What is known of them.
    pub context: CustomerContext,
    /// When.
    pub at: DateTime<Utc>,
}

/// Which of these merges are known already, undone ones included.
///
/// # Errors
/// When the database is away.
pub async fn known(
    db: &mut PgConnection,
    tenants: &[&str],
    merges: &[Uuid],
) -> Result<Vec<(String, Uuid)>, Error> {
    if merges.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(
        "SELECT tenant, merge_id FROM customer_aliases WHERE tenant = ANY($1) AND merge_id = ANY($2)",
    )
    .bind(tenants)
    .bind(merges)
    .fetch_all(db)
    .await?)
}

/// Remembers merges.
///
/// # Errors
/// When the database is away.
pub async fn save(tx: &mut Tx, merges: &[Merge]) -> Result<(), Error> {
    if merges.is_empty() {
        return Ok(());
    }
    let mut survivors: Vec<Vec<u8>> = merges.iter().map(|m| m.context.encode_to_vec()).collect();
    let places = merges.iter().map(|m| (m.tenant.as_str(), m.id.uuid()));
    tx.seal(SURVIVOR, places, &mut survivors).await?;
    sqlx::query(
        "INSERT INTO customer_aliases (tenant, merge_id, merged_id, survivor_id, survivor, merged_at)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bytea[], $6::timestamptz[])
         ON CONFLICT (tenant, merge_id) DO NOTHING",
    )
    .bind(merges.iter().map(|m| m.tenant.as_str()).collect::<Vec<_>>())
    .bind(merges.iter().map(|m| m.id.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|m| m.merged.uuid()).collect::<Vec<_>>())
    .bind(merges.iter().map(|m| m.survivor.uuid()).collect::<Vec<_>>())
    .bind(survivors)
    .bind(merges.iter().map(|m| m.at).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Undoes a merge, or notes that it was undone before it was heard of. `false` when that was known.
///
/// # Errors
/// When the database is away.
pub async fn split(tx: &mut Tx, merge: &Merge) -> Result<bool, Error> {
    let mut survivor = merge.context.encode_to_vec();
    let place = (merge.tenant.as_str(), merge.id.uuid());
    tx.seal(SURVIVOR, [place], [&mut survivor]).await?;
    let changed = sqlx::query(
        "INSERT INTO customer_aliases (tenant, merge_id, merged_id, survivor_id, survivor, merged_at, split_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (tenant, merge_id) DO UPDATE SET split_at = excluded.split_at
         WHERE customer_aliases.split_at IS NULL",
    )
    .bind(merge.tenant.as_str())
    .bind(merge.id.uuid())
    .bind(merge.merged.uuid())
    .bind(merge.survivor.uuid())
    .bind(survivor)
    .bind(merge.at)
    .execute(tx.conn())
    .await?;
    Ok(changed.rows_affected() > 0)
}
