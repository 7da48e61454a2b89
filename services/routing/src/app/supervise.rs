//! What supervisors and integrators do: agents, queues, figures.

use chrono::{DateTime, TimeDelta, Utc};
use prost::Message;
use trama_platform::{Command, Error, Kind, Principal};
use trama_proto::ids::{CaseId, TenantId};

use super::{Change, Routing, desk::lock};
use crate::{
    domain::{Agent, Presence},
    store::{self, KpiRow, OrderKey, WorkItemRow},
};

/// An item and its place in the queue from 1; 0 when it does not wait.
#[derive(Debug)]
pub struct Placed {
    /// The item.
    pub item: WorkItemRow,
    /// The place.
    pub position: i32,
}

impl Routing {
    /// Creates or changes an agent; what they may do now is offered at once.
    pub async fn upsert_agent<Q: Message, R: Message + Default>(
        &self,
        caller: &Principal,
        wanted: Agent,
        request_id: &str,
        request: &Q,
        answer: fn(&Agent) -> R,
    ) -> Result<R, Error> {
        const METHOD: &str = "UpsertAgent";
        let (tenant, subject) = (&caller.tenant, caller.subject.as_str());
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(tenant, subject, METHOD, request_id, request);
        if let Some(answer) = tx.replay(&command).await? {
            return Ok(answer);
        }
        lock(&mut tx, tenant).await?;
        let now = tx.now();
        let mut agent = Agent {
            idle_since: now,
            ..wanted
        };
        if let Some(before) = store::find_agent(tx.conn(), tenant, &agent.id).await? {
            if agent.capacity_units < before.used_units {
                let message = format!(
                    "agent {} has {} units in use: complete work first, or take a capacity of at least that",
                    agent.id, before.used_units
                );
                return Err(Error::new(Kind::Precondition, message));
            }
            if agent.bot != before.bot && before.used_units > 0 {
                return Err(Error::new(
                    Kind::Precondition,
                    format!("agent {} has work in hand: `bot` cannot change now", agent.id),
                ));
            }
            agent.presence = before.presence;
            agent.used_units = before.used_units;
        }
        store::upsert_agent(tx.conn(), tenant, &agent).await?;
        if agent.presence == Presence::Available {
            let mut change = Change::new(tenant, now, self.config);
            change.free(agent.id.clone());
            change.match_and_save(&mut tx, &[]).await?;
        }
        let stored = store::find_agent(tx.conn(), tenant, &agent.id)
            .await?
            .unwrap_or(agent);
        let answer = answer(&stored);
        tx.remember(&command, &answer).await?;
        tx.commit().await?;
        Ok(answer)
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

    /// Open items in the order in which they would be offered.
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

    /// Figures since a moment, the last 24 hours by default, and the moment they are of.
    pub async fn kpis(
        &self,
        tenant: &TenantId,
        since: Option<DateTime<Utc>>,
    ) -> Result<(Vec<KpiRow>, DateTime<Utc>), Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let since = since.unwrap_or(now - TimeDelta::hours(24));
        Ok((store::kpis(tx.conn(), tenant, since, now).await?, now))
    }
}
