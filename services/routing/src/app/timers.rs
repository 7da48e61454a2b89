//! What happens when nothing happened in time.
//!
//! A timer only says when to look: each looks at what is, and finds nothing to do when somebody was faster. So whoever
//! is faster need not wait for a timer that is about to fire.

use std::collections::{BTreeMap, BTreeSet};

use trama_platform::{
    Error, Tx,
    timers::{Timer, TimerHandler},
};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::OfferEnd,
};

use super::{
    AGENT_RETURN, Change, DESK_GRACE, LEFT_BEHIND, OFFER_EXPIRY, PARK, Routing, WRAP_UP, agents::Leaving,
};
use crate::{
    domain::{Agent, Presence, Rest, Second, State, WorkItem},
    store,
};

/// What is due for one tenant.
#[derive(Default)]
struct Due {
    lapsed: Vec<OfferId>,
    returning: Vec<AgentId>,
    gone: Vec<AgentId>,
    left_behind: Vec<AgentId>,
    wrapped_up: Vec<WorkItemId>,
    silent: Vec<(WorkItemId, chrono::DateTime<chrono::Utc>)>,
}

#[async_trait::async_trait]
impl TimerHandler for Routing {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let mut tenants: BTreeMap<TenantId, Due> = BTreeMap::new();
        for timer in due {
            sort_in(tenants.entry(timer.tenant.clone()).or_default(), timer)?;
        }
        for (tenant, due) in tenants {
            self.decide_due(tx, &tenant, due).await?;
        }
        Ok(())
    }
}

fn sort_in(due: &mut Due, timer: &Timer) -> Result<(), Error> {
    match timer.kind.as_str() {
        OFFER_EXPIRY => due.lapsed.push(timer.key.parse()?),
        AGENT_RETURN => due.returning.push(timer.key.parse()?),
        DESK_GRACE => due.gone.push(timer.key.parse()?),
        LEFT_BEHIND => due.left_behind.push(timer.key.parse()?),
        WRAP_UP => due.wrapped_up.push(timer.key.parse()?),
        PARK => due.silent.push((timer.key.parse()?, timer.due_at)),
        other => return Err(Error::internal(format!("a timer of unknown kind {other}"))),
    }
    Ok(())
}

impl Routing {
    async fn decide_due(&self, tx: &mut Tx, tenant: &TenantId, due: Due) -> Result<(), Error> {
        let mut change = Change::new(tenant, tx.now());
        let (mut gone, mut here) = (Vec::new(), Vec::new());
        for agent in due.gone {
            if self.hub.is_connected(tenant, &agent) {
                here.push(agent);
            } else {
                gone.push(agent);
            }
        }
        for agent in &here {
            self.arm_grace(tx, tenant, agent, self.config.grace_after_heartbeat());
        }
        // Who was gone for long, and still is.
        let left: Vec<&str> = due.left_behind.iter().map(AgentId::as_str).collect();
        let left: Vec<AgentId> = if left.is_empty() {
            Vec::new()
        } else {
            let found = store::read_agents(tx.conn(), tenant, &left).await?;
            found
                .into_iter()
                .filter(|a| a.presence == Presence::Offline)
                .map(|a| a.id)
                .collect()
        };

        // Items first, all of them, then agents: the one order of locks.
        let mut silent = self
            .look_at_items(tx, tenant, &due.lapsed, &due.wrapped_up, &due.silent, &mut change)
            .await?;
        if !gone.is_empty() {
            self.leave(tx, tenant, &gone, Leaving::Lost, &mut change).await?;
        }
        if !left.is_empty() {
            self.leave(tx, tenant, &left, Leaving::ForLong, &mut change)
                .await?;
        }
        silent.retain(|agent| !gone.contains(agent));
        self.look_at_agents(tx, tenant, &silent, &due.returning, &gone, &mut change)
            .await?;
        change.save(tx, &[], &self.signals, false).await
    }

