//! What an agent's desk must show.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use super::{
    items::SNAPSHOT,
    offers::NOTE,
    reads::{WorkItemRow, columns},
};

/// Work in an agent's hands.
#[derive(Debug, Clone, FromRow)]
pub struct HandRow {
    /// The item.
    #[sqlx(flatten)]
    pub item: WorkItemRow,
    /// Who has it in hand, as owner or second agent.
    pub hand_agent: String,
    /// By which offer.
    pub offer_id: Uuid,
    /// Whether that offer waits for an answer.
    pub unanswered: bool,
    /// When the offer lapses.
    pub expires_at: DateTime<Utc>,
    /// How it was handed over.
    pub handover: Option<String>,
    /// By whom.
    pub from_agent: Option<String>,
    /// With which words.
    pub note: String,
    /// Why this agent.
    pub offer_explanation: String,
    /// Encoded context.
    pub snapshot: Option<Vec<u8>>,
    /// The trace that the item belongs to.
    pub trace: Option<String>,
}

/// Work in agents' hands: what `agents[n]` has of `items[n]`, in the order in which it was offered.
pub async fn in_hand(
    tx: &mut Tx,
    tenant: &TenantId,
    agents: &[&str],
    items: &[Uuid],
) -> Result<Vec<HandRow>, Error> {
    let mut rows: Vec<HandRow> = sqlx::query_as(columns!(
        // By primary key, item by item: without fresh statistics the planner would read all of the agent's work.
        "SELECT ",
        ", wanted.agent AS hand_agent, o.offer_id, o.state = 'pending' AS unanswered, o.expires_at, o.handover,
            o.from_agent, o.note, o.explanation AS offer_explanation, w.snapshot, w.trace
         FROM unnest($2::text[], $3::uuid[]) AS wanted (agent, id)
         CROSS JOIN LATERAL (
             SELECT *, CASE WHEN agent_id = wanted.agent AND state IN ('offered', 'assigned', 'wrapping')
                            THEN offer_id WHEN second_agent = wanted.agent THEN second_offer_id END AS hand_offer
             FROM work_items WHERE tenant = $1 AND work_item_id = wanted.id OFFSET 0
         ) w
         CROSS JOIN LATERAL (
             SELECT * FROM offers WHERE tenant = $1 AND offer_id = w.hand_offer OFFSET 0
         ) o
         ORDER BY o.offered_at, o.offer_id"
    ))
    .bind(tenant.as_str())
    .bind(agents)
    .bind(items)
    .fetch_all(tx.conn())
    .await?;
    let notes = rows
        .iter_mut()
        .map(|r| (tenant.as_str(), r.offer_id, &mut r.note));
    tx.open(NOTE, notes).await?;
    let contexts = rows
        .iter_mut()
        .map(|r| (tenant.as_str(), r.item.work_item_id, &mut r.snapshot));
    tx.open(SNAPSHOT, contexts).await?;
    Ok(rows)
}

/// Which items agents have in hand, with their versions.
pub async fn in_hand_versions(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[AgentId],
) -> Result<Vec<(AgentId, WorkItemId, i64)>, Error> {
    let rows: Vec<(String, Uuid, i64)> = sqlx::query_as(
        // Agent by agent, by index: without fresh statistics the planner would read everything that is open.
        "SELECT wanted.agent, w.work_item_id, w.version
         FROM (SELECT DISTINCT unnest($2::text[]) AS agent) wanted
         CROSS JOIN LATERAL (
             SELECT work_item_id, version FROM work_items
             WHERE tenant = $1 AND agent_id = wanted.agent AND state IN ('offered', 'assigned', 'wrapping')
             UNION SELECT work_item_id, version FROM work_items WHERE tenant = $1 AND second_agent = wanted.agent
             OFFSET 0
         ) w",
    )
    .bind(tenant.as_str())
    .bind(agents.iter().map(AgentId::as_str).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(agent, id, version)| Ok((agent.parse()?, WorkItemId::new(id), version)))
        .collect()
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
    Ok(sqlx::query_as(
        "SELECT o.offer_id, o.state FROM unnest($2::uuid[]) AS wanted (id)
             CROSS JOIN LATERAL (
                 SELECT offer_id, state FROM offers WHERE tenant = $1 AND offer_id = wanted.id OFFSET 0
             ) o",
    )
    .bind(tenant.as_str())
    .bind(offers)
    .fetch_all(conn)
    .await?)
}

/// An agent's offers that ended since a moment.
pub async fn ended_since(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: &AgentId,
    since: DateTime<Utc>,
) -> Result<Vec<OfferFate>, Error> {
    Ok(sqlx::query_as(
        "SELECT offer_id, state FROM offers
         WHERE tenant = $1 AND agent_id = $2 AND state NOT IN ('pending', 'accepted') AND ended_at >= $3
         ORDER BY ended_at, offer_id LIMIT 1000",
    )
    .bind(tenant.as_str())
    .bind(agent.as_str())
    .bind(since)
    .fetch_all(conn)
    .await?)
}
