//! What the leader has not seen, and who leads.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId, WorkItemId};
use uuid::Uuid;

/// For how long a leader's transaction may stand still, before the database ends its session.
const IDLE: &str = "2s";

/// Things that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Items.
    pub items: BTreeSet<WorkItemId>,
    /// Agents.
    pub agents: BTreeSet<AgentId>,
}

impl Changed {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.agents.is_empty()
    }
}

/// Tells the leader what this transaction changes: one row, whatever it is.
pub async fn tell_leader(conn: &mut PgConnection, tenant: &TenantId, changed: &Changed) -> Result<(), Error> {
    sqlx::query("INSERT INTO changes (tenant, work_item_ids, agent_ids) VALUES ($1, $2, $3)")
        .bind(tenant.as_str())
        .bind(changed.items.iter().map(|i| i.uuid()).collect::<Vec<_>>())
        .bind(changed.agents.iter().map(AgentId::as_str).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes what has changed, of at most so many transactions, if this holder still leads in this epoch; `None` when it does
/// not. Whoever takes over waits until the transaction that asked has ended; so it must end: a process that is stopped in
/// its midst loses its session, and with it the lock. The second value says that there may be more.
pub async fn take_changes(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (holder, epoch): (&str, i64),
    limit: i64,
) -> Result<Option<(Changed, bool)>, Error> {
    type Row = (Option<Vec<Uuid>>, Option<Vec<String>>, Option<f64>);
    let rows: Vec<Row> = sqlx::query_as(
        "WITH lease AS (
             SELECT set_config('idle_in_transaction_session_timeout', $5, true) FROM leases
             WHERE tenant = $1 AND holder = $2 AND epoch = $3 FOR SHARE),
         taken AS (
             DELETE FROM changes WHERE tenant = $1 AND EXISTS (SELECT FROM lease) AND change_id = ANY(ARRAY(
                 SELECT change_id FROM changes WHERE tenant = $1 ORDER BY change_id LIMIT $4))
             RETURNING work_item_ids, agent_ids, extract(epoch FROM clock_timestamp() - noted_at)::float8 AS lag)
         SELECT work_item_ids, agent_ids, lag FROM lease LEFT JOIN taken ON true",
    )
    .bind(tenant.as_str())
    .bind(holder)
    .bind(epoch)
    .bind(limit)
    .bind(IDLE)
    .fetch_all(conn)
    .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
    let mut changed = Changed::default();
    if let Some(lag) = rows.iter().filter_map(|(.., lag)| *lag).reduce(f64::max) {
        metrics::histogram!("trama_routing_change_lag_seconds").record(lag);
    }
    for (items, agents, _) in rows {
        changed
            .items
            .extend(items.into_iter().flatten().map(WorkItemId::new));
        for agent in agents.into_iter().flatten() {
            changed.agents.insert(agent.parse()?);
        }
    }
    Ok(Some((changed, more)))
}

/// Whether a leader has something to look at, or a tenant has no leader.
pub async fn is_behind(conn: &mut PgConnection) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM changes) OR EXISTS (SELECT 1 FROM leases WHERE expires_at < clock_timestamp())",
    )
    .fetch_one(conn)
    .await?)
}

/// A tenant has something to match: somebody must lead.
pub async fn ensure_lease(conn: &mut PgConnection, tenant: &TenantId) -> Result<(), Error> {
    sqlx::query("INSERT INTO leases (tenant) VALUES ($1) ON CONFLICT (tenant) DO NOTHING")
        .bind(tenant.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether this holder still leads in this epoch; as with [`take_changes`], nobody takes over before the transaction ends.
pub async fn holds_lease(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (holder, epoch): (&str, i64),
) -> Result<bool, Error> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT set_config('idle_in_transaction_session_timeout', $4, true)
         FROM leases WHERE tenant = $1 AND holder = $2 AND epoch = $3 FOR SHARE",
    )
    .bind(tenant.as_str())
    .bind(holder)
    .bind(epoch)
    .bind(IDLE)
    .fetch_optional(conn)
    .await?;
    Ok(found.is_some())
}

/// A lease as stored.
#[derive(Debug, FromRow)]
pub struct LeaseRow {
    /// Who leads; empty when nobody does.
    pub holder: String,
    /// Its epoch.
    pub epoch: i64,
    /// Until when; `None` when nobody leads.
    pub until: Option<DateTime<Utc>>,
}

/// Who leads a tenant.
pub async fn find_lease(conn: &mut PgConnection, tenant: &TenantId) -> Result<Option<LeaseRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT CASE WHEN expires_at > clock_timestamp() THEN holder ELSE '' END AS holder, epoch,
                CASE WHEN expires_at > clock_timestamp() THEN expires_at END AS until
         FROM leases WHERE tenant = $1",
    )
    .bind(tenant.as_str())
    .fetch_optional(conn)
    .await?)
}

/// Says that a replica is there, and how many tenants are its fair share.
pub async fn beat(conn: &mut PgConnection, holder: &str, ttl_seconds: f64) -> Result<i64, Error> {
    sqlx::query(
        "INSERT INTO replicas (holder, expires_at) VALUES ($1, clock_timestamp() + make_interval(secs => $2))
         ON CONFLICT (holder) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(holder)
    .bind(ttl_seconds)
    .execute(&mut *conn)
    .await?;
    Ok(sqlx::query_scalar(
        "SELECT ceil((SELECT count(*) FROM leases)::numeric
                     / greatest(1, (SELECT count(*) FROM replicas WHERE expires_at > clock_timestamp())))::bigint",
    )
    .fetch_one(conn)
    .await?)
}

