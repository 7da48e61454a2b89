//! One batch of orders in memory: loaded as sets, folded one by one.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::OfferEnd,
};

use super::{Order, Outcome};
use crate::{
    api::wire,
    app::{
        change::Change,
        told::{Moved, moved},
    },
    domain::{ConsultEnd, Rejected, Rest, State, WorkItem},
    error::{unknown_agent, unknown_item, unknown_offer},
    store::{self, OfferRow},
};

/// What the orders are about.
pub(super) struct Fold {
    now: DateTime<Utc>,
    items: BTreeMap<WorkItemId, WorkItem>,
    offers: HashMap<OfferId, OfferRow>,
    /// Who orders, and whether they are bots.
    callers: HashMap<AgentId, bool>,
    pub(super) change: Change,
    /// What an order changed of which items.
    pub(super) told: Vec<(WorkItemId, Moved)>,
}

impl Fold {
    /// Loads and locks what the orders name.
    pub(super) async fn load(
        tx: &mut Tx,
        tenant: &TenantId,
        orders: &[(AgentId, Order)],
    ) -> Result<Self, Error> {
        let (mut offers, mut items) = (Vec::new(), Vec::new());
        for (_, order) in orders {
            match order {
                Order::Accept(offer) | Order::Decline(offer, _) => offers.push(*offer),
                Order::Complete(item) | Order::FinishWrapUp(item) | Order::Park(item) => items.push(*item),
            }
        }
        let mut change = Change::new(tenant, tx.now());
        let mut found = BTreeMap::new();
        for item in store::lock_with_offers(tx, tenant, &items, &offers).await? {
            change.know(&item);
            found.insert(item.id, item);
        }
        // After the lock: what others did to these offers is seen.
        let offers = if offers.is_empty() {
            HashMap::new()
        } else {
            let rows = store::read_offers(tx, tenant, &offers).await?;
            rows.into_iter().map(|o| (OfferId::new(o.offer_id), o)).collect()
        };
        let callers: Vec<&str> = orders.iter().map(|(agent, _)| agent.as_str()).collect();
        let callers = store::read_agents(tx.conn(), tenant, &callers).await?;
        Ok(Self {
            now: tx.now(),
            items: found,
            offers,
            callers: callers.into_iter().map(|a| (a.id, a.bot)).collect(),
            change,
            told: Vec::new(),
        })
    }

    /// Carries out one order.
    pub(super) fn run(&mut self, agent: &AgentId, order: &Order) -> Outcome {
        if !self.callers.contains_key(agent) {
            return Err(unknown_agent(agent));
        }
        let item = match order {
            Order::Accept(offer) => Some(self.accept(agent, *offer)?),
            Order::Decline(offer, reason) => {
                self.decline(agent, *offer, reason)?;
                None
            }
            Order::Complete(item) => Some(self.complete(agent, *item)?),
            Order::FinishWrapUp(item) => Some(self.finish_wrap_up(agent, *item)?),
            Order::Park(item) => Some(self.park(agent, *item)?),
        };
        Ok(item.map(|item| wire::item(&item)))
    }

    fn put(&mut self, item: &WorkItem) {
        let before = self.items.insert(item.id, item.clone());
        let told = moved(before.as_ref(), item).into_iter();
        self.told.extend(told.map(|told| (item.id, told)));
        self.change.put(item.clone());
    }

    /// The item of an offer, and whether it is the second seat.
    fn of_offer(&self, offer: OfferId) -> Result<(WorkItem, bool), Error> {
        let row = self.offers.get(&offer).ok_or_else(|| unknown_offer(offer))?;
        let item = self
            .items
            .get(&WorkItemId::new(row.work_item_id))
            .ok_or_else(|| unknown_offer(offer))?;
        let second = item
            .second()
            .and_then(|s| s.offer())
            .is_some_and(|(id, _)| id == offer);
        Ok((item.clone(), second))
    }

    fn accept(&mut self, agent: &AgentId, offer: OfferId) -> Result<WorkItem, Error> {
        let (item, second) = self.of_offer(offer)?;
        if accepted_by(&item, offer, agent) {
            return Ok(item);
        }
        if second {
            let (item, end) = item.accept_second(offer, agent, self.now)?;
            match end {
                None => self.change.move_offer(offer, "accepted", "", false),
                Some(end) => hand_over(&mut self.change, &item, &end),
            }
            self.put(&item);
            return Ok(item);
        }
        let item = item.accept(offer, agent, self.now)?;
        self.change.accepted(&item);
        self.put(&item);
        Ok(item)
    }

