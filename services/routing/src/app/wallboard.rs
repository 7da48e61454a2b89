//! What supervisors see live: read once a second for all who watch a tenant on this replica, while somebody does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time::Instant};
use trama_platform::{Error, Lifecycle, Tx};
use trama_proto::{
    ids::TenantId,
    resources::QueueSpec,
    routing::v1::{self, QueueNow, TeamOccupancy},
};

use super::{
    Routing,
    figures::{DAY, QUARTER, kpis, quarter},
    occupancy,
    overflow::Pace,
};
use crate::{
    api::wire,
    domain::{Agent, Presence, Rules, hours},
    store,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at occupancies: of a day, they move slowly, and cost a look at the log of every agent.
const OCCUPANCY_PAUSE: Duration = Duration::from_secs(10);
/// Agents that are read at once.
const SLAB: i64 = 5_000;

/// A tenant at a moment.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// When.
    pub at: DateTime<Utc>,
    /// Queues by name.
    pub queues: BTreeMap<String, QueueNow>,
    /// Agents by id.
    pub agents: BTreeMap<String, v1::Agent>,
    /// Occupancy of everybody, by the empty name, and of teams by name.
    pub occupancy: BTreeMap<String, TeamOccupancy>,
}

/// `None` until the first look.
type Board = watch::Sender<Option<Arc<Shown>>>;

/// The boards that somebody watches.
#[derive(Clone)]
pub struct Wallboards {
    routing: Routing,
    lifecycle: Lifecycle,
    boards: Arc<Mutex<HashMap<TenantId, Arc<Board>>>>,
}

impl Wallboards {
    /// Nobody watches yet.
    pub fn new(routing: Routing, lifecycle: Lifecycle) -> Self {
        Self {
            routing,
            lifecycle,
            boards: Arc::default(),
        }
    }

    /// Watches a tenant; whoever is the first makes somebody look.
    pub fn watch(&self, tenant: &TenantId) -> watch::Receiver<Option<Arc<Shown>>> {
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(board) = boards.get(tenant) {
            return board.subscribe();
        }
        let (board, seen) = watch::channel(None);
        let board = Arc::new(board);
        boards.insert(tenant.clone(), Arc::clone(&board));
        let (this, tenant) = (self.clone(), tenant.clone());
        self.lifecycle.spawn("wallboard", async move {
            this.run(&tenant, &board).await;
            Ok(())
        });
        seen
    }

    async fn run(&self, tenant: &TenantId, board: &Board) {
        let stopping = self.lifecycle.stopping();
        let mut occupancy_at: Option<Instant> = None;
        loop {
            let due = occupancy_at.is_none_or(|at| at.elapsed() >= OCCUPANCY_PAUSE);
            let last = board.borrow().clone().filter(|_| !due);
            match self.routing.look(tenant, last.as_deref()).await {
                Ok(shown) => {
                    if due {
                        occupancy_at = Some(Instant::now());
                    }
                    board.send_replace(Some(Arc::new(shown)));
                }
                // Whoever watches sees the last figures until the next look.
                Err(error) => {
                    tracing::warn!(%tenant, detail = error.detail(), "the wallboard could not look")
                }
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            // Under the lock in which others subscribe: nobody is left with a board at which nobody looks.
            let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
            if board.receiver_count() == 0 || stopping.is_cancelled() {
                boards.remove(tenant);
                return;
            }
        }
    }
}

impl Routing {
    /// `last`: what was seen before, as long as its occupancies will do.
    async fn look(&self, tenant: &TenantId, last: Option<&Shown>) -> Result<Shown, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let (queues, agents) = self.look_at_queues(&mut tx, tenant, &[]).await?;
        let occupancy = match last {
            Some(last) => last.occupancy.clone(),
            None => {
                let day = quarter(tx.now() - DAY);
                let teams = occupancy::since(&mut tx, tenant, day).await?;
                teams.into_iter().map(|o| (o.team.clone(), o)).collect()
            }
        };
        Ok(Shown {
            at: tx.now(),
            occupancy,
            queues,
            agents: agents
                .iter()
                .map(|a| (a.id.to_string(), wire::agent(a)))
                .collect(),
        })
    }

