//! One look: what has changed, what follows from it, written in one transaction.

use std::collections::BTreeSet;

use trama_platform::{Error, Tx};
use trama_proto::ids::AgentId;
use uuid::Uuid;

use super::{
    lead::{Lead, Looked},
    seat::Floor,
};
use crate::{
    domain::{Rules, WorkItem},
    store::{self, Changed},
};

/// Transactions whose changes one look takes in.
const CHANGES: i64 = 500;
/// Rows that are loaded at once when a leader begins.
const SLAB: i64 = 5_000;

impl Lead {
    /// Loads everything that is open. Nothing is offered before that is done; offers that stand, stand.
    pub(super) async fn load(&self) -> Result<Option<Floor>, Error> {
        let started = tokio::time::Instant::now();
        let mut tx = self.routing.db.system_tx().await?;
        // Taken before the state is read: what commits later leaves a row for the next look.
        loop {
            match store::take_changes(tx.conn(), &self.tenant, self.lease(), CHANGES).await? {
                None => return Ok(None),
                Some((_, false)) => break,
                Some((_, true)) => {}
            }
        }
        let resources = self.routing.resources.snapshot();
        let resources = resources.tenant(&self.tenant);
        let mut floor = Floor::new(Rules::of(resources));
        let now = tx.now();
        let mut after = String::new();
        loop {
            // By id: so agents get the same numbers whoever leads.
            let agents = store::list_agents(tx.conn(), &self.tenant, &after, SLAB).await?;
            for agent in &agents {
                floor.put_agent(agent, resources, now);
            }
            match agents.last() {
                Some(last) if i64::try_from(agents.len()).unwrap_or(i64::MAX) >= SLAB => {
                    last.id.as_str().clone_into(&mut after);
                }
                Some(_) | None => break,
            }
        }
        let mut after = Uuid::nil();
        loop {
            let items = store::read_open(&mut tx, &self.tenant, after, SLAB).await?;
            for item in &items {
                floor.put_item(item, resources, now);
            }
            match items.last() {
                Some(last) if i64::try_from(items.len()).unwrap_or(i64::MAX) >= SLAB => {
                    after = last.id.uuid()
                }
                Some(_) | None => break,
            }
        }
        tx.commit().await?;
        metrics::histogram!("trama_routing_load_seconds").record(started.elapsed().as_secs_f64());
        Ok(Some(floor))
    }

    /// By what this leader leads.
    pub(super) fn lease(&self) -> (&str, i64) {
        (&self.routing.leaders.me, self.led.epoch)
    }

    /// Takes in what has changed, decides, writes.
    pub(super) async fn tick(&mut self, floor: &mut Floor) -> Result<Looked, Error> {
        if let Some(looked) = self.tend(floor).await? {
            return Ok(looked);
        }
        let mut tx = self.routing.db.system_tx().await?;
        let taken = store::take_changes(tx.conn(), &self.tenant, self.lease(), CHANGES).await?;
        let Some((mut changed, more)) = taken else {
            return Ok(Looked::Fenced);
        };
        let now = tx.now();
        let took = !changed.is_empty();
        changed.items.extend(floor.lapsed(now));
        changed.agents.extend(floor.shifted(now));
        self.take_in(&mut tx, floor, changed).await?;
        let decision = floor.engine.decide(now.timestamp_millis());
        floor.decided_at = Some(now);
        metrics::counter!("trama_routing_ticks_total").increment(1);
        metrics::counter!("trama_routing_decisions_total").increment(decision.offers.len() as u64);
        let chores = Self::chores(floor);
        let again = more;
        if decision.offers.is_empty() && chores.is_empty() {
            if took {
                tx.commit().await?;
            }
        } else {
            let refused = self.write(tx, floor, decision.offers, &chores).await?;
            if refused {
                // What is true has been put; nothing is lost by looking once more, a little later.
                return Ok(Looked::Until(Some(now + chrono::TimeDelta::milliseconds(50))));
            }
        }
        if again {
            return Ok(Looked::Again);
        }
        let wake = decision.wake.and_then(chrono::DateTime::from_timestamp_millis);
        // A millisecond is rounded up: waking too early would find nothing due.
        let wake = wake.map(|at| at + chrono::TimeDelta::milliseconds(1));
        Ok(Looked::Until(wake.into_iter().chain(floor.next_lapse()).min()))
    }

    /// Puts what the database says about these things.
    pub(super) async fn take_in(
        &self,
        tx: &mut Tx,
        floor: &mut Floor,
        changed: Changed,
    ) -> Result<(), Error> {
        if changed.is_empty() {
            return Ok(());
        }
        let resources = self.routing.resources.snapshot();
        let resources = resources.tenant(&self.tenant);
        let ids: Vec<_> = changed.items.iter().copied().collect();
        let items: Vec<WorkItem> = if ids.is_empty() {
            Vec::new()
        } else {
            store::read_items(tx, &self.tenant, &ids).await?
        };
        // Agents of these items too: their load has changed with them.
        let mut agents: BTreeSet<&AgentId> = changed.agents.iter().collect();
        agents.extend(items.iter().flat_map(WorkItem::agents));
        let agents: Vec<&str> = agents.into_iter().map(AgentId::as_str).collect();
        if !agents.is_empty() {
            for agent in store::read_agents(tx.conn(), &self.tenant, &agents).await? {
                floor.put_agent(&agent, resources, tx.now());
            }
        }
        for item in items.iter().filter(|i| i.number > 0) {
            floor.put_item(item, resources, tx.now());
        }
        Ok(())
    }
}
