//! A batch of requests and withdrawals: fold them case by case, in their order. What waits is the leader's business.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message as _;
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    case::v1::ContextSnapshot,
    ids::{AgentId, CaseId, TenantId},
    resources::TenantResources,
    routing::v1::{OfferEnd, OverflowAction},
};

use super::{
    Change, Overflowing, Routing,
    overflow::{Looked, asks},
};
use crate::{
    domain::{
        Asked, Facts, Presence, Request, Rest, Rules, Stage, State, Way, WithdrawReason, Withdrawal,
        WorkItem, is_newer, request, route_to, tombstone,
    },
    store::{self, QueueState},
};

/// What a message says.
#[expect(
    clippy::large_enum_variant,
    reason = "they live one at a time in a batch; a box each would cost more than it saves"
)]
#[derive(Debug, Clone)]
pub enum Incoming {
    /// Somebody must act.
    Requested(Request),
    /// Nobody needs to any more.
    Withdrawn {
        /// The case.
        case_id: CaseId,
        /// See [`Request::revision`].
        revision: i64,
        /// Why.
        reason: WithdrawReason,
    },
}

impl Incoming {
    fn case_id(&self) -> CaseId {
        match self {
            Incoming::Requested(request) => request.case_id,
            Incoming::Withdrawn { case_id, .. } => *case_id,
        }
    }
}

impl Routing {
    /// Works in the messages of one tenant; `usize` is a message's place in the batch.
    pub async fn work_in(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        messages: Vec<(usize, Incoming)>,
        batch: &[Envelope],
    ) -> Result<(), Error> {
        self.led(tx, tenant).await?;
        let mut cases: Vec<CaseId> = messages.iter().map(|(_, m)| m.case_id()).collect();
        cases.sort();
        cases.dedup();
        let mut change = Change::new(tenant, tx.now());
        let mut last: HashMap<CaseId, WorkItem> = HashMap::new();
        for item in store::last_of_cases(tx, tenant, &cases).await? {
            change.know(&item);
            last.insert(item.case_id, item);
        }
        let queues = store::find_queue_states(tx.conn(), tenant).await?;
        let resources = self.resources.snapshot();
        let mut folding = Folding {
            tenant,
            rules: self.rules(tenant),
            change,
            back: BTreeSet::new(),
        };
        for (place, mut message) in messages {
            if let Incoming::Requested(asked) = &mut message {
                divert(asked, &queues, resources.tenant(tenant), tx.now());
            }
            let case_id = message.case_id();
            let before = last.remove(&case_id);
            if let Incoming::Requested(asked) = &mut message {
                let open = before.as_ref().filter(|item| item.is_open());
                let queue = open.map_or(&asked.route.queue, |item| &item.route.queue);
                let spec = resources.tenant(tenant).and_then(|r| r.queues.get(queue));
                asked.calls_back = spec.is_some_and(|q| q.callback.offer);
            }
            let after = match message {
                Incoming::Requested(asked) => folding.requested(tx, before, asked, place),
                Incoming::Withdrawn { revision, reason, .. } => {
                    folding.withdrawn(tx, before, case_id, revision, reason, place)
                }
            };
            if let Some(item) = after {
                last.insert(case_id, item);
            }
        }
        let Folding {
            rules,
            mut change,
            back,
            ..
        } = folding;
        if !back.is_empty() {
            // All at once and in their order; units are taken one by one below.
            let agents = change.agents_of_items();
            store::lock_agents(tx.conn(), tenant, &agents).await?;
        }
        for case in back {
            if let Some(item) = last.remove(&case) {
                self.come_back(tx, tenant, &rules, item, &mut change).await?;
            }
        }
        let new: Vec<Looked> = change
            .items()
            .filter(|item| {
                item.version == 0
                    && item.number > 0
                    && item.state == State::Pending
                    && item.manner.way == Way::AsTheyCame
                    && asks(resources.tenant(tenant), &item.route.queue, Stage::BeforeWaiting)
            })
            .map(|item| Looked {
                snapshot: item
                    .snapshot
                    .as_deref()
                    .and_then(|bytes| ContextSnapshot::decode(bytes).ok()),
                item: item.clone(),
            })
            .collect();
        self.overflow(tx, tenant, new, Stage::BeforeWaiting, &mut change)
            .await?;
        self.fit_units(tx, tenant, &rules, &mut change).await?;
        change.save(tx, batch, &self.signals, false).await
    }

