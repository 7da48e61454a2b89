//! What supervisors and integrators do: agents, queues, figures.

use chrono::TimeDelta;
use prost::Message;
use trama_platform::{Error, Kind, Tx};
use trama_proto::{
    ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId},
    routing::v1,
};

use super::{
    Change, LEFT_BEHIND, Ordered, Routing, get_agent,
    handover::Where,
    once,
    told::{tell_agent, tell_queue},
};
use crate::{
    api::wire,
    dispatcher::Explanation,
    domain::{Agent, Hand, Handover, HandoverNote, Presence, State, WorkItem},
    error::unknown_item,
    store::{self, LeaseRow, NewOffer, OfferRow, OrderKey, QueueState, WorkItemRow},
};

/// Items that one call re-queues at most.
const AT_ONCE: i64 = 5_000;

/// An item and its place in the queue from 1; 0 when it does not wait.
#[derive(Debug)]
pub struct Placed {
    /// The item.
    pub item: WorkItemRow,
    /// The place.
    pub position: i32,
}

/// An agent as an administrator wants them.
pub type AgentWish = Agent;

/// What goes back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requeue {
    /// One item.
    Item(WorkItemId),
    /// Everything an agent has in hand.
    Agent(AgentId),
    /// Everything that waits in a queue.
    Queue(String),
}

/// Why an item is where it is.
#[derive(Debug)]
pub struct Explained {
    /// The item.
    pub item: WorkItemRow,
    /// What the leader says; `None` when no leader answers.
    pub matcher: Option<Explanation>,
    /// Its offers, newest first.
    pub offers: Vec<OfferRow>,
}

