//! Writing whole items as sets.

use serde_json::Value;
use sqlx::types::Json;
use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, TenantId};

use super::{
    HANDOVER, SECOND, SNAPSHOT,
    columns::{Columns, bind_hands},
    row::{ExclusionJson, NoteJson},
};
use crate::{domain::WorkItem, error::lost_race};

/// Writes items as they are now, with all that belongs to them; each must still have the version it was read with.
pub async fn write_items(tx: &mut Tx, tenant: &TenantId, items: &[&WorkItem]) -> Result<(), Error> {
    let states: Vec<Columns<'_>> = items.iter().map(|i| Columns::of(i)).collect();
    let excluded: Vec<Value> = items
        .iter()
        .map(|i| {
            let all: Vec<ExclusionJson> = i.excluded.iter().map(ExclusionJson::of).collect();
            serde_json::to_value(all).unwrap_or_default()
        })
        .collect();
    let mut notes: Vec<Option<Value>> = items
        .iter()
        .map(|i| {
            i.handover
                .as_ref()
                .and_then(|h| serde_json::to_value(NoteJson::of(h)).ok())
        })
        .collect();
    let mut seconds: Vec<Option<Value>> = states.iter().map(|s| s.second.clone()).collect();
    let mut snapshots: Vec<Option<Vec<u8>>> = items.iter().map(|i| i.snapshot.clone()).collect();
    let places = || items.iter().map(|i| (tenant.as_str(), i.id.uuid()));
    tx.seal(HANDOVER, places(), &mut notes).await?;
    tx.seal(SECOND, places(), &mut seconds).await?;
    tx.seal(SNAPSHOT, places(), &mut snapshots).await?;
    let statement = sqlx::query(WRITE)
        .bind(tenant.as_str())
        .bind(items.iter().map(|i| i.id.uuid()).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.case_id.uuid()).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.number).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.version).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.revision).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.state).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.route.queue.as_str()).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.route.intent.as_str()).collect::<Vec<_>>())
        .bind(
            items
                .iter()
                .map(|i| i.route.entitlement.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            items
                .iter()
                .map(|i| i.route.language.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(items.iter().map(|i| i.route.priority).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.route.due_at).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.route.ranking_due_at).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.waiting_since).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.queued_at).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.channel as i32).collect::<Vec<_>>())
        .bind(items.iter().map(|i| Json(&i.route)).collect::<Vec<_>>())
        .bind(
            items
                .iter()
                .map(|i| i.preferred.as_ref().map(AgentId::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(
            items
                .iter()
                .map(|i| i.pinned.as_ref().map(AgentId::as_str))
                .collect::<Vec<_>>(),
        )
        .bind(excluded)
        .bind(items.iter().map(|i| i.transfers).collect::<Vec<_>>())
        .bind(notes)
        .bind(snapshots);
    let done = bind_hands(statement, &states)
        .bind(seconds)
        .bind(states.iter().map(|s| s.second_agent).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.second_offer).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.second_units).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.second_expires).collect::<Vec<_>>())
        .bind(states.iter().map(|s| s.second_joined).collect::<Vec<_>>())
        .bind(items.iter().map(|i| Json(&i.manner)).collect::<Vec<_>>())
        .bind(items.iter().map(|i| i.trace.as_deref()).collect::<Vec<_>>())
        .execute(tx.conn())
        .await?;
    if done.rows_affected() == items.len() as u64 {
        Ok(())
    } else {
        Err(lost_race("a work item"))
    }
}

const WRITE: &str = "INSERT INTO work_items (tenant, work_item_id, case_id, number, version, revision, state, queue, intent, entitlement, language, priority,
        due_at, rank_at, waiting_since, queued_at, channel_kind, route, preferred_agent, pinned_agent,
        exclusions, transfers, handover, snapshot, agent_id, offer_id, offer_expires_at, held_units, rest,
        assigned_at, done_at, wrap_up_until, answered_at, answered_channel, answered_in_target, ended_at, second,
        second_agent, second_offer_id, second_units, second_expires_at, second_joined_at, manner, trace)
     SELECT $1, i.work_item_id, i.case_id, i.number, i.version + 1, i.revision, i.state, i.queue, i.intent, i.entitlement,
        i.language, i.priority, i.due_at, i.rank_at, i.waiting_since, i.queued_at, i.channel_kind, i.route,
        i.preferred_agent, i.pinned_agent, i.exclusions, i.transfers, i.handover,
        i.snapshot, i.agent_id, i.offer_id, i.offer_expires_at, i.held_units, i.rest, i.assigned_at, i.done_at,
        i.wrap_up_until, i.answered_at, i.answered_channel, i.answered_in_target, i.ended_at, i.second,
        i.second_agent, i.second_offer_id, i.second_units, i.second_expires_at, i.second_joined_at, i.manner, i.trace
     FROM unnest($2::uuid[], $3::uuid[], $4::integer[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::integer[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[],
        $16::timestamptz[], $17::integer[], $18::jsonb[], $19::text[], $20::text[], $21::jsonb[], $22::integer[],
        $23::jsonb[], $24::bytea[], $25::text[], $26::uuid[], $27::timestamptz[], $28::integer[], $29::text[],
        $30::timestamptz[], $31::timestamptz[], $32::timestamptz[], $33::timestamptz[], $34::integer[],
        $35::boolean[], $36::timestamptz[], $37::jsonb[], $38::text[], $39::uuid[], $40::integer[],
        $41::timestamptz[], $42::timestamptz[], $43::jsonb[], $44::text[])
         AS i (work_item_id, case_id, number, version, revision, state, queue, intent, entitlement, language, priority,
        due_at, rank_at, waiting_since, queued_at, channel_kind, route, preferred_agent, pinned_agent,
        exclusions, transfers, handover, snapshot, agent_id, offer_id, offer_expires_at, held_units, rest,
        assigned_at, done_at, wrap_up_until, answered_at, answered_channel, answered_in_target, ended_at, second,
        second_agent, second_offer_id, second_units, second_expires_at, second_joined_at, manner, trace)
     ON CONFLICT (tenant, work_item_id) DO UPDATE SET
        version = excluded.version, revision = excluded.revision, state = excluded.state, queue = excluded.queue,
        intent = excluded.intent, entitlement = excluded.entitlement, language = excluded.language, priority =
        excluded.priority, due_at = excluded.due_at, rank_at = excluded.rank_at, waiting_since =
        excluded.waiting_since, queued_at = excluded.queued_at, channel_kind = excluded.channel_kind, route =
        excluded.route, preferred_agent = excluded.preferred_agent, pinned_agent = excluded.pinned_agent,
        exclusions = excluded.exclusions, transfers = excluded.transfers, handover = excluded.handover,
        snapshot = coalesce(excluded.snapshot, work_items.snapshot), agent_id = excluded.agent_id, offer_id =
        excluded.offer_id, offer_expires_at = excluded.offer_expires_at, held_units = excluded.held_units, rest =
        excluded.rest, assigned_at = excluded.assigned_at, done_at = excluded.done_at, wrap_up_until =
        excluded.wrap_up_until, answered_at = excluded.answered_at, answered_channel = excluded.answered_channel,
        answered_in_target = excluded.answered_in_target, ended_at = excluded.ended_at, second = excluded.second,
        second_agent = excluded.second_agent, second_offer_id = excluded.second_offer_id, second_units =
        excluded.second_units, second_expires_at = excluded.second_expires_at, second_joined_at =
        excluded.second_joined_at, manner = excluded.manner, trace = excluded.trace
     WHERE work_items.version = excluded.version - 1";