    /// The customer of a resting conversation is back. Who has it goes on if there is room; else it waits for them, or
    /// for whoever is free first: the cap holds.
    async fn come_back(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rules: &Rules,
        item: WorkItem,
        change: &mut Change,
    ) -> Result<(), Error> {
        let State::Assigned {
            hand,
            rest: Rest::Parked | Rest::Paused,
            ..
        } = &item.state
        else {
            return Ok(());
        };
        let agent = hand.agent.clone();
        let known = store::find_agent(tx.conn(), tenant, &agent).await?;
        if let Some(known) = known.filter(|a| a.presence != Presence::Offline) {
            let units = rules.units(item.channel, known.capacity_units);
            let wanted = BTreeMap::from([(agent.clone(), units)]);
            if !store::take_units(tx.conn(), tenant, &wanted, false)
                .await?
                .is_empty()
            {
                change.units_taken(&agent, units);
                let item = item.resume(units)?;
                change.heard(&item);
                change.put(item);
                return Ok(());
            }
        }
        self.back_to_queue(
            tx,
            item,
            &agent,
            "the customer is back, the agent has no room",
            change,
        )
    }

    fn back_to_queue(
        &self,
        tx: &Tx,
        item: WorkItem,
        agent: &AgentId,
        reason: &str,
        change: &mut Change,
    ) -> Result<(), Error> {
        let (mut item, returned) = item.return_to_queue(tx.now())?;
        item.preferred = Some(agent.clone());
        change.returned(&item, &returned, reason);
        change.put(item);
        Ok(())
    }
}

/// A queue that drains takes no new work: it goes where the supervisor said.
fn divert(
    asked: &mut Request,
    queues: &HashMap<String, QueueState>,
    resources: Option<&TenantResources>,
    now: DateTime<Utc>,
) {
    let Some(state) = queues.get(&asked.route.queue).filter(|q| q.draining) else {
        return;
    };
    let snapshot = ContextSnapshot::decode(asked.snapshot.as_slice()).ok();
    let facts = Facts::of(asked.channel, snapshot.as_ref(), asked.waiting_since);
    asked.route = route_to(&state.overflow_to, &facts, resources, now);
}

struct Folding<'a> {
    tenant: &'a TenantId,
    rules: Rules,
    change: Change,
    /// Cases whose customer is back in a resting conversation.
    back: BTreeSet<CaseId>,
}

impl Folding<'_> {
    fn changed(&mut self, item: &WorkItem, place: usize) {
        self.change.caused_by(item.id, place);
        self.change.put(item.clone());
    }

    fn requested(
        &mut self,
        tx: &Tx,
        before: Option<WorkItem>,
        asked: Request,
        place: usize,
    ) -> Option<WorkItem> {
        if !is_newer(before.as_ref(), asked.revision, false) {
            metrics::counter!("trama_routing_stale_requests_total").increment(1);
            return before;
        }
        let (item, what) = request(self.tenant, before, asked, tx.now());
        match what {
            Asked::Waits | Asked::Nothing => {}
            Asked::InHand => self.change.heard(&item),
            Asked::ComesBack => {
                self.back.insert(item.case_id);
            }
            Asked::CallsBack(hold) => {
                if let Some(hold) = hold {
                    self.change.offer_ended(&item, &hold, OfferEnd::Rescinded, "");
                }
                let said = Overflowing {
                    action: OverflowAction::Callback,
                    template: None,
                    expected_at: None,
                    reason: "the caller hung up before anybody took the call: the place is kept",
                };
                self.change.overflowed(&item, said);
            }
            Asked::Left(hold) => {
                metrics::counter!("trama_routing_abandoned_total").increment(1);
                if let Some(hold) = hold {
                    self.change.offer_ended(&item, &hold, OfferEnd::Rescinded, "");
                }
            }
        }
        self.changed(&item, place);
        Some(item)
    }

    fn withdrawn(
        &mut self,
        tx: &Tx,
        before: Option<WorkItem>,
        case_id: CaseId,
        revision: i64,
        reason: WithdrawReason,
        place: usize,
    ) -> Option<WorkItem> {
        let now = tx.now();
        let item = match before {
            None => tombstone(self.tenant, case_id, revision, now),
            Some(item) if !is_newer(Some(&item), revision, true) => return Some(item),
            Some(item) => {
                let wrap_up = TimeDelta::seconds(i64::from(item.route.wrap_up_seconds));
                let (item, what) = item.withdraw(revision, reason, wrap_up, now);
                self.back.remove(&case_id);
                match what {
                    Withdrawal::Nothing | Withdrawal::Left => {}
                    Withdrawal::Rescinded(hold) => {
                        self.change.offer_ended(&item, &hold, OfferEnd::Rescinded, "");
                    }
                    Withdrawal::Completed(done) => self.change.completed(&item, &done),
                    Withdrawal::GoesOn if !self.rules.is_live(item.channel) => self.change.heard(&item),
                    Withdrawal::GoesOn => {}
                }
                item
            }
        };
        self.changed(&item, place);
        Some(item)
    }
}
