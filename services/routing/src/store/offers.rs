//! Offers.

use chrono::{DateTime, Utc};
use sqlx::FromRow;
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::ids::{AgentId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use super::handover_word;
use crate::domain::HandoverNote;

const KEY: &[(&str, &str)] = &[("offer_id", "uuid")];
/// What the agent is told by who hands the work over.
pub const NOTE: Column = Column::text("offers", "note", KEY);
/// The agent's words when declining.
pub const REASON: Column = Column::text("offers", "reason", KEY);

/// An offer to write.
#[derive(Debug, Clone)]
pub struct NewOffer {
    /// Id.
    pub offer: OfferId,
    /// What.
    pub item: WorkItemId,
    /// To whom.
    pub agent: AgentId,
    /// Whether the second seat is offered.
    pub second: bool,
    /// True when nobody was asked: it counts as accepted at once.
    pub accepted: bool,
    /// Until when.
    pub expires_at: DateTime<Utc>,
    /// What the agent is told about a hand-over.
    pub told: Option<HandoverNote>,
    /// Why this agent, in words.
    pub explanation: String,
    /// Why, in numbers.
    pub why: serde_json::Value,
}

/// Writes offers.
pub async fn insert_offers(
    tx: &mut Tx,
    tenant: &TenantId,
    offers: &[NewOffer],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let told = |o: &NewOffer| o.told.as_ref().map(|t| handover_word(t.how));
    let note = |o: &NewOffer| o.told.as_ref().map_or_else(String::new, |t| t.note.clone());
    let mut notes: Vec<String> = offers.iter().map(note).collect();
    let places = offers.iter().map(|o| (tenant.as_str(), o.offer.uuid()));
    tx.seal(NOTE, places, &mut notes).await?;
    sqlx::query(
        "INSERT INTO offers (tenant, offer_id, work_item_id, agent_id, seat, state, offered_at, expires_at, handover,
                             from_agent, note, explanation, why)
         SELECT $1, o.offer_id, o.work_item_id, o.agent_id, o.seat, o.state, $2, o.expires_at, o.handover,
                o.from_agent, o.note, o.explanation, o.why
         FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::text[],
                     $10::text[], $11::text[], $12::text[], $13::jsonb[])
              AS o (offer_id, work_item_id, agent_id, seat, state, expires_at, handover, from_agent, note,
                    explanation, why)",
    )
    .bind(tenant.as_str())
    .bind(now)
    .bind(offers.iter().map(|o| o.offer.uuid()).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| o.item.uuid()).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| o.agent.as_str()).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| if o.second { "second" } else { "owner" }).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| if o.accepted { "accepted" } else { "pending" }).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| o.expires_at).collect::<Vec<_>>())
    .bind(offers.iter().map(told).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| o.told.as_ref().map(|t| t.from.as_str())).collect::<Vec<_>>())
    .bind(notes)
    .bind(offers.iter().map(|o| o.explanation.as_str()).collect::<Vec<_>>())
    .bind(offers.iter().map(|o| &o.why).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How an offer went on.
#[derive(Debug, Clone)]
pub struct MovedOffer {
    /// Which.
    pub offer: OfferId,
    /// New state.
    pub state: &'static str,
    /// The agent's words.
    pub reason: String,
    /// The second agent is the owner now.
    pub owns: bool,
}

/// Moves offers on: those that end first, so that they are out of the way of the index on live ones.
pub async fn move_offers(
    tx: &mut Tx,
    tenant: &TenantId,
    offers: &[MovedOffer],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    for last in [false, true] {
        let these: Vec<&MovedOffer> = offers.iter().filter(|o| o.owns == last).collect();
        if these.is_empty() {
            continue;
        }
        let mut reasons: Vec<String> = these.iter().map(|o| o.reason.clone()).collect();
        let places = these.iter().map(|o| (tenant.as_str(), o.offer.uuid()));
        tx.seal(REASON, places, &mut reasons).await?;
        sqlx::query(
            "UPDATE offers SET state = e.state, reason = e.reason, seat = CASE WHEN e.owns THEN 'owner' ELSE seat END,
                 ended_at = CASE WHEN e.state = 'accepted' THEN NULL ELSE $6 END
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::boolean[]) AS e (offer_id, state, reason, owns)
             WHERE offers.tenant = $1 AND offers.offer_id = e.offer_id",
        )
        .bind(tenant.as_str())
        .bind(these.iter().map(|o| o.offer.uuid()).collect::<Vec<_>>())
        .bind(these.iter().map(|o| o.state).collect::<Vec<_>>())
        .bind(reasons)
        .bind(these.iter().map(|o| o.owns).collect::<Vec<_>>())
        .bind(now)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// An offer as stored.
#[derive(Debug, FromRow)]
pub struct OfferRow {
    /// Id.
    pub offer_id: Uuid,
    /// What was offered.
    pub work_item_id: Uuid,
    /// To whom.
    pub agent_id: String,
    /// Its state.
    pub state: String,
    /// When.
    pub offered_at: DateTime<Utc>,
    /// Why this agent.
    pub explanation: String,
    /// The agent's words.
    pub reason: String,
}

async fn opened(tx: &mut Tx, tenant: &TenantId, mut rows: Vec<OfferRow>) -> Result<Vec<OfferRow>, Error> {
    let sealed = rows
        .iter_mut()
        .map(|r| (tenant.as_str(), r.offer_id, &mut r.reason));
    tx.open(REASON, sealed).await?;
    Ok(rows)
}

/// These offers.
pub async fn read_offers(tx: &mut Tx, tenant: &TenantId, ids: &[OfferId]) -> Result<Vec<OfferRow>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|o| o.uuid()).collect();
    let rows = sqlx::query_as(
        "SELECT offer_id, work_item_id, agent_id, state, offered_at, explanation, reason
         FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (SELECT * FROM offers WHERE tenant = $1 AND offer_id = wanted.id OFFSET 0) o",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(tx.conn())
    .await?;
    opened(tx, tenant, rows).await
}

/// Offers of an item, newest first.
pub async fn offers_of(tx: &mut Tx, tenant: &TenantId, item: WorkItemId) -> Result<Vec<OfferRow>, Error> {
    let rows = sqlx::query_as(
        "SELECT offer_id, work_item_id, agent_id, state, offered_at, explanation, reason
         FROM offers WHERE tenant = $1 AND work_item_id = $2 ORDER BY offered_at DESC, offer_id DESC LIMIT 100",
    )
    .bind(tenant.as_str())
    .bind(item.uuid())
    .fetch_all(tx.conn())
    .await?;
    opened(tx, tenant, rows).await
}
