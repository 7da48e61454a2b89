//! What one transaction does to one tenant: collected in memory, written as sets.
//!
//! Units and work in hand of agents follow from the items: what they hold after, less what they held before. So an
//! agent's load is what the agent's work says, whatever a use case does.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::{Error, Tx, stage::Envelope, timers::TimerSpec};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::{
        OfferAccepted, OfferEnd, OfferEnded, OfferMade, OverflowAction, WorkCompleted, WorkOverflowed,
        WorkTransferred,
    },
    time::to_wire,
};

use super::{
    OFFER_EXPIRY, PARK, WRAP_UP,
    figures::facts,
    signals::{News, Signals},
    staffing,
    told::tell_item,
};
use crate::{
    domain::{Agent, Done, Hold, Returned, Second, State, WorkItem},
    store::{self, Changed, Load, MovedOffer, NewOffer},
};

/// Changes of one tenant, in one transaction.
pub struct Change {
    tenant: TenantId,
    now: DateTime<Utc>,
    /// Items as they were.
    before: HashMap<WorkItemId, WorkItem>,
    items: BTreeMap<WorkItemId, WorkItem>,
    /// Units that this transaction has taken already.
    taken: BTreeMap<AgentId, i32>,
    worked: BTreeSet<AgentId>,
    agents: BTreeMap<AgentId, Agent>,
    /// Which message of the batch an item's events follow.
    causes: HashMap<WorkItemId, usize>,
    events: Vec<(WorkItemId, Event)>,
    moved: Vec<MovedOffer>,
    made: Vec<NewOffer>,
    timers: Vec<TimerSpec>,
}

enum Event {
    Made(OfferMade),
    Accepted(OfferAccepted),
    Ended(OfferEnded),
    Completed(WorkCompleted),
    Transferred(WorkTransferred),
    Overflowed(WorkOverflowed),
}

/// What is said about an overflow.
#[derive(Debug, Clone, Copy)]
pub struct Overflowing<'a> {
    /// What is done.
    pub action: OverflowAction,
    /// MessageTemplate for the customer, if any.
    pub template: Option<&'a str>,
    /// When somebody will be there.
    pub expected_at: Option<DateTime<Utc>>,
    /// Why, in words.
    pub reason: &'a str,
}

impl Change {
    /// Nothing yet.
    pub fn new(tenant: &TenantId, now: DateTime<Utc>) -> Self {
        Self {
            tenant: tenant.clone(),
            now,
            before: HashMap::new(),
            items: BTreeMap::new(),
            taken: BTreeMap::new(),
            worked: BTreeSet::new(),
            agents: BTreeMap::new(),
            causes: HashMap::new(),
            events: Vec::new(),
            moved: Vec::new(),
            made: Vec::new(),
            timers: Vec::new(),
        }
    }

    /// An item as it was read, locked.
    pub fn know(&mut self, item: &WorkItem) {
        self.before.entry(item.id).or_insert_with(|| item.clone());
    }

    /// Whether an item was read, locked, by this transaction.
    pub fn knows(&self, item: WorkItemId) -> bool {
        self.before.contains_key(&item)
    }

    /// An item is now like this; what exists must be known.
    pub fn put(&mut self, item: WorkItem) {
        self.items.insert(item.id, item);
    }

    /// An agent's presence is now like this; the row must be locked.
    pub fn put_agent(&mut self, agent: Agent) {
        self.agents.insert(agent.id.clone(), agent);
    }

    /// The events of an item follow this message of the batch.
    pub fn caused_by(&mut self, item: WorkItemId, message: usize) {
        self.causes.insert(item, message);
    }

    /// These units were taken of the agent by this transaction already.
    pub fn units_taken(&mut self, agent: &AgentId, units: i32) {
        *self.taken.entry(agent.clone()).or_default() += units;
    }

    /// Wants to be woken.
    pub fn arm(&mut self, kind: &'static str, key: impl ToString, due_at: DateTime<Utc>) {
        self.timers.push(TimerSpec {
            tenant: self.tenant.clone(),
            kind,
            key: key.to_string(),
            due_at,
            payload: serde_json::Value::Null,
        });
    }

    /// Somebody said something in a conversation in hand: it comes to rest later.
    pub fn heard(&mut self, item: &WorkItem) {
        if let (State::Assigned { .. }, Some(seconds)) = (&item.state, item.route.idle_park_seconds) {
            self.arm(PARK, item.id, self.now + TimeDelta::seconds(i64::from(seconds)));
        }
    }

    /// An offer is made. A second seat is between agents: the case is told when the work changes hands.
    pub fn offered(&mut self, item: &WorkItem, offer: NewOffer) {
        if !offer.accepted {
            self.arm(OFFER_EXPIRY, offer.offer, offer.expires_at);
        }
        if !offer.second {
            let made = OfferMade {
                offer_id: offer.offer.to_string(),
                work_item_id: item.id.to_string(),
                case_id: item.case_id.to_string(),
                agent_id: offer.agent.to_string(),
                offered_at: Some(to_wire(self.now)),
                expires_at: Some(to_wire(offer.expires_at)),
            };
            self.events.push((item.id, Event::Made(made)));
        }
        self.made.push(offer);
    }