/// Takes tenants that nobody leads: up to the share at once, beyond it only what nobody else took for two seconds. What
/// a leader's last transaction still holds is left for the next time, so that it does not hold up the others.
pub async fn acquire(
    conn: &mut PgConnection,
    holder: &str,
    room: i64,
    ttl_seconds: f64,
) -> Result<Vec<(TenantId, i64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "UPDATE leases SET holder = $1, epoch = epoch + 1, expires_at = clock_timestamp() + make_interval(secs => $3)
         WHERE tenant IN (
             SELECT tenant FROM (
                 SELECT tenant, expires_at, row_number() OVER (ORDER BY expires_at, tenant) AS place FROM leases
                 WHERE expires_at < clock_timestamp()) free
             WHERE tenant IN (SELECT tenant FROM leases WHERE expires_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
               AND (place <= $2 OR expires_at < clock_timestamp() - interval '2 seconds'))
           AND expires_at < clock_timestamp()
         RETURNING tenant, epoch",
    )
    .bind(holder)
    .bind(room)
    .bind(ttl_seconds)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(tenant, epoch)| Ok((tenant.parse::<TenantId>()?, epoch)))
        .collect()
}

/// Renews what a replica leads; what is not in the answer is lost.
pub async fn renew(
    conn: &mut PgConnection,
    holder: &str,
    ttl_seconds: f64,
) -> Result<Vec<(TenantId, i64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $2) WHERE holder = $1
         RETURNING tenant, epoch",
    )
    .bind(holder)
    .bind(ttl_seconds)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(tenant, epoch)| Ok((tenant.parse::<TenantId>()?, epoch)))
        .collect()
}

/// Lets go of everything, for a graceful hand-over.
pub async fn release(conn: &mut PgConnection, holder: &str) -> Result<(), Error> {
    sqlx::query("UPDATE leases SET holder = '', expires_at = clock_timestamp() WHERE holder = $1")
        .bind(holder)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM replicas WHERE holder = $1")
        .bind(holder)
        .execute(conn)
        .await?;
    Ok(())
}

/// By which resources everything that waits is routed; `None` when that was never said.
pub async fn find_routed_by(conn: &mut PgConnection, tenant: &TenantId) -> Result<Option<Uuid>, Error> {
    let found: Option<Option<Uuid>> = sqlx::query_scalar("SELECT routed_by FROM leases WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(found.flatten())
}

/// Everything that waits is routed by these resources.
pub async fn set_routed_by(conn: &mut PgConnection, tenant: &TenantId, resources: Uuid) -> Result<(), Error> {
    sqlx::query("UPDATE leases SET routed_by = $2 WHERE tenant = $1")
        .bind(tenant.as_str())
        .bind(resources)
        .execute(conn)
        .await?;
    Ok(())
}

/// Questions whose answer must be nothing, in words.
pub async fn violations(conn: &mut PgConnection, tenant: &TenantId) -> Result<Vec<String>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT 'agent ' || a.agent_id || ' holds ' || a.used_units || ' units, the work in hand ' || coalesce(h.units, 0)
         FROM agents a
         LEFT JOIN (
             SELECT agent_id, sum(units) AS units FROM (
                 SELECT agent_id, held_units AS units FROM work_items
                 WHERE tenant = $1 AND state IN ('offered', 'assigned', 'wrapping')
                 UNION ALL
                 SELECT second_agent, second_units FROM work_items WHERE tenant = $1 AND second_agent IS NOT NULL
             ) each GROUP BY agent_id
         ) h ON h.agent_id = a.agent_id
         WHERE a.tenant = $1 AND a.used_units <> coalesce(h.units, 0)
         UNION ALL
         SELECT 'agent ' || a.agent_id || ' has ' || a.hands || ' items at work, the work in hand says ' || coalesce(h.items, 0)
         FROM agents a
         LEFT JOIN (
             SELECT agent_id, count(*) AS items FROM (
                 SELECT agent_id FROM work_items
                 WHERE tenant = $1 AND state IN ('assigned', 'wrapping') AND rest = 'no'
                 UNION ALL
                 SELECT second_agent FROM work_items
                 WHERE tenant = $1 AND second_agent IS NOT NULL AND second_joined_at IS NOT NULL
             ) each GROUP BY agent_id
         ) h ON h.agent_id = a.agent_id
         WHERE a.tenant = $1 AND a.hands <> coalesce(h.items, 0)
         UNION ALL
         SELECT 'item ' || w.work_item_id || ' is in the hands of ' || w.agent_id || ', who does not exist'
         FROM work_items w
         WHERE w.tenant = $1 AND w.state IN ('offered', 'assigned', 'wrapping')
           AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.tenant = $1 AND a.agent_id = w.agent_id)
         UNION ALL
         SELECT 'offer ' || o.offer_id || ' of item ' || o.work_item_id || ' is open, the item is not offered by it'
         FROM offers o JOIN work_items w ON w.tenant = o.tenant AND w.work_item_id = o.work_item_id
         WHERE o.tenant = $1 AND o.state IN ('pending', 'accepted')
           AND w.offer_id IS DISTINCT FROM o.offer_id AND w.second_offer_id IS DISTINCT FROM o.offer_id
         LIMIT 50",
    )
    .bind(tenant.as_str())
    .fetch_all(conn)
    .await?)
}
