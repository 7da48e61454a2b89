//! What the matcher proposes becomes offers, if the database agrees.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::oneshot;
use trama_platform::{Error, Tx};
use trama_proto::ids::{AgentId, OfferId, WorkItemId};

use super::{
    lead::Lead,
    seat::{Floor, Seat},
};
use crate::{
    app::Change,
    domain::{Agent, Hold, Presence, Rest, State, WorkItem},
    matcher::{Proposal, Why},
    store::{self, Changed, NewOffer},
};

/// What only the leader does besides offering.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Work whose agent's call is over.
    pub(super) resume: Vec<(AgentId, WorkItemId)>,
    /// Draining agents with nothing left to do.
    pub(super) drained: Vec<AgentId>,
}

impl Chores {
    pub(super) fn is_empty(&self) -> bool {
        self.resume.is_empty() && self.drained.is_empty()
    }
}

/// One offer on its way.
pub(super) struct Draft {
    pub(super) seat: Seat,
    pub(super) agent: AgentId,
    capacity: i32,
    explanation: String,
    why: serde_json::Value,
    /// Work that rests meanwhile.
    pub(super) pauses: Vec<WorkItemId>,
}

impl Lead {
    /// What follows from what was taken in, besides offers.
    pub(super) fn chores(floor: &mut Floor) -> Chores {
        let mut chores = Chores::default();
        for id in std::mem::take(&mut floor.touched) {
            let Some(agent) = floor.agent(&id) else { continue };
            let mut empty = true;
            let mut paused = Vec::new();
            let mut busy = Vec::new();
            for (seat, hand) in floor.hands(&id) {
                empty = false;
                if hand.rest == Rest::Paused {
                    paused.push((seat.item, hand.kind));
                } else {
                    busy.push(hand.kind);
                }
            }
            if empty && agent.draining && agent.presence != Presence::Offline {
                chores.drained.push(id.clone());
            }
            for (item, kind) in paused {
                if !busy.iter().any(|call| floor.rules.pauses(*call, kind)) {
                    chores.resume.push((id.clone(), item));
                }
            }
        }
        chores
    }

    pub(super) fn draft(floor: &mut Floor, proposal: &Proposal) -> Option<Draft> {
        let seat = floor.seat(proposal.item)?;
        let agent = floor.agent_of(proposal.agent)?.clone();
        let capacity = floor.agent(&agent)?.capacity_units;
        floor.proposed(seat, &agent, proposal.until);
        let pauses = if proposal.why.pauses.is_empty() {
            Vec::new()
        } else {
            let kinds: Vec<_> = proposal
                .why
                .pauses
                .iter()
                .map(|c| crate::domain::Rules::kind(*c))
                .collect();
            floor
                .hands(&agent)
                .filter(|(_, hand)| {
                    hand.pausable && hand.accepted && hand.rest == Rest::No && kinds.contains(&hand.kind)
                })
                .map(|(s, _)| s.item)
                .collect()
        };
        Some(Draft {
            seat,
            explanation: floor.engine.why_in_words(&proposal.why),
            why: numbers(floor, &proposal.why),
            agent,
            capacity,
            pauses,
        })
    }

