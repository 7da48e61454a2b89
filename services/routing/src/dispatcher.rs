//! Who matches for which tenant, and the tasks that do.
//!
//! PostgreSQL is the truth. For each tenant one replica, the leader, holds what waits and who has room in the memory of
//! a [`crate::matcher::Engine`]; the lease says who, and its epoch is checked in the transaction of every offer. What
//! others change they note in the table `changes`, which the leader reads by deleting; a leader that doubts drops its
//! memory and loads again.

mod checker;
mod keeper;
#[cfg(test)]
mod kept_tests;
mod lead;
mod listen;
mod looks;
mod seat;
mod tend;
mod tick;
mod write;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trama_platform::{Clock, Db, Error, bus::Bus};
use trama_proto::ids::{TenantId, WorkItemId};

use crate::store;

pub use keeper::keep;
pub use listen::listen;

/// How long another replica may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);
/// A holder decides for this share of its lease only: its clock and the database's may run apart.
const TRUSTED_SHARE: f64 = 0.7;

/// Why an item waits, in the matcher's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Why it is where it is.
    pub why: Vec<String>,
    /// What would change it.
    pub what_would_help: Vec<String>,
}

/// What the checker found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// In words; empty is well.
    pub violations: Vec<String>,
    /// When everything was looked at last.
    pub checked_at: Option<DateTime<Utc>>,
    /// Waiting items by why they wait.
    pub waiting_because: HashMap<String, i64>,
    /// Kinds of channel that agents online serve, as numbers of the contract.
    pub kinds_served: Vec<i32>,
}

/// A question to a leader.
pub(crate) enum Question {
    /// Why does this item wait?
    Explain(WorkItemId, oneshot::Sender<Option<Explanation>>),
    /// What did the checker find?
    Health(oneshot::Sender<Option<Health>>),
}

/// A tenant that this replica leads.
#[derive(Clone)]
struct Led {
    epoch: i64,
    wake: Arc<Notify>,
    lost: CancellationToken,
    /// When the lease was last known to hold, by the monotonic clock.
    renewed: Arc<Mutex<Instant>>,
    /// When the matcher wants to look again; `i64::MAX` when nothing is planned.
    next_look: Arc<AtomicI64>,
    /// True between a wake and the end of the look that it causes.
    busy: Arc<AtomicBool>,
    questions: mpsc::Sender<Question>,
    /// What the checker found last.
    violations: Arc<AtomicI64>,
}

/// What this replica leads.
pub struct Leaders {
    me: Arc<str>,
    bus: Bus,
    clock: Clock,
    led: Mutex<HashMap<TenantId, Led>>,
    /// There may be a tenant without a leader.
    vacancy: Notify,
    lease: Duration,
}

impl Leaders {
    /// Nothing is led yet. `me` is this replica's name, unique for its life.
    pub fn new(me: Arc<str>, bus: Bus, clock: Clock, lease: Duration) -> Self {
        Self {
            me,
            bus,
            clock,
            led: Mutex::default(),
            vacancy: Notify::new(),
            lease,
        }
    }

    fn led(&self) -> MutexGuard<'_, HashMap<TenantId, Led>> {
        self.led.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed for a tenant: whoever leads it here looks.
    pub fn wake(&self, tenant: &TenantId) {
        if let Some(led) = self.led().get(tenant) {
            led.busy.store(true, Ordering::SeqCst);
            led.wake.notify_one();
        }
    }

    /// A tenant may have no leader.
    pub fn look_for_work(&self) {
        self.vacancy.notify_one();
    }

    /// Whether every leader here has looked at everything that is due.
    pub fn is_quiet(&self) -> bool {
        let now = self.clock.now().timestamp_millis();
        let led = self.led();
        led.values()
            .all(|l| !l.busy.load(Ordering::SeqCst) && l.next_look.load(Ordering::SeqCst) > now)
    }

    /// The checker of a tenant went through everything.
    fn found(&self, led: &Led, violations: usize) {
        led.violations
            .store(i64::try_from(violations).unwrap_or(i64::MAX), Ordering::Relaxed);
        let sum: i64 = self
            .led()
            .values()
            .map(|l| l.violations.load(Ordering::Relaxed))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("trama_routing_violations").set(sum as f64);
    }

    async fn ask<R>(
        &self,
        tenant: &TenantId,
        question: impl FnOnce(oneshot::Sender<Option<R>>) -> Question,
    ) -> Option<R> {
        let questions = self.led().get(tenant).map(|l| l.questions.clone())?;
        let (reply, answer) = oneshot::channel();
        questions.send(question(reply)).await.ok()?;
        tokio::time::timeout(ANSWER, answer).await.ok()?.ok()?
    }

    fn leads(&self, tenant: &TenantId) -> bool {
        self.led().contains_key(tenant)
    }

    /// Why an item waits, by who leads, wherever that is.
    pub async fn explain(&self, tenant: &TenantId, item: WorkItemId) -> Option<Explanation> {
        if self.leads(tenant) {
            return self.ask(tenant, |reply| Question::Explain(item, reply)).await;
        }
        self.ask_elsewhere(tenant, "explain", item.to_string()).await
    }

    /// What the checker found, by who leads, wherever that is.
    pub async fn health(&self, tenant: &TenantId) -> Option<Health> {
        if self.leads(tenant) {
            return self.ask(tenant, Question::Health).await;
        }
        self.ask_elsewhere(tenant, "health", String::new()).await
    }

    async fn ask_elsewhere<R: serde::de::DeserializeOwned>(
        &self,
        tenant: &TenantId,
        what: &str,
        payload: String,
    ) -> Option<R> {
        let subject = format!("{}.routing.{tenant}.{what}", self.bus.prefix());
        let asked = self.bus.client().request(subject, payload.into());
        let answer = tokio::time::timeout(ANSWER, asked).await.ok()?.ok()?;
        serde_json::from_slice(&answer.payload).ok()
    }
}

/// Whether the dispatcher has nothing left to look at.
pub struct Quiet {
    /// The leaders of this replica.
    pub leaders: Arc<Leaders>,
    /// The database.
    pub db: Db,
}

#[async_trait::async_trait]
impl trama_platform::Quiet for Quiet {
    async fn is_quiet(&self) -> Result<bool, Error> {
        if !self.leaders.is_quiet() {
            return Ok(false);
        }
        let mut tx = self.db.system_tx().await?;
        Ok(!store::is_behind(tx.conn()).await?)
    }
}
