//! Work items.

mod columns;
mod moves;
mod row;
mod write;

use std::collections::HashMap;

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

pub use moves::{move_items, only_moves};
pub(crate) use row::{handover_of, handover_word};
pub use write::write_items;

use crate::domain::WorkItem;
use row::{Row, columns, columns_by_id};

fn items(rows: Vec<Row>) -> Result<Vec<WorkItem>, Error> {
    rows.into_iter().map(Row::item).collect()
}

/// The last item of each of these cases, locked. Locks are taken in the order of ids, as everywhere.
pub async fn last_of_cases(
    conn: &mut PgConnection,
    tenant: &TenantId,
    cases: &[CaseId],
) -> Result<Vec<WorkItem>, Error> {
    let cases: Vec<Uuid> = cases.iter().map(|c| c.uuid()).collect();
    // A case gets its next item from its own partition only: between finding and locking nothing is added.
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT w.work_item_id FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT work_item_id FROM work_items WHERE tenant = $1 AND case_id = wanted.id
             ORDER BY number DESC LIMIT 1
         ) w",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .fetch_all(&mut *conn)
    .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    lock(conn, tenant, &ids).await
}

/// Locks in the order of ids, as everywhere.
async fn lock(conn: &mut PgConnection, tenant: &TenantId, ids: &[Uuid]) -> Result<Vec<WorkItem>, Error> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query_as(columns_by_id!("FOR UPDATE"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(conn)
        .await?;
    items(rows)
}

/// These items, locked. Tombstones are none.
pub async fn lock_items(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[WorkItemId],
) -> Result<Vec<WorkItem>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).collect();
    let mut found = lock(conn, tenant, &ids).await?;
    found.retain(|item| item.number > 0);
    Ok(found)
}

/// These items and the items of these offers, locked.
pub async fn lock_with_offers(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[WorkItemId],
    offers: &[OfferId],
) -> Result<Vec<WorkItem>, Error> {
    let offers: Vec<Uuid> = offers.iter().map(|o| o.uuid()).collect();
    let offered: Vec<Uuid> = sqlx::query_scalar(
        "SELECT o.work_item_id FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT work_item_id FROM offers WHERE tenant = $1 AND offer_id = wanted.id OFFSET 0
         ) o",
    )
    .bind(tenant.as_str())
    .bind(offers)
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).chain(offered).collect();
    let mut found = lock(conn, tenant, &ids).await?;
    found.retain(|item| item.number > 0);
    Ok(found)
}

/// These items as they are, not locked.
pub async fn read_items(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[WorkItemId],
) -> Result<Vec<WorkItem>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).collect();
    let rows = sqlx::query_as(columns_by_id!("OFFSET 0"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(conn)
        .await?;
    items(rows)
}

/// Every open item, after `after`, not locked.
pub async fn read_open(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WorkItem>, Error> {
    let rows = sqlx::query_as(columns!(
        "work_items WHERE tenant = $1 AND work_item_id > $2 AND state IN ('pending', 'offered', 'assigned', 'wrapping')
         ORDER BY work_item_id LIMIT $3"
    ))
    .bind(tenant.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// What these agents have in their hands, as owners or as second agents, not locked.
pub async fn read_in_hand_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[&str],
) -> Result<Vec<WorkItem>, Error> {
    let mut ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT w.work_item_id FROM unnest($2::text[]) AS wanted (agent)
         CROSS JOIN LATERAL (
             SELECT work_item_id FROM work_items
             WHERE tenant = $1 AND agent_id = wanted.agent AND state IN ('offered', 'assigned', 'wrapping')
             UNION ALL SELECT work_item_id FROM work_items WHERE tenant = $1 AND second_agent = wanted.agent
         ) w",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .fetch_all(&mut *conn)
    .await?;
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query_as(columns_by_id!("OFFSET 0"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(conn)
        .await?;
    items(rows)
}

/// What these agents have in their hands, or what waits for them alone, locked.
pub async fn lock_of_agents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[AgentId],
) -> Result<Vec<WorkItem>, Error> {
    let agents: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
    let rows = sqlx::query_as(columns!(
        "work_items WHERE tenant = $1 AND ((agent_id = ANY($2) AND state IN ('offered', 'assigned', 'wrapping'))
                                OR second_agent = ANY($2) OR (pinned_agent = ANY($2) AND state = 'pending'))
         ORDER BY work_item_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(agents)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// What waits in a queue, locked; at most so many.
pub async fn lock_waiting_in(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queue: &str,
    limit: i64,
) -> Result<Vec<WorkItem>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT work_item_id FROM work_items WHERE tenant = $1 AND queue = $2 AND state = 'pending'
         ORDER BY rank_at, waiting_since, work_item_id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(queue)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    lock(conn, tenant, &ids).await
}

/// The encoded context of an item.
pub async fn read_snapshot(
    conn: &mut PgConnection,
    tenant: &TenantId,
    item: WorkItemId,
) -> Result<Option<Vec<u8>>, Error> {
    let found: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT snapshot FROM work_items WHERE tenant = $1 AND work_item_id = $2")
            .bind(tenant.as_str())
            .bind(item.uuid())
            .fetch_optional(conn)
            .await?;
    Ok(found.flatten())
}

/// The contexts of these items.
pub async fn read_snapshots(
    conn: &mut PgConnection,
    tenant: &TenantId,
    items: &[WorkItemId],
) -> Result<HashMap<WorkItemId, Vec<u8>>, Error> {
    let ids: Vec<Uuid> = items.iter().map(|i| i.uuid()).collect();
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT w.work_item_id, w.snapshot FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT work_item_id, snapshot FROM work_items WHERE tenant = $1 AND work_item_id = wanted.id OFFSET 0
         ) w WHERE w.snapshot IS NOT NULL",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, bytes)| (WorkItemId::new(id), bytes))
        .collect())
}

/// Items that wait or are offered, by id after `after`.
pub async fn unanswered_after(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WorkItemId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT work_item_id FROM work_items
         WHERE tenant = $1 AND work_item_id > $2 AND state IN ('pending', 'offered')
         ORDER BY work_item_id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(WorkItemId::new).collect())
}