    /// Writes offers and chores and commits. True when the database refused something.
    pub(super) async fn write(
        &self,
        mut tx: Tx,
        floor: &mut Floor,
        proposals: Vec<Proposal>,
        chores: &Chores,
    ) -> Result<bool, Error> {
        let now = tx.now();
        let drafts: Vec<Draft> = proposals.iter().filter_map(|p| Self::draft(floor, p)).collect();
        let mut ids: BTreeSet<WorkItemId> = drafts.iter().map(|d| d.seat.item).collect();
        ids.extend(drafts.iter().flat_map(|d| d.pauses.iter().copied()));
        ids.extend(chores.resume.iter().map(|(_, item)| *item));
        let ids: Vec<WorkItemId> = ids.into_iter().collect();
        let mut change = Change::new(&self.tenant, now);
        let mut items: HashMap<WorkItemId, WorkItem> = HashMap::new();
        for item in store::lock_items(&mut tx, &self.tenant, &ids).await? {
            change.know(&item);
            items.insert(item.id, item);
        }
        let mut agents: BTreeSet<AgentId> = drafts.iter().map(|d| d.agent.clone()).collect();
        agents.extend(chores.resume.iter().map(|(agent, _)| agent.clone()));
        agents.extend(chores.drained.iter().cloned());
        agents.extend(change.agents_of_items());
        let agents: Vec<AgentId> = agents.into_iter().collect();
        let mut locked = store::lock_agents(tx.conn(), &self.tenant, &agents).await?;

        let mut refused = Changed::default();
        for draft in drafts {
            let offer = OfferId::new(tx.new_id());
            let taken = take(&draft, offer, &mut items, &mut locked, floor, &mut change, now);
            if !taken {
                floor.refused(draft.seat, now);
                refused.items.insert(draft.seat.item);
                refused.agents.insert(draft.agent.clone());
            }
        }
        for (agent, item) in &chores.resume {
            resume(agent, *item, &mut items, &mut locked, floor, &mut change)?;
        }
        for id in &chores.drained {
            if let Some(agent) = locked.get_mut(id)
                && agent.draining
                && agent.used_units == 0
            {
                agent.become_now(Presence::Offline, "shift over", now);
                change.put_agent(agent.clone());
            }
        }
        let written: Vec<WorkItem> = change.items().cloned().collect();
        let changed_agents: Vec<Agent> = change.agents().cloned().collect();
        change.save(&mut tx, &[], &self.routing.signals, true).await?;
        if !refused.is_empty() {
            metrics::counter!("trama_routing_refused_total").increment(refused.items.len() as u64);
            let in_hand = refused.agents.iter().map(AgentId::as_str).collect::<Vec<_>>();
            for item in store::read_in_hand_of(&mut tx, &self.tenant, &in_hand).await? {
                refused.items.insert(item.id);
            }
        }
        let any = !refused.is_empty();
        self.take_in(&mut tx, floor, refused).await?;
        self.commit(tx).await?;
        // Memory follows what is stored now.
        let resources = self.routing.resources.snapshot();
        for agent in &changed_agents {
            floor.put_agent(agent, resources.tenant(&self.tenant), now);
        }
        for mut item in written {
            item.version += 1;
            floor.put_item(&item, resources.tenant(&self.tenant), now);
        }
        Ok(any)
    }

    /// Commits, and goes on while the events are being published.
    pub(super) async fn commit(&self, mut tx: Tx) -> Result<(), Error> {
        let (committed, is_committed) = oneshot::channel();
        let (failed, has_failed) = oneshot::channel();
        tx.after_commit(move || {
            // Whoever waits is there: they wait below.
            let _ = committed.send(());
        });
        self.lifecycle.spawn("dispatcher-publish", async move {
            if let Err(error) = tx.commit().await {
                let _ = failed.send(error);
            }
            Ok(())
        });
        match is_committed.await {
            Ok(()) => Ok(()),
            Err(_) => Err(has_failed
                .await
                .unwrap_or_else(|_| Error::internal("a commit ended without a word"))),
        }
    }
}