    /// Queues now, and the agents. `only`: these; all when empty.
    pub(super) async fn look_at_queues(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        only: &[String],
    ) -> Result<(BTreeMap<String, QueueNow>, Vec<Agent>), Error> {
        let now = tx.now();
        let open = store::open_now(tx.conn(), tenant, only, now).await?;
        let day = quarter(now - DAY);
        let rows = store::sums(tx.conn(), tenant, day, now + QUARTER).await?;
        let recent = store::sums(tx.conn(), tenant, Pace::since(now), now + QUARTER).await?;
        let states = store::find_queue_states(tx.conn(), tenant).await?;
        let mut agents: Vec<Agent> = Vec::new();
        loop {
            let after = agents.last().map(|a| a.id.to_string()).unwrap_or_default();
            let slab = store::list_agents(tx.conn(), tenant, &after, SLAB).await?;
            let full = i64::try_from(slab.len()).unwrap_or(i64::MAX) >= SLAB;
            agents.extend(slab);
            if !full {
                break;
            }
        }
        let resources = self.resources.snapshot();
        let resources = resources.tenant(tenant);
        let rules = Rules::of(resources);
        let mut names: Vec<&str> = resources
            .into_iter()
            .flat_map(|r| r.queues.keys())
            .map(String::as_str)
            .chain(open.iter().map(|o| o.queue.as_str()))
            .chain(rows.iter().map(|r| r.queue.as_str()))
            .filter(|name| only.is_empty() || only.iter().any(|o| o == name))
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut queues = BTreeMap::new();
        for name in names {
            let spec = resources.and_then(|r| r.queues.get(name)).map(AsRef::as_ref);
            let here = || open.iter().filter(|o| o.queue == name);
            let waiting: i64 = here().map(|o| o.pending).sum();
            let answered: i64 = recent
                .iter()
                .filter(|r| r.queue == name)
                .map(|r| r.sums.answered)
                .sum();
            let (low, high) = Pace::of(answered, now).range(waiting).unwrap_or_default();
            let serving = || agents.iter().filter(|a| serves(a, spec));
            let hours = spec.and_then(|s| s.hours.as_deref());
            let hours = hours.and_then(|h| resources.and_then(|r| r.business_hours.get(h)));
            let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            queues.insert(
                name.to_owned(),
                QueueNow {
                    queue: name.to_owned(),
                    waiting,
                    oldest_waiting_seconds: here()
                        .filter_map(|o| o.oldest)
                        .min()
                        .map_or(0, |at| (now - at).num_seconds().max(0)),
                    offered: here().map(|o| o.offered).sum(),
                    assigned: here().map(|o| o.assigned).sum(),
                    agents_free: count(serving().filter(|a| has_room(a, &rules)).count()),
                    agents_online: count(serving().filter(|a| a.presence != Presence::Offline).count()),
                    open: hours.is_none_or(|h| hours::is_open(h, now)),
                    draining: states.get(name).is_some_and(|s| s.draining),
                    overflow_to: states
                        .get(name)
                        .filter(|s| s.draining)
                        .map(|s| s.overflow_to.clone())
                        .unwrap_or_default(),
                    expected_wait_low_seconds: low.num_seconds(),
                    expected_wait_high_seconds: high.num_seconds(),
                    figures: kpis(&rows, &open, resources, |queue| queue == name, now),
                },
            );
        }
        Ok((queues, agents))
    }
}

/// Whether an agent has what a queue asks of everybody.
fn serves(agent: &Agent, queue: Option<&QueueSpec>) -> bool {
    let Some(queue) = queue else { return true };
    let skilled = |(skill, level): (&String, &u8)| {
        agent
            .skills
            .get(skill)
            .is_some_and(|has| *has >= i32::from(*level))
    };
    queue.skills.0.iter().all(skilled)
        && (queue.teams.is_empty() || queue.teams.iter().any(|team| agent.teams.contains(team)))
}

/// Whether an agent may be offered work of some kind now.
fn has_room(agent: &Agent, rules: &Rules) -> bool {
    let kinds = if agent.available_kinds.is_empty() {
        &agent.channel_kinds
    } else {
        &agent.available_kinds
    };
    agent.presence == Presence::Available
        && !agent.draining
        && kinds
            .iter()
            .any(|kind| agent.used_units + rules.units(*kind, agent.capacity_units) <= agent.capacity_units)
}