    fn decline(&mut self, agent: &AgentId, offer: OfferId, reason: &str) -> Result<(), Error> {
        let (item, second) = self.of_offer(offer)?;
        let row = &self.offers[&offer];
        if row.state == "declined" && row.agent_id == agent.as_str() {
            return Ok(());
        }
        if second {
            let (item, _) = item.decline_second(offer, agent)?;
            self.change.move_offer(offer, "declined", reason, false);
            self.put(&item);
            return Ok(());
        }
        let (item, hold) = item.give_back(offer, agent, Some(self.now))?;
        self.change.offer_ended(&item, &hold, OfferEnd::Declined, reason);
        self.put(&item);
        if let Some(row) = self.offers.get_mut(&offer) {
            "declined".clone_into(&mut row.state);
        }
        Ok(())
    }

    fn mine(&self, agent: &AgentId, id: WorkItemId) -> Result<WorkItem, Error> {
        let item = self.items.get(&id).ok_or_else(|| unknown_item(id))?;
        match &item.state {
            State::Assigned { hand, .. } | State::Wrapping { hand, .. } if hand.agent != *agent => {
                Err(Rejected::NotYours.into())
            }
            State::Completed { agent: Some(by), .. } if by != agent => Err(Rejected::NotYours.into()),
            State::Assigned { .. }
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Pending
            | State::Offered(_)
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Ok(item.clone()),
        }
    }

    fn complete(&mut self, agent: &AgentId, id: WorkItemId) -> Result<WorkItem, Error> {
        let item = self.mine(agent, id)?;
        if let State::Wrapping { .. } | State::Completed { agent: Some(_), .. } = item.state {
            return Ok(item);
        }
        let bot = self.callers.get(agent).copied().unwrap_or_default();
        let wrap_up = if bot { 0 } else { item.route.wrap_up_seconds };
        let (item, done) = item.complete(TimeDelta::seconds(i64::from(wrap_up)), self.now)?;
        self.change.completed(&item, &done);
        self.put(&item);
        Ok(item)
    }

    fn finish_wrap_up(&mut self, agent: &AgentId, id: WorkItemId) -> Result<WorkItem, Error> {
        let item = self.mine(agent, id)?;
        if let State::Completed { agent: Some(_), .. } = item.state {
            return Ok(item);
        }
        let (item, done) = item.finish_wrap_up(self.now)?;
        self.change.completed(&item, &done);
        self.put(&item);
        Ok(item)
    }

    fn park(&mut self, agent: &AgentId, id: WorkItemId) -> Result<WorkItem, Error> {
        let item = self.mine(agent, id)?;
        if item.channel == trama_proto::common::v1::ChannelKind::Voice {
            return Err(Rejected::Live.into());
        }
        if let State::Assigned {
            rest: Rest::Parked, ..
        } = item.state
        {
            return Ok(item);
        }
        let item = item.rest(Rest::Parked)?;
        self.put(&item);
        Ok(item)
    }
}

fn accepted_by(item: &WorkItem, offer: OfferId, agent: &AgentId) -> bool {
    let second = item
        .second()
        .is_some_and(|s| s.offer() == Some((offer, true)) && s.agent() == Some(agent));
    second
        || match &item.state {
            State::Assigned { hand, .. } | State::Wrapping { hand, .. } => {
                hand.offer == offer && hand.agent == *agent
            }
            State::Pending
            | State::Offered(_)
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => false,
        }
}

/// The second agent goes on with the work.
pub(in crate::app) fn hand_over(change: &mut Change, item: &WorkItem, end: &ConsultEnd) {
    match end {
        ConsultEnd::HandedOver {
            from,
            from_offer,
            to,
            to_offer,
        } => {
            change.move_offer(*from_offer, "completed", "handed over", false);
            change.move_offer(*to_offer, "accepted", "", true);
            change.worked(from);
            change.transferred(item, Some(from), Some(to), "transfer");
        }
        ConsultEnd::Kept(second) => change.second_ended(Some(second), OfferEnd::Rescinded),
    }
}
