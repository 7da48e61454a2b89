//! The agents' lines: who is connected to this replica, and what woke them.
//!
//! A line shows what the database says. Commits give hints *which* items to look at: on this replica at once, on the
//! others over the bus. A lost hint costs time, not truth: each heartbeat compares.
//!
//! The token of a response is the moment as of which the desk is complete. A desk that comes back with it is told which
//! offers have ended since, besides everything that is in hand now; without it, only the latter. Both may repeat what
//! the desk knows already: offers are told apart by their ids.

mod line;
mod reader;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;
use trama_proto::ids::{AgentId, TenantId, WorkItemId};

pub use line::{Responses, open};
pub use reader::Reader;

/// Hints that may wait for one line. A line that missed one compares everything.
const HINTS: usize = 4_096;

type Who = (TenantId, AgentId);
type Lines = HashMap<Who, HashMap<u64, Waker>>;

/// How a line is woken: look at this item, or at the agent.
struct Waker {
    items: mpsc::Sender<Option<WorkItemId>>,
    missed: Arc<AtomicBool>,
}

/// What a line waits for.
struct Woken {
    items: mpsc::Receiver<Option<WorkItemId>>,
    missed: Arc<AtomicBool>,
}

/// The lines of this replica.
#[derive(Default)]
pub struct Hub {
    lines: Mutex<(u64, Lines)>,
}

impl Hub {
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

    /// Wakes an agent's lines here.
    pub(crate) fn wake(&self, tenant: &TenantId, agent: &AgentId, item: Option<WorkItemId>) {
        if let Some(lines) = self.lines().1.get(&(tenant.clone(), agent.clone())) {
            for line in lines.values() {
                if line.items.try_send(item).is_err() {
                    line.missed.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
