//! What one transaction does to one tenant: collected in memory, matched, written as sets.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, stage::Envelope, timers::TimerSpec};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::{OfferAccepted, OfferEnd, OfferEnded, OfferMade, WorkCompleted},
    time::to_wire,
};

use super::{DESK_HINT, OFFER_EXPIRY, REMATCH};
use crate::{
    config::Config,
    domain::{Done, Hold, Match, State, WorkItem, decide},
    store::{self, Delta, EndedOffer, NewOffer},
};

/// Changes of one tenant, in one transaction.
pub struct Change {
    tenant: TenantId,
    now: DateTime<Utc>,
    items: BTreeMap<WorkItemId, WorkItem>,
    /// Which message of the batch an item's events follow.
    causes: HashMap<WorkItemId, usize>,
    events: Vec<(WorkItemId, Event)>,
    offers: Vec<EndedOffer>,
    deltas: BTreeMap<AgentId, Delta>,
    freed: BTreeSet<AgentId>,
    /// Most waiting items that are looked at when agents become free.
    look_ahead: i64,
}

enum Event {
    Made(OfferMade),
    Accepted(OfferAccepted),
    Ended(OfferEnded),
    Completed(WorkCompleted),
}

impl Change {
    /// Nothing yet.
    pub fn new(tenant: &TenantId, now: DateTime<Utc>, config: Config) -> Self {
        Self {
            tenant: tenant.clone(),
            now,
            items: BTreeMap::new(),
            causes: HashMap::new(),
            events: Vec::new(),
            offers: Vec::new(),
            deltas: BTreeMap::new(),
            freed: BTreeSet::new(),
            look_ahead: config.look_ahead(),
        }
    }

    /// An item is now like this.
    pub fn put(&mut self, item: WorkItem) {
        self.items.insert(item.id, item);
    }

    /// The events of an item follow this message of the batch.
    pub fn caused_by(&mut self, item: WorkItemId, message: usize) {
        self.causes.insert(item, message);
    }

    /// An agent may be able to take more than before.
    pub fn free(&mut self, agent: AgentId) {
        self.freed.insert(agent);
    }

    /// The desk learns after the commit that work in hand has changed.
    pub fn tell_desk(&self, tx: &mut Tx, agent: &AgentId, item: WorkItemId) {
        tx.arm(TimerSpec {
            tenant: self.tenant.clone(),
            kind: DESK_HINT,
            key: item.to_string(),
            due_at: self.now,
            payload: serde_json::json!({ "agent": agent.as_str() }),
        });
    }

    /// An offer was accepted: the item is assigned. `human`: they may get the next offer now.
    pub fn accepted(&mut self, item: &WorkItem, human: bool) {
        let State::Assigned { offer, agent, .. } = &item.state else {
            return;
        };
        self.offers.push(EndedOffer {
            offer: *offer,
            state: "accepted",
            reason: String::new(),
        });
        if human {
            self.delta(agent, 0, -1);
            self.freed.insert(agent.clone());
        }
        let accepted = OfferAccepted {
            offer_id: offer.to_string(),
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            agent_id: agent.to_string(),
            accepted_at: Some(to_wire(self.now)),
            channel_kind: item.channel.into(),
            waited_seconds: (self.now - item.waiting_since).num_seconds().max(0),
        };
        self.events.push((item.id, Event::Accepted(accepted)));
    }

    /// An offer came to nothing. `still_there`: the agent may get the next one.
    pub fn offer_ended(
        &mut self,
        item: &WorkItem,
        hold: &Hold,
        end: OfferEnd,
        reason: &str,
        still_there: bool,
    ) {
        let state = match end {
            OfferEnd::Declined => "declined",
            OfferEnd::Expired => "expired",
            OfferEnd::Rescinded | OfferEnd::Unspecified => "rescinded",
        };
        self.offers.push(EndedOffer {
            offer: hold.offer,
            state,
            reason: reason.to_owned(),
        });
        self.delta(&hold.agent, -hold.units, -1);
        if still_there {
            self.freed.insert(hold.agent.clone());
        }
        let ended = OfferEnded {
            offer_id: hold.offer.to_string(),
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            agent_id: hold.agent.to_string(),
            end: end.into(),
            ended_at: Some(to_wire(self.now)),
        };
        self.events.push((item.id, Event::Ended(ended)));
    }

    /// An agent is done with an item.
    pub fn completed(&mut self, item: &WorkItem, done: &Done) {
        self.offers.push(EndedOffer {
            offer: done.offer,
            state: "completed",
            reason: String::new(),
        });
        self.delta(&done.agent, -done.units, 0);
        self.freed.insert(done.agent.clone());
        let completed = WorkCompleted {
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            agent_id: done.agent.to_string(),
            handle_seconds: done.handle_seconds,
            completed_at: Some(to_wire(self.now)),
        };
        self.events.push((item.id, Event::Completed(completed)));
    }

    fn delta(&mut self, agent: &AgentId, units: i32, pending: i32) {
        let delta = self.deltas.entry(agent.clone()).or_default();
        delta.units += units;
        delta.pending += pending;
    }

