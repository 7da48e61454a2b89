//! What the leader does about work that waits: asks its overflow when it is time, and routes it anew when the resources
//! are others.

use std::{collections::BTreeSet, sync::Arc};

use prost::Message as _;
use trama_platform::Error;
use trama_proto::{
    case::v1::ContextSnapshot,
    ids::{WorkItemId, derive},
    resources::{Resources, TenantResources},
};
use uuid::Uuid;

use super::{
    lead::{Lead, Looked as Outcome},
    seat::Floor,
};
use crate::{
    app::{Change, Looked},
    domain::{Facts, Route, Rules, Stage, State, WorkItem, route},
    store,
};

/// Items that are looked at in one transaction.
const SLICE: usize = 500;

/// What routes depend on, as a number. Equal for equal resources, whatever replica asks.
fn fingerprint(resources: Option<&TenantResources>) -> Result<Uuid, Error> {
    let bytes = match resources {
        None => Vec::new(),
        Some(r) => serde_json::to_vec(&(&r.queues, &r.routing_policies, &r.entitlements, &r.business_hours))
            .map_err(|e| Error::internal(format!("resources cannot be written: {e}")))?,
    };
    Ok(derive(&[b"routed-by", &bytes]))
}

/// Whether two routes differ in more than words and moments of asking.
fn differ(a: &Route, b: &Route) -> bool {
    let plain = |route: &Route| Route {
        opens_at: None,
        failed_conditions: 0,
        explanation: String::new(),
        ..route.clone()
    };
    plain(a) != plain(b)
}

impl Lead {
    /// Notes other resources: agents are told again, and waiting work is routed anew unless that was done by these. False
    /// when somebody else leads.
    pub(super) async fn see_resources(&mut self, floor: &mut Floor) -> Result<bool, Error> {
        let resources: Arc<Resources> = self.routing.resources.snapshot();
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen, &resources))
        {
            return Ok(true);
        }
        let tenant = resources.tenant(&self.tenant);
        if Rules::of(tenant) != floor.rules {
            // What is in hand counts by the rules it was taken by, and who is asked again when by those of now.
            match self.load().await? {
                Some(loaded) => *floor = loaded,
                None => return Ok(false),
            }
        }
        let print = fingerprint(tenant)?;
        let mut tx = self.routing.db.system_tx().await?;
        let known = store::find_routed_by(tx.conn(), &self.tenant).await?;
        let now = tx.now();
        drop(tx);
        floor.put_agents_again(tenant, now);
        floor.rerouting = (known != Some(print)).then(Uuid::nil);
        self.seen = Some(resources);
        Ok(true)
    }

    /// Looks at waiting work that is due. `None`: there is nothing of that kind to do.
    pub(super) async fn tend(&mut self, floor: &mut Floor) -> Result<Option<Outcome>, Error> {
        if !self.see_resources(floor).await? {
            return Ok(Some(Outcome::Fenced));
        }
        let due = floor.looks.take(self.routing.db.clock().now(), SLICE);
        if due.is_empty() && floor.rerouting.is_none() {
            return Ok(None);
        }
        let mut tx = self.routing.db.system_tx().await?;
        if !store::holds_lease(tx.conn(), &self.tenant, self.lease()).await? {
            return Ok(Some(Outcome::Fenced));
        }
        let now = tx.now();
        let anew: Vec<WorkItemId> = match floor.rerouting {
            Some(after) => {
                let limit = i64::try_from(SLICE).unwrap_or(i64::MAX);
                store::unanswered_after(&mut tx, &self.tenant, after, limit).await?
            }
            None => Vec::new(),
        };
        let ids: BTreeSet<WorkItemId> = due.iter().chain(&anew).copied().collect();
        let ids: Vec<WorkItemId> = ids.into_iter().collect();
        let items = store::lock_items(&mut tx, &self.tenant, &ids).await?;
        let mut contexts = store::read_snapshots(&mut tx, &self.tenant, &ids).await?;
        let queues = store::find_queue_states(tx.conn(), &self.tenant).await?;
        // Those that were seen: a pass that began with them ends with them.
        let seen = self
            .seen
            .clone()
            .unwrap_or_else(|| self.routing.resources.snapshot());
        let resources = seen.tenant(&self.tenant);
        let mut change = Change::new(&self.tenant, now);
        let mut asked = Vec::new();
        for item in items {
            change.know(&item);
            let snapshot = contexts
                .remove(&item.id)
                .and_then(|bytes| ContextSnapshot::decode(bytes.as_slice()).ok());
            let mut item = item;
            // Where a person or an overflow sent it, it stays.
            let ours = item.transfers == 0 && item.manner.left.is_empty();
            if ours && anew.binary_search(&item.id).is_ok() && is_unanswered(&item) {
                let facts = Facts::of(item.channel, snapshot.as_ref(), item.waiting_since);
                let new = route(&facts, resources, now);
                let moves = new.queue != item.route.queue;
                let drains = queues.get(&new.queue).is_some_and(|q| q.draining);
                if differ(&new, &item.route) && !(moves && drains) {
                    item.route = new;
                    item.keep_promise();
                    if moves {
                        item.queued_at = now;
                        item.manner.told = None;
                    }
                    change.put(item.clone());
                }
            }
            if due.contains(&item.id) && item.state == State::Pending {
                asked.push(Looked { item, snapshot });
            }
        }
        self.routing
            .overflow(&mut tx, &self.tenant, asked, Stage::WhileWaiting, &mut change)
            .await?;
        let next = (anew.len() >= SLICE)
            .then(|| anew.last().map(|id| id.uuid()))
            .flatten();
        if floor.rerouting.is_some() && next.is_none() {
            store::set_routed_by(tx.conn(), &self.tenant, fingerprint(resources)?).await?;
        }
        let written: Vec<WorkItem> = change.items().cloned().collect();
        change.save(&mut tx, &[], &self.routing.signals, true).await?;
        self.commit(tx).await?;
        floor.rerouting = next;
        for mut item in written {
            item.version += 1;
            floor.put_item(&item, resources, now);
        }
        Ok(Some(Outcome::Again))
    }
}

fn is_unanswered(item: &WorkItem) -> bool {
    match item.state {
        State::Pending | State::Offered(_) => true,
        State::Assigned { .. }
        | State::Wrapping { .. }
        | State::Completed { .. }
        | State::Cancelled { .. }
        | State::Abandoned { .. } => false,
    }
}