impl Routing {
    /// Creates or changes an agent.
    pub async fn upsert_agent<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        wanted: &AgentWish,
        answer: fn(&Agent) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            self.led(tx, tenant).await?;
            let before = store::lock_agents(tx.conn(), tenant, std::slice::from_ref(&wanted.id))
                .await?
                .remove(&wanted.id);
            if let Some(before) = &before {
                if wanted.capacity_units < before.used_units {
                    let message = format!(
                        "agent {} has {} units in use: complete work first, or take a capacity of at least that",
                        wanted.id, before.used_units
                    );
                    return Err(Error::new(Kind::Precondition, message));
                }
                if wanted.bot != before.bot && before.used_units > 0 {
                    return Err(Error::new(
                        Kind::Precondition,
                        format!("agent {} has work in hand: `bot` cannot change now", wanted.id),
                    ));
                }
            }
            let now = tx.now();
            store::upsert_agent(tx.conn(), tenant, wanted, now).await?;
            let stored = get_agent(tx, tenant, &wanted.id).await?;
            tell_agent(tx, before.as_ref(), &stored);
            let mut change = Change::new(tenant, tx.now());
            change.put_agent(stored.clone());
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(&stored))
        })
    }

    /// Sends work back to the queue, with its place.
    pub async fn requeue<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        what: &Requeue,
        to_queue: &str,
        reason: &str,
        answer: fn(i64) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            let items = match what {
                Requeue::Item(id) => {
                    let items = store::lock_items(tx, tenant, &[*id]).await?;
                    if items.is_empty() {
                        return Err(unknown_item(*id));
                    }
                    items
                }
                Requeue::Agent(agent) => {
                    get_agent(tx, tenant, agent).await?;
                    let mut items = store::lock_of_agents(tx, tenant, std::slice::from_ref(agent)).await?;
                    items.retain(|i| i.in_hand().is_some_and(|(by, _)| by == agent));
                    items
                }
                Requeue::Queue(queue) => store::lock_waiting_in(tx, tenant, queue, AT_ONCE).await?,
            };
            let mut change = Change::new(tenant, tx.now());
            let why = if reason.is_empty() {
                "re-queued by a supervisor"
            } else {
                reason
            };
            let mut count = 0;
            for item in items {
                change.know(&item);
                let waits = item.state == State::Pending;
                let mut item = if waits {
                    item
                } else {
                    match item.return_to_queue(tx.now()) {
                        Ok((item, returned)) => {
                            change.returned(&item, &returned, why);
                            item
                        }
                        // In wrap-up or over: nothing to send back.
                        Err(_) => continue,
                    }
                };
                if !to_queue.is_empty() && item.route.queue != to_queue {
                    let to = self
                        .destination(tx, tenant, &item, &Where::Queue(to_queue.to_owned()))
                        .await?;
                    item.send_to(to);
                    item.transfers += 1;
                    if waits {
                        change.transferred(&item, None, None, why);
                    }
                }
                item.pinned = None;
                change.put(item);
                count += 1;
            }
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(count))
        })
    }

    /// Gives work to an agent without asking.
    pub async fn assign<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        id: WorkItemId,
        agent: &AgentId,
        by: &AgentId,
        reason: &str,
        answer: fn(v1::WorkItem) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            let item = store::lock_items(tx, tenant, &[id])
                .await?
                .pop()
                .ok_or_else(|| unknown_item(id))?;
            let mut change = Change::new(tenant, tx.now());
            change.know(&item);
            let mut agents = change.agents_of_items();
            agents.push(agent.clone());
            let mut locked = store::lock_agents(tx.conn(), tenant, &agents).await?;
            let to = locked
                .remove(agent)
                .ok_or_else(|| crate::error::unknown_agent(agent))?;
            let item = self.given(tx, tenant, item, &to, by, reason, &mut change)?;
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(wire::item(&item)))
        })
    }

    #[expect(clippy::too_many_arguments, reason = "who gives what to whom, and why")]
    fn given(
        &self,
        tx: &Tx,
        tenant: &TenantId,
        item: WorkItem,
        to: &Agent,
        by: &AgentId,
        reason: &str,
        change: &mut Change,
    ) -> Result<WorkItem, Error> {
        let from = item.in_hand().map(|(agent, _)| agent.clone());
        let held: i32 = item
            .units()
            .filter(|(a, _)| **a == to.id)
            .map(|(_, units)| units)
            .sum();
        let mut item = match &item.state {
            State::Pending => item,
            State::Assigned { hand, .. } if hand.agent == to.id => return Ok(item),
            State::Offered(_) | State::Assigned { .. } => {
                let (item, returned) = item.return_to_queue(tx.now())?;
                change.returned(&item, &returned, "assigned by a supervisor");
                item
            }
            State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => return Err(crate::domain::Rejected::Over.into()),
        };
        let units = self.rules(tenant).units(item.channel, to.capacity_units);
        if to.used_units - held + units > to.capacity_units {
            return Err(Error::new(
                Kind::Precondition,
                format!(
                    "agent {} has {} of {} units in use, and this work takes {units}: complete or park something first",
                    to.id, to.used_units, to.capacity_units
                ),
            ));
        }
        let offer = OfferId::new(tx.new_id());
        let told = HandoverNote {
            how: Handover::Blind,
            from: by.clone(),
            note: reason.to_owned(),
        };
        item.assign(
            Hand {
                offer,
                agent: to.id.clone(),
                units,
                at: tx.now(),
            },
            tx.now(),
        );
        item.handover = Some(told.clone());
        change.offered(
            &item,
            NewOffer {
                offer,
                item: item.id,
                agent: to.id.clone(),
                second: false,
                accepted: true,
                expires_at: tx.now(),
                told: Some(told),
                explanation: "A supervisor assigned it.".to_owned(),
                why: serde_json::json!({ "assigned_by": by.as_str() }),
            },
        );
        change.tell_accepted(&item);
        if from.as_ref() != Some(&to.id) {
            change.transferred(&item, from.as_ref(), Some(&to.id), "assigned by a supervisor");
        }
        change.heard(&item);
        if to.presence == Presence::Offline {
            // They were not asked and may never come: like what others left behind, it does not stay for ever.
            let due_at = tx.now() + TimeDelta::seconds(self.config.left_behind());
            change.arm(LEFT_BEHIND, &to.id, due_at);
        }
        change.put(item.clone());
        Ok(item)
    }

    /// Makes a queue refuse new work, or take it again.
    pub async fn drain_queue<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        queue: &str,
        state: &QueueState,
        answer: fn(v1::QueueNow) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let resources = self.resources.snapshot();
            let exists = |name: &str| {
                resources
                    .tenant(ordered.tenant)
                    .is_some_and(|r| r.queues.contains_key(name))
            };
            if !exists(queue) {
                return Err(Error::not_found("queue", queue));
            }
            if state.draining && (!exists(&state.overflow_to) || state.overflow_to == queue) {
                return Err(Error::invalid(
                    "overflow_to",
                    "must name another queue that exists",
                ));
            }
            let known = store::find_queue_states(tx.conn(), ordered.tenant).await?;
            tell_queue(tx, queue, known.get(queue), state);
            store::set_queue_state(tx.conn(), ordered.tenant, queue, state).await?;
            let (queues, _) = self
                .look_at_queues(tx, ordered.tenant, &[queue.to_owned()])
                .await?;
            Ok(answer(queues.into_values().next().unwrap_or_default()))
        })
    }

    /// Agents by id, after `after`.
    pub async fn list_agents(&self, tenant: &TenantId, after: &str, limit: i64) -> Result<Vec<Agent>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        store::list_agents(tx.conn(), tenant, after, limit).await
    }

    /// The open or last item of a case.
    pub async fn get_work_item(&self, tenant: &TenantId, case: CaseId) -> Result<Placed, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let item = store::find_of_case(tx.conn(), tenant, case)
            .await?
            .ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("case {case} never needed anybody: it has no work item"),
                )
            })?;
        let position = if item.state == "pending" {
            let place = store::position(tx.conn(), tenant, &item.queue, &item.key()).await?;
            i32::try_from(place).unwrap_or(i32::MAX)
        } else {
            0
        };
        Ok(Placed { item, position })
    }

    /// Open items by deadline.
    pub async fn list_work_items(
        &self,
        tenant: &TenantId,
        queue: &str,
        after: Option<&OrderKey>,
        limit: i64,
    ) -> Result<Vec<WorkItemRow>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        store::list_open(tx.conn(), tenant, queue, after, limit).await
    }

    /// Why an item is where it is.
    pub async fn explain(&self, tenant: &TenantId, id: WorkItemId) -> Result<Explained, Error> {
        let (item, offers) = {
            let mut tx = self.db.tx(tenant).await?;
            let item = store::find_item(tx.conn(), tenant, id)
                .await?
                .ok_or_else(|| unknown_item(id))?;
            (item, store::offers_of(&mut tx, tenant, id).await?)
        };
        // No transaction is held while the leader, maybe on another machine, is asked.
        let matcher = if item.state == "pending" {
            self.leaders.explain(tenant, id).await
        } else {
            None
        };
        Ok(Explained {
            item,
            matcher,
            offers,
        })
    }

    /// Who leads a tenant, and what its checker found.
    pub async fn health(
        &self,
        tenant: &TenantId,
    ) -> Result<(Option<LeaseRow>, Option<crate::dispatcher::Health>), Error> {
        let lease = {
            let mut tx = self.db.tx(tenant).await?;
            store::find_lease(tx.conn(), tenant).await?
        };
        Ok((lease, self.leaders.health(tenant).await))
    }
}
