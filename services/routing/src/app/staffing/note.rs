//! What planning learns from the routing: called in the transactions that end work and change presence.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, TenantId, WorkItemId};

use crate::{
    domain::{Agent, State, WorkItem},
    store::staffing::{self as store, Ended},
};

/// Counts the items that end at `now`, and writes down the presence of agents who have another one.
pub async fn note(
    tx: &mut Tx,
    tenant: &TenantId,
    items: &BTreeMap<WorkItemId, WorkItem>,
    agents: &BTreeMap<AgentId, Agent>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ended: Vec<Ended<'_>> = items.values().filter_map(|item| ended(item, now)).collect();
    store::count_ended(tx.conn(), tenant, &ended).await?;
    if agents.is_empty() {
        return Ok(());
    }
    let agents: Vec<&str> = agents.keys().map(AgentId::as_str).collect();
    store::saw_presence(tx.conn(), tenant, &agents).await
}

fn ended(item: &WorkItem, now: DateTime<Utc>) -> Option<Ended<'_>> {
    let (at, handle_seconds) = match &item.state {
        State::Completed {
            agent,
            assigned_at,
            at,
            ..
        } => {
            let since = assigned_at.filter(|_| agent.is_some());
            (*at, since.map(|since| (*at - since).as_seconds_f64().max(0.0)))
        }
        // A caller who is called back is none: their item goes on.
        State::Abandoned { at } => (*at, None),
        // Cancelled work needed nobody: the assistant did it, or another case has it.
        State::Cancelled { .. }
        | State::Pending
        | State::Offered(_)
        | State::Assigned { .. }
        | State::Wrapping { .. } => return None,
    };
    // Ended work may be written again, when a later message moves its revision.
    (at == now && item.number > 0).then_some(Ended {
        channel: item.channel,
        intent: &item.route.intent,
        language: &item.route.language,
        waiting_since: item.waiting_since,
        handle_seconds,
    })
}