    /// Matches what waits with who is free, then saves. The caller holds the tenant's lock alone.
    pub async fn match_and_save(mut self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        self.save_loads(tx).await?;
        let agents = store::available(tx.conn(), &self.tenant).await?;
        let mut waiting: Vec<WorkItem> = self
            .items
            .values()
            .filter(|i| i.state == State::Pending)
            .cloned()
            .collect();
        let freed: Vec<AgentId> = agents
            .iter()
            .map(|a| &a.id)
            .filter(|id| self.freed.contains(id))
            .cloned()
            .collect();
        if !freed.is_empty() {
            let known: Vec<WorkItemId> = self.items.keys().copied().collect();
            // Each human takes one offer: as many candidates as there are takers are enough, bots get a slab.
            let bots = agents.iter().any(|a| a.bot && self.freed.contains(&a.id));
            let limit = if bots {
                self.look_ahead
            } else {
                i64::try_from(freed.len())
                    .unwrap_or(self.look_ahead)
                    .min(self.look_ahead)
            };
            let found = store::waiting_for(tx.conn(), &self.tenant, &freed, &known, limit).await?;
            if i64::try_from(found.len()).unwrap_or(i64::MAX) >= self.look_ahead {
                self.rematch_later(tx);
            }
            waiting.extend(found);
        }
        if !agents.is_empty() && !waiting.is_empty() {
            let mut fresh: Vec<OfferId> = (0..waiting.len())
                .map(|_| OfferId::new(tx.new_id()))
                .rev()
                .collect();
            let (matches, _) = decide(waiting, agents, self.now, || {
                fresh.pop().expect("one id per waiting item")
            });
            self.save_offers(tx, matches).await?;
        }
        self.save(tx, batch).await
    }

    fn rematch_later(&self, tx: &mut Tx) {
        tx.arm(TimerSpec {
            tenant: self.tenant.clone(),
            kind: REMATCH,
            key: self.tenant.to_string(),
            due_at: self.now,
            payload: serde_json::Value::Null,
        });
    }

    async fn save_loads(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let deltas = std::mem::take(&mut self.deltas);
        if !deltas.is_empty() {
            store::apply_deltas(tx.conn(), &self.tenant, &deltas, self.now).await?;
        }
        Ok(())
    }

    async fn save_offers(&mut self, tx: &mut Tx, matches: Vec<Match>) -> Result<(), Error> {
        if matches.is_empty() {
            return Ok(());
        }
        // Offers that ended must be out of the way of the index on live ones.
        self.save_ended_offers(tx).await?;
        let rows: Vec<NewOffer<'_>> = matches
            .iter()
            .map(|m| NewOffer {
                offer: m.hold.offer,
                item: m.item.id,
                agent: &m.hold.agent,
                expires_at: m.hold.until,
                explanation: &m.explanation,
            })
            .collect();
        store::insert_offers(tx.conn(), &self.tenant, &rows, self.now).await?;
        metrics::counter!("trama_routing_offers_total").increment(matches.len() as u64);
        for m in matches {
            self.delta(&m.hold.agent, m.hold.units, 1);
            tx.arm(TimerSpec {
                tenant: self.tenant.clone(),
                kind: OFFER_EXPIRY,
                key: m.hold.offer.to_string(),
                due_at: m.hold.until,
                payload: serde_json::Value::Null,
            });
            let made = OfferMade {
                offer_id: m.hold.offer.to_string(),
                work_item_id: m.item.id.to_string(),
                case_id: m.item.case_id.to_string(),
                agent_id: m.hold.agent.to_string(),
                offered_at: Some(to_wire(self.now)),
                expires_at: Some(to_wire(m.hold.until)),
            };
            self.events.push((m.item.id, Event::Made(made)));
            self.put(m.item);
        }
        self.save_loads(tx).await
    }

    async fn save_ended_offers(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let ended = std::mem::take(&mut self.offers);
        if ended.is_empty() {
            return Ok(());
        }
        store::end_offers(tx.conn(), &self.tenant, &ended, self.now).await?;
        for offer in &ended {
            tx.disarm(&self.tenant, OFFER_EXPIRY, offer.offer.to_string());
        }
        Ok(())
    }

    /// Saves without matching: nobody became free, nobody is.
    pub async fn save(mut self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        self.save_loads(tx).await?;
        self.save_ended_offers(tx).await?;
        // In this order: a case's last item must be closed before its next one opens.
        for open in [false, true] {
            let items: Vec<&WorkItem> = self.items.values().filter(|i| i.is_open() == open).collect();
            if !items.is_empty() {
                store::write_items(tx.conn(), &self.tenant, &items).await?;
            }
        }
        for (item, event) in &self.events {
            if let Some(envelope) = self.causes.get(item).and_then(|n| batch.get(*n)) {
                tx.follow(envelope);
            }
            match event {
                Event::Made(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Accepted(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Ended(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Completed(e) => tx.publish(&self.tenant, &e.case_id, e),
            };
        }
        Ok(())
    }
}