/// Takes an item and an agent for each other, if both are as the matcher thinks.
pub(super) fn take(
    draft: &Draft,
    offer: OfferId,
    items: &mut HashMap<WorkItemId, WorkItem>,
    agents: &mut BTreeMap<AgentId, Agent>,
    floor: &Floor,
    change: &mut Change,
    now: DateTime<Utc>,
) -> bool {
    let (Some(item), Some(agent)) = (items.get(&draft.seat.item), agents.get(&draft.agent)) else {
        return false;
    };
    if agent.presence != Presence::Available || agent.draining {
        return false;
    }
    let pauses: Vec<WorkItem> = draft
        .pauses
        .iter()
        .filter_map(|id| items.get(id))
        .filter(|i| i.in_hand().is_some_and(|(by, _)| *by == draft.agent))
        .cloned()
        .collect();
    let freed: i32 = pauses
        .iter()
        .flat_map(|i| i.units())
        .map(|(_, units)| units)
        .sum();
    let units = floor.rules.units(item.channel, draft.capacity);
    if agent.used_units - freed + units > agent.capacity_units {
        return false;
    }
    let timeout = TimeDelta::seconds(i64::from(item.route.offer_timeout_seconds));
    let hold = Hold {
        offer,
        agent: draft.agent.clone(),
        units,
        until: now + timeout,
    };
    let told = if draft.seat.second {
        item.second().map(|s| s.wanted().told.clone())
    } else {
        item.handover.clone()
    };
    let offer = NewOffer {
        offer: hold.offer,
        item: item.id,
        agent: draft.agent.clone(),
        second: draft.seat.second,
        accepted: false,
        expires_at: hold.until,
        told,
        explanation: draft.explanation.clone(),
        why: draft.why.clone(),
    };
    let held = if draft.seat.second {
        item.clone().offer_second(hold)
    } else if matches!(&item.state, State::Pending) && item.pinned_now(now).is_none_or(|p| *p == draft.agent)
    {
        item.clone().offer(hold)
    } else {
        return false;
    };
    let Ok(held) = held else { return false };
    for paused in pauses {
        let rested = match &paused.state {
            // Notes can wait for nobody: the call ends them.
            State::Wrapping { .. } => paused.finish_wrap_up(now).map(|(item, done)| {
                change.completed(&item, &done);
                item
            }),
            State::Assigned { .. }
            | State::Pending
            | State::Offered(_)
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => paused.rest(Rest::Paused),
        };
        if let Ok(rested) = rested {
            items.insert(rested.id, rested.clone());
            change.put(rested);
        }
    }
    if let Some(agent) = agents.get_mut(&draft.agent) {
        agent.used_units += units - freed;
    }
    change.offered(&held, offer);
    items.insert(held.id, held.clone());
    change.put(held);
    true
}

/// The call is over: work goes on, as far as there is room.
pub(super) fn resume(
    agent: &AgentId,
    id: WorkItemId,
    items: &mut HashMap<WorkItemId, WorkItem>,
    agents: &mut BTreeMap<AgentId, Agent>,
    floor: &Floor,
    change: &mut Change,
) -> Result<(), Error> {
    let (Some(item), Some(agent)) = (items.get(&id), agents.get_mut(agent)) else {
        return Ok(());
    };
    let paused =
        matches!(&item.state, State::Assigned { hand, rest: Rest::Paused, .. } if hand.agent == agent.id);
    let units = floor.rules.units(item.channel, agent.capacity_units);
    if !paused || agent.used_units + units > agent.capacity_units {
        return Ok(());
    }
    agent.used_units += units;
    let item = item.clone().resume(units)?;
    items.insert(id, item.clone());
    change.put(item);
    Ok(())
}

fn numbers(floor: &Floor, why: &Why) -> serde_json::Value {
    let passed: Vec<_> = why
        .passed
        .iter()
        .map(|p| {
            serde_json::json!({
                "work_item_id": floor.item_of(p.item),
                "left_ms": p.left_ms,
                "reason": floor.engine.obstacle_in_words(p.reason),
            })
        })
        .collect();
    serde_json::json!({
        "rank": why.rank,
        "left_ms": why.left_ms,
        "used_share": why.used_share,
        "clock_start": why.clock_start,
        "step": why.step,
        "steps": why.steps,
        "eligible": why.eligible,
        "free": why.free,
        "passed": passed,
        "policy": why.policy,
    })
}