    /// An offer was accepted: the item is assigned.
    pub fn accepted(&mut self, item: &WorkItem) {
        let State::Assigned { hand, .. } = &item.state else {
            return;
        };
        self.move_offer(hand.offer, "accepted", "", false);
        self.tell_accepted(item);
        self.heard(item);
    }

    /// The case learns who has the work.
    pub fn tell_accepted(&mut self, item: &WorkItem) {
        let State::Assigned { hand, .. } = &item.state else {
            return;
        };
        let accepted = OfferAccepted {
            offer_id: hand.offer.to_string(),
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            agent_id: hand.agent.to_string(),
            accepted_at: Some(to_wire(self.now)),
            channel_kind: item.channel.into(),
            waited_seconds: (self.now - item.waiting_since).num_seconds().max(0),
        };
        self.events.push((item.id, Event::Accepted(accepted)));
    }

    /// An offer of the first seat came to nothing.
    pub fn offer_ended(&mut self, item: &WorkItem, hold: &Hold, end: OfferEnd, reason: &str) {
        self.move_offer(hold.offer, end_word(end), reason, false);
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

    /// The second seat is empty again.
    pub fn second_ended(&mut self, second: Option<&Second>, end: OfferEnd) {
        match second.and_then(Second::offer) {
            Some((offer, true)) => self.move_offer(offer, "completed", "", false),
            Some((offer, false)) => self.move_offer(offer, end_word(end), "", false),
            None => {}
        }
    }

    /// An agent is done with an item; they may be wrapping up.
    pub fn completed(&mut self, item: &WorkItem, done: &Done) {
        self.second_ended(done.second.as_ref(), OfferEnd::Rescinded);
        if let State::Wrapping { until, .. } = item.state {
            self.arm(WRAP_UP, item.id, until);
            return;
        }
        self.move_offer(done.offer, "completed", "", false);
        self.worked.insert(done.agent.clone());
        let completed = WorkCompleted {
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            agent_id: done.agent.to_string(),
            handle_seconds: done.handle_seconds,
            completed_at: Some(to_wire(self.now)),
        };
        self.events.push((item.id, Event::Completed(completed)));
    }

    /// Work went back to a queue.
    pub fn returned(&mut self, item: &WorkItem, returned: &Returned, reason: &str) {
        self.second_ended(returned.second.as_ref(), OfferEnd::Rescinded);
        if returned.unanswered {
            let hold = Hold {
                offer: returned.offer,
                agent: returned.agent.clone(),
                units: 0,
                until: self.now,
            };
            self.offer_ended(item, &hold, OfferEnd::Withdrawn, reason);
            return;
        }
        self.move_offer(returned.offer, "completed", reason, false);
        self.worked.insert(returned.agent.clone());
        self.transferred(item, Some(&returned.agent), None, reason);
    }

    /// Work changes hands, or queues.
    pub fn transferred(
        &mut self,
        item: &WorkItem,
        from: Option<&AgentId>,
        to: Option<&AgentId>,
        reason: &str,
    ) {
        let transferred = WorkTransferred {
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            from_agent_id: from.map(ToString::to_string).unwrap_or_default(),
            to_agent_id: to.map(ToString::to_string).unwrap_or_default(),
            queue: item.route.queue.clone(),
            reason: reason.to_owned(),
            transferred_at: Some(to_wire(self.now)),
        };
        self.events.push((item.id, Event::Transferred(transferred)));
    }

    /// Something is done for the customer instead of waiting as they came.
    pub fn overflowed(&mut self, item: &WorkItem, said: Overflowing<'_>) {
        metrics::counter!("trama_routing_overflowed_total", "action" => said.action.as_str_name())
            .increment(1);
        let overflowed = WorkOverflowed {
            work_item_id: item.id.to_string(),
            case_id: item.case_id.to_string(),
            action: said.action.into(),
            queue: item.route.queue.clone(),
            message_template: said.template.unwrap_or_default().to_owned(),
            expected_at: said.expected_at.map(to_wire),
            reason: said.reason.to_owned(),
            at: Some(to_wire(self.now)),
        };
        self.events.push((item.id, Event::Overflowed(overflowed)));
    }

    /// An agent has done something: they are idle from now on.
    pub fn worked(&mut self, agent: &AgentId) {
        self.worked.insert(agent.clone());
    }

    /// An offer goes on. `owns`: who held the second seat has the work now.
    pub fn move_offer(&mut self, offer: OfferId, state: &'static str, reason: &str, owns: bool) {
        self.moved.push(MovedOffer {
            offer,
            state,
            reason: reason.to_owned(),
            owns,
        });
    }

    /// Items as they are after this.
    pub fn items(&self) -> impl Iterator<Item = &WorkItem> {
        self.items.values()
    }

    /// Agents whose presence is other after this.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Agents whose units may move by this.
    pub fn agents_of_items(&self) -> Vec<AgentId> {
        let before = self
            .before
            .values()
            .flat_map(WorkItem::units)
            .map(|(agent, _)| agent.clone());
        let after = self.items.values().flat_map(|i| i.agents().cloned());
        let all: BTreeSet<AgentId> = before.chain(after).collect();
        all.into_iter().collect()
    }

    fn loads(&self) -> BTreeMap<AgentId, Load> {
        let mut loads: BTreeMap<AgentId, Load> = BTreeMap::new();
        let mut add = |item: &WorkItem, sign: i32| {
            for (agent, units) in item.units() {
                loads.entry(agent.clone()).or_default().units += sign * units;
            }
            for agent in item.hands() {
                loads.entry(agent.clone()).or_default().hands += sign;
            }
        };
        for item in self.items.values() {
            add(item, 1);
            if let Some(before) = self.before.get(&item.id) {
                add(before, -1);
            }
        }
        for (agent, units) in &self.taken {
            loads.entry(agent.clone()).or_default().units -= units;
        }
        for agent in &self.worked {
            loads.entry(agent.clone()).or_default().worked = true;
        }
        loads.retain(|_, load| *load != Load::default());
        loads
    }

    /// Saves. The leader does not tell itself what it does.
    pub async fn save(
        mut self,
        tx: &mut Tx,
        batch: &[Envelope],
        signals: &Signals,
        by_leader: bool,
    ) -> Result<(), Error> {
        for (item, place) in &self.causes {
            if let (Some(item), Some(cause)) = (self.items.get_mut(item), batch.get(*place)) {
                item.trace.clone_from(&cause.trace);
            }
        }
        if tx.is_for_a_call() {
            for item in self.items.values() {
                tell_item(tx, self.before.get(&item.id), item);
            }
        }
        let loads = self.loads();
        if !self.moved.is_empty() {
            store::move_offers(tx, &self.tenant, &self.moved, self.now).await?;
        }
        // In this order: a case's last item must be closed before its next one opens.
        for open in [false, true] {
            let items = self.items.values().filter(|i| i.is_open() == open);
            let (moved, whole): (Vec<&WorkItem>, Vec<&WorkItem>) =
                items.partition(|i| self.before.get(&i.id).is_some_and(|b| store::only_moves(b, i)));
            if !moved.is_empty() {
                store::move_items(tx.conn(), &self.tenant, &moved).await?;
            }
            if !whole.is_empty() {
                store::write_items(tx, &self.tenant, &whole).await?;
            }
        }
        if !self.made.is_empty() {
            store::insert_offers(tx, &self.tenant, &self.made, self.now).await?;
            metrics::counter!("trama_routing_offers_total").increment(self.made.len() as u64);
        }
        if !loads.is_empty() {
            store::apply_loads(tx.conn(), &self.tenant, &loads, self.now).await?;
        }
        if !self.agents.is_empty() {
            let agents: Vec<&Agent> = self.agents.values().collect();
            store::write_presence(tx.conn(), &self.tenant, &agents).await?;
        }
        store::add_facts(
            tx.conn(),
            &self.tenant,
            &facts(&self.before, &self.items, self.now),
        )
        .await?;
        staffing::note(tx, &self.tenant, &self.items, &self.agents, self.now).await?;
        let changed = Changed {
            items: self.items.keys().copied().collect(),
            agents: self.agents.keys().cloned().collect(),
        };
        let leader = !by_leader && !changed.is_empty();
        if leader {
            store::tell_leader(tx.conn(), &self.tenant, &changed).await?;
        }
        // How many items an agent has at work is in the figures only: nobody looks at it live.
        let shown = loads
            .iter()
            .filter(|(_, load)| load.units != 0 || load.worked)
            .map(|(agent, _)| agent);
        let news = News {
            leader,
            desks: self.desks(),
            agents: shown.chain(self.agents.keys()).cloned().collect(),
        };
        signals.after(tx, &self.tenant, news);
        for timer in self.timers {
            tx.arm(timer);
        }
        for (item, event) in &self.events {
            if let Some(envelope) = self.causes.get(item).and_then(|n| batch.get(*n)) {
                tx.follow(envelope);
            } else if by_leader {
                tx.follow_trace(self.items.get(item).and_then(|i| i.trace.as_deref()));
            }
            match event {
                Event::Made(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Accepted(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Ended(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Completed(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Transferred(e) => tx.publish(&self.tenant, &e.case_id, e),
                Event::Overflowed(e) => tx.publish(&self.tenant, &e.case_id, e),
            };
        }
        Ok(())
    }

    fn desks(&self) -> Vec<(AgentId, WorkItemId)> {
        let mut desks = BTreeSet::new();
        for item in self.items.values() {
            desks.extend(item.agents().map(|agent| (agent.clone(), item.id)));
            let before = self.before.get(&item.id).into_iter().flat_map(WorkItem::units);
            desks.extend(before.map(|(agent, _)| (agent.clone(), item.id)));
        }
        desks.into_iter().collect()
    }
}

const fn end_word(end: OfferEnd) -> &'static str {
    match end {
        OfferEnd::Declined => "declined",
        OfferEnd::Expired => "expired",
        OfferEnd::Withdrawn => "withdrawn",
        OfferEnd::Rescinded | OfferEnd::Unspecified => "rescinded",
    }
}
