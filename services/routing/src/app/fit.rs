//! A conversation in hand that moves to another channel takes the units of that channel, as far as there is room.

use std::collections::BTreeMap;

use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, TenantId, WorkItemId};

use super::{Change, Routing};
use crate::{
    domain::{Rest, Rules, State, WorkItem},
    store,
};

/// Who holds an item, with how many units, when those may depend on its channel.
fn in_use(item: &WorkItem) -> Option<(&AgentId, i32)> {
    match &item.state {
        State::Offered(hold) => Some((&hold.agent, hold.units)),
        State::Assigned {
            hand, rest: Rest::No, ..
        } => Some((&hand.agent, hand.units)),
        State::Assigned { .. }
        | State::Pending
        | State::Wrapping { .. }
        | State::Completed { .. }
        | State::Cancelled { .. }
        | State::Abandoned { .. } => None,
    }
}

impl Routing {
    /// Gives what moved to another channel the units of that channel. Where there is no room for more it keeps what it
    /// has: the cap holds.
    pub(super) async fn fit_units(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rules: &Rules,
        change: &mut Change,
    ) -> Result<(), Error> {
        // What takes a whole agent differs from any number until the agent is known.
        let moved: Vec<WorkItemId> = change
            .items()
            .filter(|item| in_use(item).is_some_and(|(_, held)| rules.units(item.channel, i32::MAX) != held))
            .map(|item| item.id)
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        let agents = change.agents_of_items();
        let locked = store::lock_agents(tx.conn(), tenant, &agents).await?;
        for id in moved {
            let Some(item) = change.items().find(|item| item.id == id).cloned() else {
                continue;
            };
            let Some((agent, held)) = in_use(&item) else {
                continue;
            };
            let Some(capacity) = locked.get(agent).map(|a| a.capacity_units) else {
                continue;
            };
            let (agent, more) = (agent.clone(), rules.units(item.channel, capacity) - held);
            if more > 0 {
                let wanted = BTreeMap::from([(agent.clone(), more)]);
                if store::take_units(tx.conn(), tenant, &wanted, false)
                    .await?
                    .is_empty()
                {
                    continue;
                }
                change.units_taken(&agent, more);
            }
            change.put(item.using(held + more));
        }
        Ok(())
    }
}
