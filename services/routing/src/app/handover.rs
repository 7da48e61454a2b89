//! From hand to hand: transfer, consult, end of it.

use prost::Message;
use trama_platform::{Error, Kind, Tx};
use trama_proto::{
    case::v1::ContextSnapshot,
    ids::{AgentId, TenantId, WorkItemId},
    routing::v1,
};

use super::{Change, Ordered, Routing, commands::hand_over, get_agent, once};
use crate::{
    api::wire,
    domain::{Destination, Facts, Handover, HandoverNote, Presence, Rejected, State, WorkItem, route_to},
    error::unknown_item,
    store,
};

/// How and where work is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// How.
    pub how: Handover,
    /// Where to.
    pub to: Where,
    /// What the next one must know.
    pub note: String,
}

/// Where to, as said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// A queue.
    Queue(String),
    /// An agent.
    Agent(AgentId),
    /// Whoever has a skill at this level.
    Skill(String, u8),
}

impl Routing {
    /// Hands work over, or looks for somebody to ask.
    pub async fn transfer<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        agent: &AgentId,
        id: WorkItemId,
        passing: &Passing,
        answer: fn(v1::WorkItem) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            let item = self.own(tx, tenant, agent, id).await?;
            let mut change = Change::new(tenant, tx.now());
            change.know(&item);
            let to = self.destination(tx, tenant, &item, &passing.to).await?;
            let told = HandoverNote {
                how: passing.how,
                from: agent.clone(),
                note: passing.note.clone(),
            };
            let item = match passing.how {
                Handover::Blind => {
                    let (item, returned) = item.transfer(to, told, tx.now())?;
                    change.returned(&item, &returned, "transfer");
                    item
                }
                Handover::Warm | Handover::Consult => item.ask(to, told, tx.now())?,
            };
            change.put(item.clone());
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(wire::item(&item)))
        })
    }

    /// Ends a consultation.
    pub async fn end_consultation<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        agent: &AgentId,
        id: WorkItemId,
        hand_work_over: bool,
        answer: fn(v1::WorkItem) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            let item = self.own(tx, tenant, agent, id).await?;
            let mut change = Change::new(tenant, tx.now());
            change.know(&item);
            let (item, end) = item.end_consultation(hand_work_over)?;
            hand_over(&mut change, &item, &end);
            change.put(item.clone());
            change.save(tx, &[], &self.signals, false).await?;
            Ok(answer(wire::item(&item)))
        })
    }

    async fn own(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        agent: &AgentId,
        id: WorkItemId,
    ) -> Result<WorkItem, Error> {
        let item = store::lock_items(tx, tenant, &[id])
            .await?
            .pop()
            .ok_or_else(|| unknown_item(id))?;
        match &item.state {
            State::Assigned { hand, .. } if hand.agent == *agent => Ok(item),
            State::Assigned { .. } => Err(Rejected::NotYours.into()),
            State::Pending
            | State::Offered(_)
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Err(Rejected::NotAssigned.into()),
        }
    }

    /// What a destination means now: it must exist, and an agent must be there.
    pub(super) async fn destination(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        item: &WorkItem,
        to: &Where,
    ) -> Result<Destination, Error> {
        match to {
            Where::Queue(name) => {
                let resources = self.resources.snapshot();
                let resources = resources.tenant(tenant);
                if resources.is_none_or(|r| !r.queues.contains_key(name)) {
                    return Err(Error::not_found("queue", name));
                }
                let snapshot = store::read_snapshot(tx, tenant, item.id).await?;
                let snapshot = snapshot.and_then(|bytes| ContextSnapshot::decode(bytes.as_slice()).ok());
                let facts = Facts::of(item.channel, snapshot.as_ref(), item.waiting_since);
                Ok(Destination::Queue(Box::new(route_to(
                    name,
                    &facts,
                    resources,
                    tx.now(),
                ))))
            }
            Where::Agent(agent) => {
                let found = get_agent(tx, tenant, agent).await?;
                let there = found.presence != Presence::Offline && !found.draining;
                if !there || !found.channel_kinds.contains(&item.channel) {
                    return Err(Error::new(
                        Kind::Precondition,
                        format!(
                            "agent {agent} is offline, takes nothing new, or does not serve this channel"
                        ),
                    ));
                }
                Ok(Destination::Agent(agent.clone()))
            }
            Where::Skill(skill, level) => Ok(Destination::Skill(skill.clone(), *level)),
        }
    }
}
