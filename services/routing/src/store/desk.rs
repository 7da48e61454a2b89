//! What an agent's desk must show.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{AgentId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use super::reads::WorkItemRow;

/// Work in an agent's hands: offered or assigned.
#[derive(Debug, FromRow)]
pub struct HandRow {
    /// The item.
    #[sqlx(flatten)]
    pub item: WorkItemRow,
    /// By which offer.
    pub offer_id: Uuid,
    /// When the offer lapses.
    pub expires_at: DateTime<Utc>,
    /// Why this agent.
    pub offer_explanation: String,
    /// Encoded context.
    pub snapshot: Option<Vec<u8>>,
}

/// Work in an agent's hands: these items, in the order in which it was offered.
pub async fn in_hand(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: &AgentId,
    items: &[Uuid],
) -> Result<Vec<HandRow>, Error> {
    Ok(sqlx::query_as(
        // By primary key, item by item: without fresh statistics the planner would read all of the agent's work.
        "SELECT w.work_item_id, w.case_id, w.version, w.queue, w.state, w.channel_kind, w.waiting_since, w.priority,
                w.required_skills, w.agent_id, w.answered_at, w.due_at, w.explanation,
                o.offer_id, o.expires_at, o.explanation AS offer_explanation, w.snapshot
         FROM unnest($3::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT * FROM work_items WHERE tenant = $1 AND work_item_id = wanted.id OFFSET 0
         ) w
         CROSS JOIN LATERAL (
             SELECT * FROM offers WHERE tenant = $1 AND offer_id = w.offer_id OFFSET 0
         ) o
         WHERE w.agent_id = $2 AND w.state IN ('offered', 'assigned')
         ORDER BY o.offered_at, o.offer_id",
    )
    .bind(tenant.as_str())
    .bind(agent.as_str())
    .bind(items)
    .fetch_all(conn)
    .await?)
}

/// Which items an agent has in hand, with their versions.
pub async fn in_hand_versions(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: &AgentId,
) -> Result<Vec<(WorkItemId, i64)>, Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT work_item_id, version FROM work_items
         WHERE tenant = $1 AND agent_id = $2 AND state IN ('offered', 'assigned')",
    )
    .bind(tenant.as_str())
    .bind(agent.as_str())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, version)| (WorkItemId::new(id), version))
        .collect())
}

/// What became of an offer.
#[derive(Debug, FromRow)]
pub struct OfferFate {
    /// Which.
    pub offer_id: Uuid,
    /// Its state.
    pub state: String,
}

/// What became of offers.
pub async fn fates(
    conn: &mut PgConnection,
    tenant: &TenantId,
    offers: &[OfferId],
) -> Result<Vec<OfferFate>, Error> {
    let offers: Vec<Uuid> = offers.iter().map(|o| o.uuid()).collect();
    Ok(
        sqlx::query_as("SELECT offer_id, state FROM offers WHERE tenant = $1 AND offer_id = ANY($2)")
            .bind(tenant.as_str())
            .bind(offers)
            .fetch_all(conn)
            .await?,
    )
}
