//! What an agent does: presence, accept, decline, complete.

use std::collections::BTreeSet;

use prost::Message;
use trama_platform::{Error, Tx, timers::TimerSpec};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::OfferEnd,
};

use super::{AGENT_RETURN, Change, DESK_GRACE, Routing};
use crate::{
    domain::{Agent, Presence, Rejected, State, WorkItem},
    error::{unknown_agent, unknown_item, unknown_offer},
    store,
};

impl Routing {
    /// An agent's line is open: they are connected, but say themselves when they want work.
    pub async fn connect(&self, tenant: &TenantId, agent: &AgentId) -> Result<Agent, Error> {
        let mut tx = self.db.tx(tenant).await?;
        lock(&mut tx, tenant).await?;
        let found = get_agent(&mut tx, tenant, agent).await?;
        if found.presence == Presence::Offline {
            let now = tx.now();
            store::set_presence(
                tx.conn(),
                tenant,
                std::slice::from_ref(agent),
                Presence::Away,
                "connected",
                now,
            )
            .await?;
        }
        // A dead man's switch: should this replica die, the timer finds nobody who pushes it on.
        arm_grace(&mut tx, tenant, agent, self.config.grace_after_heartbeat());
        let agent = get_agent(&mut tx, tenant, agent).await?;
        tx.commit().await?;
        Ok(agent)
    }

    /// An agent's last line is gone: it may come back for a while.
    pub async fn disconnect(&self, tenant: &TenantId, agent: &AgentId) -> Result<(), Error> {
        let mut tx = self.db.tx(tenant).await?;
        arm_grace(&mut tx, tenant, agent, self.config.grace());
        tx.commit().await
    }

    /// A line on this replica is alive: its agent counts as connected for some time from now.
    pub async fn still_connected(&self, tenant: &TenantId, agent: &AgentId) -> Result<(), Error> {
        let mut tx = self.db.tx(tenant).await?;
        arm_grace(&mut tx, tenant, agent, self.config.grace_after_heartbeat());
        tx.commit().await
    }

    /// Says whether work may be offered.
    pub async fn set_presence<Q: Message, R: Message + Default>(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        presence: Presence,
        reason: &str,
        command: Command<'_, Q, R>,
    ) -> Result<R, Error> {
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = command.seen(&mut tx, tenant, agent).await? {
            return Ok(answer);
        }
        lock(&mut tx, tenant).await?;
        get_agent(&mut tx, tenant, agent).await?;
        let now = tx.now();
        store::set_presence(
            tx.conn(),
            tenant,
            std::slice::from_ref(agent),
            presence,
            reason,
            now,
        )
        .await?;
        tx.disarm(tenant, AGENT_RETURN, agent.to_string());
        let mut change = Change::new(tenant, now, self.config);
        match presence {
            Presence::Available => change.free(agent.clone()),
            Presence::Offline => {
                give_back_all(
                    &mut tx,
                    tenant,
                    std::slice::from_ref(agent),
                    OfferEnd::Declined,
                    &mut change,
                )
                .await?;
            }
            Presence::Away | Presence::NotResponding => {}
        }
        change.match_and_save(&mut tx, &[]).await?;
        let agent_now = get_agent(&mut tx, tenant, agent).await?;
        command.done(tx, tenant, agent, Outcome::Agent(&agent_now)).await
    }

    /// Takes the work of an offer.
    pub async fn accept<Q: Message, R: Message + Default>(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        offer: OfferId,
        command: Command<'_, Q, R>,
    ) -> Result<R, Error> {
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = command.seen(&mut tx, tenant, agent).await? {
            return Ok(answer);
        }
        let human = !get_agent(&mut tx, tenant, agent).await?.bot;
        // A human may get the next offer now. A bot's load does not change: it need not wait for the lock.
        if human {
            lock(&mut tx, tenant).await?;
        }
        let item = item_of_offer(&mut tx, tenant, offer).await?;
        let item = item.accept(offer, agent, tx.now())?;
        let mut change = Change::new(tenant, tx.now(), self.config);
        change.accepted(&item, human);
        change.put(item.clone());
        if human {
            change.match_and_save(&mut tx, &[]).await?;
        } else {
            change.save(&mut tx, &[]).await?;
        }
        command.done(tx, tenant, agent, Outcome::Item(&item)).await
    }

    /// Gives an offer back: the item keeps its place and goes to somebody else.
    pub async fn decline<Q: Message, R: Message + Default>(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        offer: OfferId,
        reason: &str,
        command: Command<'_, Q, R>,
    ) -> Result<R, Error> {
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = command.seen(&mut tx, tenant, agent).await? {
            return Ok(answer);
        }
        lock(&mut tx, tenant).await?;
        let item = item_of_offer(&mut tx, tenant, offer).await?;
        let (item, hold) = item.give_back(offer, agent, true)?;
        let mut change = Change::new(tenant, tx.now(), self.config);
        change.offer_ended(&item, &hold, OfferEnd::Declined, reason, true);
        change.put(item);
        change.match_and_save(&mut tx, &[]).await?;
        command.done(tx, tenant, agent, Outcome::Nothing).await
    }

