//! Work items.

mod columns;
mod moves;
mod row;
mod write;

use std::collections::HashMap;

use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

pub use moves::{move_items, only_moves};
pub(crate) use row::{handover_of, handover_word};
pub use write::write_items;

use crate::domain::WorkItem;
use row::{Row, columns, columns_by_id};

const KEY: &[(&str, &str)] = &[("work_item_id", "uuid")];
/// What the agent is shown of the case.
pub const SNAPSHOT: Column = Column::bytes("work_items", "snapshot", KEY);
/// What the next agent is told.
pub const HANDOVER: Column = Column::json("work_items", "handover", KEY);
/// What the second agent is told.
pub const SECOND: Column = Column::json("work_items", "second", KEY);

async fn items(tx: &mut Tx, tenant: &TenantId, mut rows: Vec<Row>) -> Result<Vec<WorkItem>, Error> {
    row::open(tx, tenant, &mut rows).await?;
    rows.into_iter().map(Row::item).collect()
}

/// The last item of each of these cases, locked. Locks are taken in the order of ids, as everywhere.
pub async fn last_of_cases(tx: &mut Tx, tenant: &TenantId, cases: &[CaseId]) -> Result<Vec<WorkItem>, Error> {
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
    .fetch_all(tx.conn())
    .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    lock(tx, tenant, &ids).await
}

/// Locks in the order of ids, as everywhere.
async fn lock(tx: &mut Tx, tenant: &TenantId, ids: &[Uuid]) -> Result<Vec<WorkItem>, Error> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query_as(columns_by_id!("FOR UPDATE"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(tx.conn())
        .await?;
    items(tx, tenant, rows).await
}

/// These items, locked. Tombstones are none.
pub async fn lock_items(tx: &mut Tx, tenant: &TenantId, ids: &[WorkItemId]) -> Result<Vec<WorkItem>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).collect();
    let mut found = lock(tx, tenant, &ids).await?;
    found.retain(|item| item.number > 0);
    Ok(found)
}

/// These items and the items of these offers, locked.
pub async fn lock_with_offers(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).chain(offered).collect();
    let mut found = lock(tx, tenant, &ids).await?;
    found.retain(|item| item.number > 0);
    Ok(found)
}

/// These items as they are, not locked.
pub async fn read_items(tx: &mut Tx, tenant: &TenantId, ids: &[WorkItemId]) -> Result<Vec<WorkItem>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|i| i.uuid()).collect();
    let rows = sqlx::query_as(columns_by_id!("OFFSET 0"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(tx.conn())
        .await?;
    items(tx, tenant, rows).await
}

/// Every open item, after `after`, not locked.
pub async fn read_open(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    items(tx, tenant, rows).await
}

/// What these agents have in their hands, as owners or as second agents, not locked.
pub async fn read_in_hand_of(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query_as(columns_by_id!("OFFSET 0"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(tx.conn())
        .await?;
    items(tx, tenant, rows).await
}

/// What these agents have in their hands, or what waits for them alone, locked.
pub async fn lock_of_agents(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    items(tx, tenant, rows).await
}

/// What waits in a queue, locked; at most so many.
pub async fn lock_waiting_in(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    lock(tx, tenant, &ids).await
}

/// The encoded context of an item.
pub async fn read_snapshot(
    tx: &mut Tx,
    tenant: &TenantId,
    item: WorkItemId,
) -> Result<Option<Vec<u8>>, Error> {
    let found: Option<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT snapshot FROM work_items WHERE tenant = $1 AND work_item_id = $2")
            .bind(tenant.as_str())
            .bind(item.uuid())
            .fetch_optional(tx.conn())
            .await?;
    let mut found = found.flatten();
    tx.open(SNAPSHOT, [(tenant.as_str(), item.uuid(), &mut found)])
        .await?;
    Ok(found)
}

/// The contexts of these items.
pub async fn read_snapshots(
    tx: &mut Tx,
    tenant: &TenantId,
    items: &[WorkItemId],
) -> Result<HashMap<WorkItemId, Vec<u8>>, Error> {
    let ids: Vec<Uuid> = items.iter().map(|i| i.uuid()).collect();
    let mut rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT w.work_item_id, w.snapshot FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT work_item_id, snapshot FROM work_items WHERE tenant = $1 AND work_item_id = wanted.id OFFSET 0
         ) w WHERE w.snapshot IS NOT NULL",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(tx.conn())
    .await?;
    let sealed = rows.iter_mut().map(|(id, bytes)| (tenant.as_str(), *id, bytes));
    tx.open(SNAPSHOT, sealed).await?;
    Ok(rows
        .into_iter()
        .map(|(id, bytes)| (WorkItemId::new(id), bytes))
        .collect())
}

/// Items that wait or are offered, by id after `after`.
pub async fn unanswered_after(
    tx: &mut Tx,
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
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(WorkItemId::new).collect())
}
