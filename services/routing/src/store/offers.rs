//! Offers.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{AgentId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

/// An offer to write.
#[derive(Debug, Clone)]
pub struct NewOffer<'a> {
    /// Id.
    pub offer: OfferId,
    /// What.
    pub item: WorkItemId,
    /// To whom.
    pub agent: &'a AgentId,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// Why this agent.
    pub explanation: &'a str,
}

/// Writes offers.
pub async fn insert_offers(
    conn: &mut PgConnection,
    tenant: &TenantId,
    offers: &[NewOffer<'_>],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = offers.iter().map(|o| o.offer.uuid()).collect();
    let items: Vec<Uuid> = offers.iter().map(|o| o.item.uuid()).collect();
    let agents: Vec<&str> = offers.iter().map(|o| o.agent.as_str()).collect();
    let expiries: Vec<DateTime<Utc>> = offers.iter().map(|o| o.expires_at).collect();
    let explanations: Vec<&str> = offers.iter().map(|o| o.explanation).collect();
    sqlx::query(
        "INSERT INTO offers (tenant, offer_id, work_item_id, agent_id, state, offered_at, expires_at, explanation)
         SELECT $1, o.offer_id, o.work_item_id, o.agent_id, 'pending', $2, o.expires_at, o.explanation
         FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::text[])
              AS o (offer_id, work_item_id, agent_id, expires_at, explanation)",
    )
    .bind(tenant.as_str())
    .bind(now)
    .bind(ids)
    .bind(items)
    .bind(agents)
    .bind(expiries)
    .bind(explanations)
    .execute(conn)
    .await?;
    Ok(())
}

/// How an offer went on.
#[derive(Debug, Clone)]
pub struct EndedOffer {
    /// Which.
    pub offer: OfferId,
    /// New state: `accepted`, `declined`, `expired`, `rescinded`, `completed`.
    pub state: &'static str,
    /// The agent's words.
    pub reason: String,
}

/// Moves offers on.
pub async fn end_offers(
    conn: &mut PgConnection,
    tenant: &TenantId,
    offers: &[EndedOffer],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = offers.iter().map(|o| o.offer.uuid()).collect();
    let states: Vec<&str> = offers.iter().map(|o| o.state).collect();
    let reasons: Vec<&str> = offers.iter().map(|o| o.reason.as_str()).collect();
    sqlx::query(
        "UPDATE offers SET state = e.state, reason = e.reason, ended_at = $5
         FROM unnest($2::uuid[], $3::text[], $4::text[]) AS e (offer_id, state, reason)
         WHERE offers.tenant = $1 AND offers.offer_id = e.offer_id",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .bind(states)
    .bind(reasons)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
