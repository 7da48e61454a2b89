//! Who decides: one matching transaction per tenant at a time.
//!
//! Every transaction that changes agents, or gives work to them, holds the tenant's advisory lock exclusively, taken
//! before any row lock. So decisions see a settled world, across replicas and partitions, and the unique index on
//! live offers and the CHECKs on capacity are a backstop, not the rule. Most requests arrive while nobody is free:
//! they only queue, and share the lock. Holding it shared guarantees that nobody becomes free without seeing them:
//! whoever makes an agent free waits for the lock, and then reads what they committed.
//!
//! This is simple and right, and one writer per tenant. The in-memory engine with a lease and an epoch per routing
//! domain replaces it when a tenant needs more (see the routing notes on leadership).

use std::collections::BTreeSet;

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

use super::tenants_with_room;

/// How the tenants of a batch are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// Nobody is free: queue only.
    Shared,
    /// Match.
    Exclusive,
}

/// Waits until this transaction alone decides for these tenants.
pub async fn lock(conn: &mut PgConnection, tenants: &BTreeSet<TenantId>) -> Result<(), Error> {
    let sorted: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtextextended(tenant, 23)) FROM unnest($1::text[]) AS t (tenant)",
    )
    .bind(sorted)
    .execute(conn)
    .await?;
    Ok(())
}

/// Shares the lock of these tenants, unless an agent has room somewhere or the batch `frees` one: then takes it alone.
pub async fn lock_shared_unless_room(
    conn: &mut PgConnection,
    tenants: &BTreeSet<TenantId>,
    frees: bool,
) -> Result<Locked, Error> {
    if frees || tenants_with_room(conn, tenants).await? {
        lock(conn, tenants).await?;
        return Ok(Locked::Exclusive);
    }
    sqlx::query("SAVEPOINT before_lock").execute(&mut *conn).await?;
    let sorted: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended(tenant, 23)) FROM unnest($1::text[]) AS t (tenant)")
        .bind(sorted)
        .execute(&mut *conn)
        .await?;
    if !tenants_with_room(conn, tenants).await? {
        return Ok(Locked::Shared);
    }
    // Somebody became free meanwhile. Upgrading could deadlock with another sharer: let go first.
    sqlx::query("ROLLBACK TO SAVEPOINT before_lock")
        .execute(&mut *conn)
        .await?;
    lock(conn, tenants).await?;
    Ok(Locked::Exclusive)
}
