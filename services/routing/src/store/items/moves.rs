//! Writing items of which only the state has moved on: that is what offers, acceptance and completion do, thousands of
//! times a second. Their routes, contexts and the rest stay where they are.

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

use super::columns::{Columns, bind_hands};
use crate::{domain::WorkItem, error::lost_race};

/// Whether an item differs from what is stored in nothing but its state and its first answer.
pub fn only_moves(before: &WorkItem, after: &WorkItem) -> bool {
    // All fields are named, so that a new one is thought of here.
    let WorkItem {
        id,
        case_id,
        number,
        version,
        revision,
        route,
        channel,
        waiting_since,
        queued_at,
        preferred,
        pinned,
        excluded,
        transfers,
        handover,
        snapshot,
        trace,
        answered: _,
        manner,
        state: _,
    } = after;
    *version == before.version
        && *version > 0
        && snapshot.is_none()
        && before.second().is_none()
        && after.second().is_none()
        && *id == before.id
        && *case_id == before.case_id
        && *number == before.number
        && *revision == before.revision
        && *channel == before.channel
        && *waiting_since == before.waiting_since
        && *queued_at == before.queued_at
        && *preferred == before.preferred
        && *pinned == before.pinned
        && *excluded == before.excluded
        && *transfers == before.transfers
        && *handover == before.handover
        && *trace == before.trace
        && *manner == before.manner
        && *route == before.route
}

/// Writes where items stand now; each must still have the version it was read with.
pub async fn move_items(
    conn: &mut PgConnection,
    tenant: &TenantId,
    items: &[&WorkItem],
) -> Result<(), Error> {
    let states: Vec<Columns<'_>> = items.iter().map(|i| Columns::of(i)).collect();
    let statement = sqlx::query(
        "UPDATE work_items w SET version = w.version + 1, state = i.state, agent_id = i.agent_id, offer_id = i.offer_id,
             offer_expires_at = i.offer_expires_at, held_units = i.held_units, rest = i.rest,
             assigned_at = i.assigned_at, done_at = i.done_at, wrap_up_until = i.wrap_up_until,
             answered_at = i.answered_at, answered_channel = i.answered_channel,
             answered_in_target = i.answered_in_target, ended_at = i.ended_at
         FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::uuid[], $7::timestamptz[], $8::integer[],
                     $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[],
                     $14::integer[], $15::boolean[], $16::timestamptz[])
              AS i (work_item_id, version, state, agent_id, offer_id, offer_expires_at, held_units, rest, assigned_at,
                    done_at, wrap_up_until, answered_at, answered_channel, answered_in_target, ended_at)
         WHERE w.tenant = $1 AND w.work_item_id = i.work_item_id AND w.version = i.version",
    )
    .bind(tenant.as_str())
    .bind(items.iter().map(|i| i.id.uuid()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.version).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.state).collect::<Vec<_>>());
    let done = bind_hands(statement, &states).execute(conn).await?;
    if done.rows_affected() == items.len() as u64 {
        Ok(())
    } else {
        Err(lost_race("a work item"))
    }
}