    /// Offers that nobody answered, wrap-ups that are over, conversations in which nobody spoke. Says who did not answer.
    async fn look_at_items(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        lapsed: &[OfferId],
        wrapped_up: &[WorkItemId],
        silent: &[(WorkItemId, chrono::DateTime<chrono::Utc>)],
        change: &mut Change,
    ) -> Result<BTreeSet<AgentId>, Error> {
        let now = tx.now();
        let quiet: BTreeSet<WorkItemId> = silent.iter().map(|(id, _)| *id).collect();
        let mut ids: Vec<WorkItemId> = wrapped_up.iter().copied().chain(quiet.iter().copied()).collect();
        if !lapsed.is_empty() {
            // Nearly all were answered long ago: their items need not be locked to see that.
            let offers = store::read_offers(tx, tenant, lapsed).await?;
            let unanswered = offers.iter().filter(|offer| offer.state == "pending");
            ids.extend(unanswered.map(|offer| WorkItemId::new(offer.work_item_id)));
        }
        let mut missed = BTreeSet::new();
        if ids.is_empty() {
            return Ok(missed);
        }
        for item in store::lock_items(tx, tenant, &ids).await? {
            change.know(&item);
            let id = item.id;
            let item = self.lapse(item, lapsed, now, &mut missed, change)?;
            match &item.state {
                State::Wrapping { until, .. } if *until <= now => {
                    let (item, done) = item.finish_wrap_up(now)?;
                    change.completed(&item, &done);
                    change.put(item);
                }
                State::Assigned {
                    rest: Rest::No,
                    second: None,
                    ..
                } if quiet.contains(&id) && item.channel != trama_proto::common::v1::ChannelKind::Voice => {
                    change.put(item.rest(Rest::Parked)?);
                }
                State::Wrapping { .. }
                | State::Assigned { .. }
                | State::Pending
                | State::Offered(_)
                | State::Completed { .. }
                | State::Cancelled { .. }
                | State::Abandoned { .. } => {}
            }
        }
        Ok(missed)
    }

    fn lapse(
        &self,
        item: WorkItem,
        lapsed: &[OfferId],
        now: chrono::DateTime<chrono::Utc>,
        missed: &mut BTreeSet<AgentId>,
        change: &mut Change,
    ) -> Result<WorkItem, Error> {
        match &item.state {
            State::Offered(hold) if lapsed.contains(&hold.offer) && hold.until <= now => {
                let (offer, agent) = (hold.offer, hold.agent.clone());
                let (item, hold) = item.give_back(offer, &agent, Some(now))?;
                change.offer_ended(&item, &hold, OfferEnd::Expired, "");
                change.put(item.clone());
                missed.insert(agent);
                Ok(item)
            }
            State::Assigned {
                second: Some(Second::Offered(_, hold)),
                ..
            } if lapsed.contains(&hold.offer) && hold.until <= now => {
                let (offer, agent) = (hold.offer, hold.agent.clone());
                let (item, _) = item.decline_second(offer, &agent)?;
                change.move_offer(offer, "expired", "", false);
                change.put(item.clone());
                missed.insert(agent);
                Ok(item)
            }
            State::Offered(_)
            | State::Assigned { .. }
            | State::Pending
            | State::Wrapping { .. }
            | State::Completed { .. }
            | State::Cancelled { .. }
            | State::Abandoned { .. } => Ok(item),
        }
    }

    /// Who let an offer lapse is left alone for a while, who was left alone comes back, who is gone is offline.
    async fn look_at_agents(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        silent: &BTreeSet<AgentId>,
        returning: &[AgentId],
        gone: &[AgentId],
        change: &mut Change,
    ) -> Result<(), Error> {
        let now = tx.now();
        let rules = self.rules(tenant);
        let mut ids: BTreeSet<AgentId> = silent.iter().cloned().collect();
        ids.extend(returning.iter().chain(gone).cloned());
        if ids.is_empty() {
            return Ok(());
        }
        ids.extend(change.agents_of_items());
        let ids: Vec<AgentId> = ids.into_iter().collect();
        let locked = store::lock_agents(tx.conn(), tenant, &ids).await?;
        let busy = self.got_meanwhile(tx, tenant, gone, change).await?;
        for mut agent in locked.into_values() {
            let before = agent.clone();
            if busy.contains(&agent.id) {
                // Once more, with what they were offered in the same moment.
                change.arm(DESK_GRACE, &agent.id, now);
            } else if gone.contains(&agent.id) {
                agent.become_now(Presence::Offline, "line lost", now);
            } else if silent.contains(&agent.id) && !agent.bot && agent.presence == Presence::Available {
                self.missed(&mut agent, &rules, now, change);
            } else if returning.contains(&agent.id) && agent.presence == Presence::NotResponding {
                agent.become_now(Presence::Available, "", now);
            }
            if agent != before {
                change.put_agent(agent);
            }
        }
        Ok(())
    }

    fn missed(
        &self,
        agent: &mut Agent,
        rules: &crate::domain::Rules,
        now: chrono::DateTime<chrono::Utc>,
        change: &mut Change,
    ) {
        let after = if rules.one_miss_is_enough() {
            Presence::Away
        } else {
            agent.after_a_miss(rules.missed_window(), now)
        };
        match after {
            Presence::Away => agent.become_now(Presence::Away, "let offers lapse", now),
            other @ (Presence::NotResponding | Presence::Available | Presence::Offline) => {
                agent.become_now(other, "let an offer lapse", now);
                if let Some(pause) = rules.missed_pause() {
                    change.arm(AGENT_RETURN, &agent.id, now + pause);
                }
            }
        }
        agent.missed_at = Some(now);
    }
}
