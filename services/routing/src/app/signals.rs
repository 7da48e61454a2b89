//! What a commit must wake: the leader of the tenant, and desks, on this replica at once and on the others by a hint.
//!
//! Hints may be lost. The leader looks by itself every second, a desk compares at every heartbeat.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use trama_platform::{Error, Lifecycle, Tx, bus::Bus};
use trama_proto::ids::{AgentId, TenantId, WorkItemId};

use crate::{desk::Hub, dispatcher::Leaders};

/// Hints that may wait for the bus.
const WAITING: usize = 8_192;

/// What happened, for those who must look.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// The leader has something to read.
    pub leader: bool,
    /// Desks that must look at an item.
    pub desks: Vec<(AgentId, WorkItemId)>,
    /// Desks that must look at their agent.
    pub agents: Vec<AgentId>,
}

/// The same on its way to other replicas.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wire {
    from: String,
    tenant: String,
    leader: bool,
    desks: Vec<(String, String)>,
    agents: Vec<String>,
}

/// Wakes who must look.
#[derive(Clone)]
pub struct Signals {
    hub: Arc<Hub>,
    leaders: Arc<Leaders>,
    me: Arc<str>,
    out: mpsc::Sender<(TenantId, Wire)>,
}

impl Signals {
    /// With a task that tells the other replicas.
    pub fn start(
        bus: &Bus,
        hub: Arc<Hub>,
        leaders: Arc<Leaders>,
        me: Arc<str>,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (out, mut waiting) = mpsc::channel::<(TenantId, Wire)>(WAITING);
        let (bus, stopping) = (bus.clone(), lifecycle.stopping());
        lifecycle.spawn("routing-news", async move {
            loop {
                let next = tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    next = waiting.recv() => next,
                };
                let Some((tenant, wire)) = next else { return Ok(()) };
                let subject = format!("{}.routing.{tenant}.news", bus.prefix());
                let payload = serde_json::to_vec(&wire).unwrap_or_default();
                if let Err(error) = bus.client().publish(subject, payload.into()).await {
                    tracing::debug!(%error, "a hint was not sent; whoever it was for looks by themselves soon");
                }
            }
        });
        Self {
            hub,
            leaders,
            me,
            out,
        }
    }

    /// Wakes them once the transaction is through.
    pub fn after(&self, tx: &mut Tx, tenant: &TenantId, news: News) {
        if !news.leader && news.desks.is_empty() && news.agents.is_empty() {
            return;
        }
        let (this, tenant) = (self.clone(), tenant.clone());
        tx.after_commit(move || {
            this.wake(&tenant, &news);
            let wire = Wire {
                from: this.me.to_string(),
                tenant: tenant.to_string(),
                leader: news.leader,
                desks: news
                    .desks
                    .iter()
                    .map(|(a, i)| (a.to_string(), i.to_string()))
                    .collect(),
                agents: news.agents.iter().map(ToString::to_string).collect(),
            };
            // A full buffer loses a hint, not the truth.
            let _ = this.out.try_send((tenant, wire));
        });
    }

    fn wake(&self, tenant: &TenantId, news: &News) {
        if news.leader {
            self.leaders.wake(tenant);
        }
        for (agent, item) in &news.desks {
            self.hub.wake(tenant, agent, Some(*item));
        }
        for agent in &news.agents {
            self.hub.wake(tenant, agent, None);
        }
    }

    /// What another replica says.
    pub fn heard(&self, payload: &[u8]) -> Result<(), Error> {
        let wire: Wire =
            serde_json::from_slice(payload).map_err(|e| Error::invalid("news", e.to_string()))?;
        if *wire.from == *self.me {
            return Ok(());
        }
        let tenant = wire.tenant.parse()?;
        let mut news = News {
            leader: wire.leader,
            ..News::default()
        };
        for (agent, item) in &wire.desks {
            news.desks.push((agent.parse()?, item.parse()?));
        }
        for agent in &wire.agents {
            news.agents.push(agent.parse()?);
        }
        self.wake(&tenant, &news);
        Ok(())
    }
}
