//! What happens when nothing happened in time.

use std::collections::{BTreeMap, BTreeSet};

use trama_platform::{
    Error, Tx,
    timers::{Timer, TimerHandler, TimerSpec},
};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::OfferEnd,
};

use super::{
    AGENT_RETURN, Change, DESK_GRACE, DESK_HINT, OFFER_EXPIRY, REMATCH, Routing,
    desk::{arm_grace, give_back_all},
};
use crate::{
    domain::{Agent, Presence, State},
    store,
};

/// What is due for one tenant.
#[derive(Default)]
struct Due {
    lapsed: Vec<OfferId>,
    returning: Vec<AgentId>,
    gone: Vec<AgentId>,
    hints: Vec<(AgentId, WorkItemId)>,
    rematch: bool,
}

#[async_trait::async_trait]
impl TimerHandler for Routing {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let mut tenants: BTreeMap<TenantId, Due> = BTreeMap::new();
        for timer in due {
            sort_in(tenants.entry(timer.tenant.clone()).or_default(), timer)?;
        }
        let deciding: BTreeSet<TenantId> = tenants
            .iter()
            .filter(|(_, due)| due.decides())
            .map(|(tenant, _)| tenant.clone())
            .collect();
        store::lock(tx.conn(), &deciding).await?;
        for (tenant, due) in tenants {
            for (agent, item) in &due.hints {
                self.hub.hint_all(&tenant, agent, *item).await;
            }
            if due.decides() {
                self.decide_due(tx, &tenant, due).await?;
            }
        }
        Ok(())
    }
}

impl Due {
    fn decides(&self) -> bool {
        self.rematch || !(self.lapsed.is_empty() && self.returning.is_empty() && self.gone.is_empty())
    }
}

fn sort_in(due: &mut Due, timer: &Timer) -> Result<(), Error> {
    match timer.kind.as_str() {
        OFFER_EXPIRY => due.lapsed.push(timer.key.parse()?),
        AGENT_RETURN => due.returning.push(timer.key.parse()?),
        DESK_GRACE => due.gone.push(timer.key.parse()?),
        DESK_HINT => {
            let agent = timer
                .payload
                .get("agent")
                .and_then(|a| a.as_str())
                .unwrap_or_default();
            due.hints.push((agent.parse()?, timer.key.parse()?));
        }
        REMATCH => due.rematch = true,
        other => return Err(Error::internal(format!("a timer of unknown kind {other}"))),
    }
    Ok(())
}

impl Routing {
    async fn decide_due(&self, tx: &mut Tx, tenant: &TenantId, due: Due) -> Result<(), Error> {
        let mut change = Change::new(tenant, tx.now(), self.config);
        self.lapse(tx, tenant, &due.lapsed, &mut change).await?;
        come_back(tx, tenant, &due.returning, &mut change).await?;
        self.leave(tx, tenant, &due.gone, &mut change).await?;
        if due.rematch {
            for agent in store::available(tx.conn(), tenant).await? {
                change.free(agent.id);
            }
        }
        change.match_and_save(tx, &[]).await
    }

    /// Offers that nobody answered: not to this agent again, who is left alone for a minute if human.
    async fn lapse(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        offers: &[OfferId],
        change: &mut Change,
    ) -> Result<(), Error> {
        let now = tx.now();
        let mut silent = BTreeSet::new();
        for item in store::of_offers(tx.conn(), tenant, offers).await? {
            let hold = match &item.state {
                State::Offered(hold) if offers.contains(&hold.offer) && hold.until <= now => hold.clone(),
                State::Offered(_)
                | State::Pending
                | State::Assigned { .. }
                | State::Completed { .. }
                | State::Cancelled { .. } => continue,
            };
            let (item, hold) = item.give_back(hold.offer, &hold.agent, true)?;
            change.offer_ended(&item, &hold, OfferEnd::Expired, "", true);
            change.put(item);
            silent.insert(hold.agent);
        }
        let mut humans = Vec::new();
        for agent in silent {
            if let Some(Agent {
                bot: false,
                presence: Presence::Available,
                ..
            }) = store::find_agent(tx.conn(), tenant, &agent).await?
            {
                tx.arm(TimerSpec {
                    tenant: tenant.clone(),
                    kind: AGENT_RETURN,
                    key: agent.to_string(),
                    due_at: now + chrono::TimeDelta::seconds(self.config.not_responding()),
                    payload: serde_json::Value::Null,
                });
                humans.push(agent);
            }
        }
        if humans.is_empty() {
            return Ok(());
        }
        store::set_presence(
            tx.conn(),
            tenant,
            &humans,
            Presence::NotResponding,
            "let an offer lapse",
            now,
        )
        .await
    }

    /// Agents whose line did not come back.
    async fn leave(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        agents: &[AgentId],
        change: &mut Change,
    ) -> Result<(), Error> {
        let mut gone = Vec::new();
        for agent in agents {
            if self.hub.is_connected(tenant, agent) {
                arm_grace(tx, tenant, agent, self.config.grace_after_heartbeat());
            } else {
                gone.push(agent.clone());
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let now = tx.now();
        store::set_presence(tx.conn(), tenant, &gone, Presence::Offline, "line lost", now).await?;
        give_back_all(tx, tenant, &gone, OfferEnd::Expired, change).await
    }
}

/// Agents who were left alone long enough.
async fn come_back(
    tx: &mut Tx,
    tenant: &TenantId,
    agents: &[AgentId],
    change: &mut Change,
) -> Result<(), Error> {
    let mut back = Vec::new();
    for agent in agents {
        if let Some(Agent {
            presence: Presence::NotResponding,
            ..
        }) = store::find_agent(tx.conn(), tenant, agent).await?
        {
            back.push(agent.clone());
        }
    }
    if back.is_empty() {
        return Ok(());
    }
    let now = tx.now();
    store::set_presence(tx.conn(), tenant, &back, Presence::Available, "", now).await?;
    for agent in back {
        change.free(agent);
    }
    Ok(())
}
