//! Who is held until a transaction ends, how strongly, and in which order (ADR 31).

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

/// A row that a batch holds.
#[derive(Debug, Clone, Copy)]
pub struct Weakly<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// Which id.
    pub id: CustomerId,
    /// The customer whose alias it is.
    pub leads_to: Option<CustomerId>,
    /// What is said there is written, as it follows from this version; otherwise the customer must only remain who they are.
    pub version: Option<i32>,
}

/// Holds rows, one after the other: customers in the order of their ids, then aliases. `false` when one of them is not as it was read:
/// what was locked until then stays so, and its holder must wait for nobody any more.
pub async fn hold_weakly(conn: &mut PgConnection, mut rows: Vec<Weakly<'_>>) -> Result<bool, Error> {
    if rows.is_empty() {
        return Ok(true);
    }
    rows.sort_unstable_by_key(|row| (row.leads_to.is_some(), row.tenant, row.id));
    let held = sqlx::query_scalar("SELECT hold_weakly($1, $2, $3, $4)")
        .bind(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.id.uuid()).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.leads_to.map(CustomerId::uuid))
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
        .fetch_one(conn)
        .await?;
    Ok(held)
}

/// Holds customers alone, in the order of their ids, unless one of them is an alias by now, or one of `ids` leads to none of them any
/// more: then none is held, and the answer is `false`. Whoever asks anew with a lock in hand would take the next ones in another order
/// than everybody else.
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

/// Holds customers without waiting for anybody: `false` when somebody else holds one, or one is an alias by now. For whoever can come
/// back later, and whoever holds others already: nobody waits for them out of order.
pub async fn hold_if_free(
    conn: &mut PgConnection,
    customers: &[(&TenantId, CustomerId)],
    alone: bool,
) -> Result<bool, Error> {
    let customers: BTreeSet<_> = customers.iter().collect();
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

/// Holds what is said under ids against other writers, without waiting for anybody, and tells whether it is as it was read: `false` when
/// somebody else wrote meanwhile, or writes.
pub async fn hold_unchanged(
    conn: &mut PgConnection,
    read: &[(&TenantId, CustomerId, i32)],
) -> Result<bool, Error> {
    if read.is_empty() {
        return Ok(true);
    }
    let unchanged: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[], $2::uuid[], $3::integer[]) AS a (tenant, customer_id, version)
         CROSS JOIN LATERAL (SELECT version FROM customers
             WHERE tenant = a.tenant AND customer_id = a.customer_id FOR NO KEY UPDATE SKIP LOCKED) c
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