    /// Ends the agent's part.
    pub async fn complete<Q: Message, R: Message + Default>(
        &self,
        tenant: &TenantId,
        agent: &AgentId,
        id: WorkItemId,
        command: Command<'_, Q, R>,
    ) -> Result<R, Error> {
        let mut tx = self.db.tx(tenant).await?;
        if let Some(answer) = command.seen(&mut tx, tenant, agent).await? {
            return Ok(answer);
        }
        lock(&mut tx, tenant).await?;
        let item = store::work_item(tx.conn(), tenant, id)
            .await?
            .ok_or_else(|| unknown_item(id))?;
        match &item.state {
            State::Assigned { agent: by, .. } if by != agent => return Err(Rejected::NotYours.into()),
            State::Assigned { .. }
            | State::Pending
            | State::Offered(_)
            | State::Completed { .. }
            | State::Cancelled { .. } => {}
        }
        let (item, done) = item.complete(tx.now())?;
        let mut change = Change::new(tenant, tx.now(), self.config);
        change.completed(&item, &done);
        change.put(item.clone());
        change.match_and_save(&mut tx, &[]).await?;
        command.done(tx, tenant, agent, Outcome::Item(&item)).await
    }
}

/// What a command did, for its answer.
pub enum Outcome<'a> {
    /// Nothing to show.
    Nothing,
    /// The agent as now seen.
    Agent(&'a Agent),
    /// The item as it is now.
    Item(&'a WorkItem),
}

/// A command as it came: its request id, and how its outcome is answered.
pub struct Command<'a, Q, R> {
    /// Name of the method.
    pub method: &'static str,
    /// Id given by the caller.
    pub request_id: &'a str,
    /// The request.
    pub request: &'a Q,
    /// Words the answer.
    pub answer: fn(Outcome<'_>) -> R,
}

impl<Q: Message, R: Message + Default> Command<'_, Q, R> {
    fn by<'b>(&'b self, tenant: &'b TenantId, agent: &'b AgentId) -> trama_platform::Command<'b, Q> {
        trama_platform::Command::new(tenant, agent.as_str(), self.method, self.request_id, self.request)
    }

    async fn seen(&self, tx: &mut Tx, tenant: &TenantId, agent: &AgentId) -> Result<Option<R>, Error> {
        tx.replay(&self.by(tenant, agent)).await
    }

    async fn done(
        &self,
        mut tx: Tx,
        tenant: &TenantId,
        agent: &AgentId,
        outcome: Outcome<'_>,
    ) -> Result<R, Error> {
        let answer = (self.answer)(outcome);
        tx.remember(&self.by(tenant, agent), &answer).await?;
        tx.commit().await?;
        Ok(answer)
    }
}

/// All offers that these agents have not answered go back to the queue.
pub(super) async fn give_back_all(
    tx: &mut Tx,
    tenant: &TenantId,
    agents: &[AgentId],
    end: OfferEnd,
    change: &mut Change,
) -> Result<(), Error> {
    for item in store::of_offers_of(tx.conn(), tenant, agents).await? {
        let Some((agent, offer)) = item.in_hand().map(|(agent, offer)| (agent.clone(), offer)) else {
            continue;
        };
        let (item, hold) = item.give_back(offer, &agent, false)?;
        change.offer_ended(&item, &hold, end, "", false);
        change.put(item);
    }
    Ok(())
}

pub(super) fn arm_grace(tx: &mut Tx, tenant: &TenantId, agent: &AgentId, seconds: i64) {
    let due_at = tx.now() + chrono::TimeDelta::seconds(seconds);
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: DESK_GRACE,
        key: agent.to_string(),
        due_at,
        payload: serde_json::Value::Null,
    });
}

pub(super) async fn lock(tx: &mut Tx, tenant: &TenantId) -> Result<(), Error> {
    store::lock(tx.conn(), &BTreeSet::from([tenant.clone()])).await
}

async fn get_agent(tx: &mut Tx, tenant: &TenantId, agent: &AgentId) -> Result<Agent, Error> {
    store::find_agent(tx.conn(), tenant, agent)
        .await?
        .ok_or_else(|| unknown_agent(agent))
}

async fn item_of_offer(tx: &mut Tx, tenant: &TenantId, offer: OfferId) -> Result<WorkItem, Error> {
    store::of_offers(tx.conn(), tenant, &[offer])
        .await?
        .pop()
        .ok_or_else(|| unknown_offer(offer))
}
