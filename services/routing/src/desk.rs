//! The agents' lines: who is connected to this replica, and what woke them.
//!
//! A line shows what the database says. Events of ours on the bus are only hints *which* items to look at: every
//! replica hears them all and wakes the lines it holds. A lost hint costs time, not truth: each heartbeat compares.

mod line;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt as _;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use trama_platform::{Error, Lifecycle, bus::Bus};
use trama_proto::{
    events::Event,
    ids::{AgentId, TenantId, WorkItemId},
    routing::v1::{OfferAccepted, OfferEnded, OfferMade, WorkCompleted},
};

pub use line::{Responses, open};

/// Hints that may wait for one line. A line that missed one compares everything.
const HINTS: usize = 4_096;

type Who = (TenantId, AgentId);
type Lines = HashMap<Who, HashMap<u64, Waker>>;

/// How a line is woken: look at this item.
struct Waker {
    items: mpsc::Sender<WorkItemId>,
    missed: Arc<AtomicBool>,
}

/// What a line waits for.
struct Woken {
    items: mpsc::Receiver<WorkItemId>,
    missed: Arc<AtomicBool>,
}

/// The lines of this replica.
pub struct Hub {
    bus: Bus,
    lines: Mutex<(u64, Lines)>,
}

/// A hint on its way to all replicas.
#[derive(Serialize, Deserialize)]
struct Wire {
    agent: String,
    item: String,
}

impl Hub {
    /// No lines yet.
    pub fn new(bus: Bus) -> Self {
        Self {
            bus,
            lines: Mutex::default(),
        }
    }

    fn lines(&self) -> MutexGuard<'_, (u64, Lines)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an agent has a line on this replica.
    pub fn is_connected(&self, tenant: &TenantId, agent: &AgentId) -> bool {
        self.lines().1.contains_key(&(tenant.clone(), agent.clone()))
    }

    fn add(&self, who: &Who) -> (u64, Woken) {
        let (sender, receiver) = mpsc::channel(HINTS);
        let missed = Arc::new(AtomicBool::new(false));
        let waker = Waker {
            items: sender,
            missed: Arc::clone(&missed),
        };
        let mut lines = self.lines();
        lines.0 += 1;
        let id = lines.0;
        lines.1.entry(who.clone()).or_default().insert(id, waker);
        (
            id,
            Woken {
                items: receiver,
                missed,
            },
        )
    }

    /// Removes a line; true when it was the agent's last one here.
    fn remove(&self, who: &Who, id: u64) -> bool {
        let mut lines = self.lines();
        let Some(of_agent) = lines.1.get_mut(who) else {
            return true;
        };
        of_agent.remove(&id);
        let last = of_agent.is_empty();
        if last {
            lines.1.remove(who);
        }
        last
    }

    fn wake(&self, tenant: TenantId, agent: &str, item: &str) {
        let (Ok(agent), Ok(item)) = (agent.parse::<AgentId>(), item.parse::<WorkItemId>()) else {
            return;
        };
        if let Some(lines) = self.lines().1.get(&(tenant, agent)) {
            for line in lines.values() {
                if line.items.try_send(item).is_err() {
                    line.missed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Wakes an agent's lines on every replica.
    pub(crate) async fn hint_all(&self, tenant: &TenantId, agent: &AgentId, item: WorkItemId) {
        let wire = Wire {
            agent: agent.to_string(),
            item: item.to_string(),
        };
        let subject = format!("{}.desk.{tenant}.hint", self.bus.prefix());
        let payload = serde_json::to_vec(&wire).unwrap_or_default();
        if let Err(error) = self.bus.client().publish(subject, payload.into()).await {
            tracing::debug!(%error, "a hint was not sent; the desk will find out at its next heartbeat");
        }
    }

    /// Hears what happens to offers on all replicas and wakes the lines of this one.
    pub async fn listen(&self, lifecycle: Lifecycle) -> Result<(), Error> {
        let prefix = self.bus.prefix();
        let stopping = lifecycle.stopping();
        let mut all = futures::stream::SelectAll::new();
        let names = [
            OfferMade::NAME,
            OfferAccepted::NAME,
            OfferEnded::NAME,
            WorkCompleted::NAME,
        ];
        let subjects = names
            .iter()
            .map(|name| format!("{prefix}.events.{name}.>"))
            .chain([format!("{prefix}.desk.>")]);
        for subject in subjects {
            let subscription = self
                .bus
                .client()
                .subscribe(subject)
                .await
                .map_err(|e| Error::unavailable("NATS", e))?;
            all.push(subscription);
        }
        loop {
            let message = tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                message = all.next() => message,
            };
            // The client reconnects by itself and subscribes again; the stream ends only with the client.
            let Some(message) = message else { return Ok(()) };
            self.heard(&message);
        }
    }

    fn heard(&self, message: &async_nats::Message) {
        let mut words = message.subject.rsplit('.');
        let (_, tenant, name) = (words.next(), words.next(), words.next().unwrap_or_default());
        let Some(Ok(tenant)) = tenant.map(str::parse::<TenantId>) else {
            return;
        };
        let payload = message.payload.clone();
        let (agent, item) = match name {
            OfferMade::NAME => OfferMade::decode(payload)
                .map(|e| (e.agent_id, e.work_item_id))
                .unwrap_or_default(),
            OfferAccepted::NAME => OfferAccepted::decode(payload)
                .map(|e| (e.agent_id, e.work_item_id))
                .unwrap_or_default(),
            OfferEnded::NAME => OfferEnded::decode(payload)
                .map(|e| (e.agent_id, e.work_item_id))
                .unwrap_or_default(),
            WorkCompleted::NAME => WorkCompleted::decode(payload)
                .map(|e| (e.agent_id, e.work_item_id))
                .unwrap_or_default(),
            "desk" => serde_json::from_slice::<Wire>(&payload)
                .map(|w| (w.agent, w.item))
                .unwrap_or_default(),
            _ => return,
        };
        self.wake(tenant, &agent, &item);
    }
}
