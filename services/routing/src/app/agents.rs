//! Agents come, go, and say whether they want work.

use std::collections::BTreeSet;

use prost::Message;
use trama_platform::{Error, Tx, timers::TimerSpec};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, TenantId},
    routing::v1::OfferEnd,
};

use super::{Change, DESK_GRACE, LEFT_BEHIND, Ordered, Routing, get_agent, once, told::tell_agent};
use crate::{
    domain::{Agent, Presence, Rules, Second, State, WorkItem},
    store,
};

/// What an agent, or a supervisor for them, wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PresenceWish {
    /// New presence; as it is when absent.
    pub presence: Option<Presence>,
    /// Why.
    pub reason: String,
    /// Kinds of channel that work is taken of; as they are when absent.
    pub kinds: Option<Vec<ChannelKind>>,
    /// Whether nothing new is given; as it is when absent.
    pub draining: Option<bool>,
}

/// What becomes of the work of somebody who is offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// They finish what they have and get nothing new: what waits for them alone waits for anybody.
    Soon,
    /// They said so: what they have they may finish.
    Said,
    /// Their line is lost: customers who wait for each word go to somebody else.
    Lost,
    /// They have been gone for too long: all of it goes to somebody else.
    ForLong,
}

impl Routing {
    /// An agent's line is open: they are connected, but say themselves when they want work.
    pub async fn connect(&self, tenant: &TenantId, agent: &AgentId) -> Result<Agent, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let mut found = store::lock_agents(tx.conn(), tenant, std::slice::from_ref(agent))
            .await?
            .remove(agent)
            .ok_or_else(|| crate::error::unknown_agent(agent))?;
        if found.presence == Presence::Offline {
            let was = found.clone();
            found.become_now(Presence::Away, "connected", tx.now());
            tell_agent(&tx, Some(&was), &found);
            let mut change = Change::new(tenant, tx.now());
            change.put_agent(found.clone());
            change.save(&mut tx, &[], &self.signals, false).await?;
        }
        // A dead man's switch: should this replica die, the timer finds nobody who pushes it on.
        self.arm_grace(&mut tx, tenant, agent, self.config.grace_after_heartbeat());
        tx.commit().await?;
        Ok(found)
    }

    /// An agent's last line is gone: it may come back for a while.
    pub async fn disconnect(&self, tenant: &TenantId, agent: &AgentId) -> Result<(), Error> {
        let mut tx = self.db.tx(tenant).await?;
        self.arm_grace(&mut tx, tenant, agent, self.config.grace());
        tx.commit().await
    }

    /// Lines on this replica are alive: their agents count as connected for some time from now.
    pub async fn still_connected(&self, tenant: &TenantId, agents: &[AgentId]) -> Result<(), Error> {
        let mut tx = self.db.tx(tenant).await?;
        for agent in agents {
            self.arm_grace(&mut tx, tenant, agent, self.config.grace_after_heartbeat());
        }
        tx.commit().await
    }

    pub(super) fn arm_grace(&self, tx: &mut Tx, tenant: &TenantId, agent: &AgentId, seconds: i64) {
        let due_at = tx.now() + chrono::TimeDelta::seconds(seconds);
        tx.arm(TimerSpec {
            tenant: tenant.clone(),
            kind: DESK_GRACE,
            key: agent.to_string(),
            due_at,
            payload: serde_json::Value::Null,
        });
    }

    /// Says whether work may be offered.
    pub async fn set_presence<Q: Message, R: Message + Default>(
        &self,
        ordered: &Ordered<'_, Q>,
        agent: &AgentId,
        wish: &PresenceWish,
        answer: fn(&Agent) -> R,
    ) -> Result<R, Error> {
        once!(self, ordered, |tx| {
            let tenant = ordered.tenant;
            get_agent(tx, tenant, agent).await?;
            self.led(tx, tenant).await?;
            let mut change = Change::new(tenant, tx.now());
            // Items before agents.
            let leaving = match (wish.presence, wish.draining) {
                (Some(Presence::Offline), _) => Some(Leaving::Said),
                (_, Some(true)) => Some(Leaving::Soon),
                (Some(_) | None, Some(false) | None) => None,
            };
            if let Some(how) = leaving {
                self.leave(tx, tenant, std::slice::from_ref(agent), how, &mut change)
                    .await?;
            }
            let mut agents = change.agents_of_items();
            agents.push(agent.clone());
            let mut found = store::lock_agents(tx.conn(), tenant, &agents)
                .await?
                .remove(agent)
                .ok_or_else(|| crate::error::unknown_agent(agent))?;
            if wish.presence == Some(Presence::Offline)
                && !self
                    .got_meanwhile(tx, tenant, std::slice::from_ref(agent), &change)
                    .await?
                    .is_empty()
            {
                let offered = std::io::Error::other("work was offered meanwhile");
                return Err(crate::error::lost_race("the agent's work").because(offered));
            }
            let was = found.clone();
            if let Some(presence) = wish.presence {
                found.become_now(presence, &wish.reason, tx.now());
                if presence == Presence::Available {
                    found.missed_at = None;
                }
            }
            if let Some(kinds) = &wish.kinds {
                found.available_kinds.clone_from(kinds);
            }
            if let Some(draining) = wish.draining {
                found.draining = draining;
            }
            tell_agent(tx, Some(&was), &found);
            change.put_agent(found);
            change.save(tx, &[], &self.signals, false).await?;
            let now = get_agent(tx, tenant, agent).await?;
            Ok(answer(&now))
        })
    }

    /// Which of these agents were given something after their work was looked at: the leader locks items and then agents
    /// too, so an offer may have come in between. The agents must be locked by now: no more can come.
    pub(super) async fn got_meanwhile(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        agents: &[AgentId],
        change: &Change,
    ) -> Result<BTreeSet<AgentId>, Error> {
        if agents.is_empty() {
            return Ok(BTreeSet::new());
        }
        let names: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
        let in_hand = store::read_in_hand_of(tx, tenant, &names).await?;
        let new = in_hand.iter().filter(|item| !change.knows(item.id));
        let theirs = new
            .flat_map(WorkItem::agents)
            .filter(|agent| agents.contains(agent));
        Ok(theirs.cloned().collect())
    }

    /// Agents are offline: what they were offered goes back, and what they have as far as `how` says.
    pub(super) async fn leave(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        agents: &[AgentId],
        how: Leaving,
        change: &mut Change,
    ) -> Result<(), Error> {
        let rules: Rules = self.rules(tenant);
        let now = tx.now();
        for item in store::lock_of_agents(tx, tenant, agents).await? {
            change.know(&item);
            let gone = |agent: &AgentId| agents.contains(agent);
            let item = match &item.state {
                State::Pending => {
                    // It waited for them alone.
                    let mut item = item;
                    item.preferred = item.pinned.take();
                    item
                }
                State::Offered(_) | State::Assigned { .. } | State::Wrapping { .. }
                    if how == Leaving::Soon =>
                {
                    continue;
                }
                State::Offered(hold) if gone(&hold.agent) => {
                    let (offer, agent) = (hold.offer, hold.agent.clone());
                    let (mut item, hold) = item.give_back(offer, &agent, None)?;
                    item.pinned = None;
                    change.offer_ended(&item, &hold, OfferEnd::Withdrawn, "");
                    item
                }
                State::Assigned { hand, rest, .. } if gone(&hand.agent) => {
                    let returns = match how {
                        Leaving::Said | Leaving::Soon => false,
                        Leaving::Lost => rules.is_live(item.channel) && *rest == crate::domain::Rest::No,
                        Leaving::ForLong => true,
                    };
                    if !returns {
                        continue;
                    }
                    let (item, returned) = item.return_to_queue(now)?;
                    change.returned(&item, &returned, "agent lost");
                    item
                }
                State::Wrapping { hand, .. } if gone(&hand.agent) => {
                    let (item, done) = item.finish_wrap_up(now)?;
                    change.completed(&item, &done);
                    item
                }
                // Only the second seat is theirs.
                State::Assigned { second, .. } => match second.clone() {
                    Some(Second::Offered(_, hold)) => {
                        let (item, _) = item.decline_second(hold.offer, &hold.agent)?;
                        change.move_offer(hold.offer, "withdrawn", "", false);
                        item
                    }
                    Some(second @ Second::Joined(..)) => {
                        let (item, _) = item.end_consultation(false)?;
                        change.second_ended(Some(&second), OfferEnd::Withdrawn);
                        item
                    }
                    Some(Second::Wanted(_)) | None => continue,
                },
                State::Offered(_)
                | State::Wrapping { .. }
                | State::Completed { .. }
                | State::Cancelled { .. }
                | State::Abandoned { .. } => continue,
            };
            change.put(item);
        }
        if matches!(how, Leaving::Said | Leaving::Lost) {
            let due_at = now + chrono::TimeDelta::seconds(self.config.left_behind());
            for agent in agents {
                change.arm(LEFT_BEHIND, agent, due_at);
            }
        }
        Ok(())
    }
}
