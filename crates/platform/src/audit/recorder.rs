//! What no transaction tells: written a moment later, many together.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use trama_proto::{
    audit::v1::{AuditEntry, AuditRecorded},
    ids::TenantId,
};

use crate::{Db, Error, Quiet, lifecycle::Lifecycle};

/// Entries that may wait. Refusals beyond them are counted and dropped, so that whoever knocks at closed doors all day
/// cannot stop anybody else; successes wait for room.
const WAITING: usize = 8_192;
/// Entries in one transaction.
const MOST: usize = 256;
const AGAIN: Duration = Duration::from_secs(1);
/// At the end: so long nobody has told anything.
const SILENCE: Duration = Duration::from_millis(300);

/// An entry and whose it is.
pub(super) type Told = (TenantId, AuditEntry);

/// Writes entries.
#[derive(Clone)]
pub(crate) struct Recorder {
    entries: mpsc::Sender<Told>,
    open: Arc<AtomicUsize>,
}

impl Recorder {
    /// Starts writing, with a database of this process: what is in its outbox is published.
    pub(crate) fn start(db: &Db, lifecycle: &Lifecycle) -> Self {
        let (entries, mut waiting) = mpsc::channel::<Told>(WAITING);
        let open = Arc::new(AtomicUsize::new(0));
        let (db, done, stopping) = (db.clone(), Arc::clone(&open), lifecycle.stopping());
        lifecycle.spawn("audit", async move {
            loop {
                let mut batch = Vec::new();
                tokio::select! {
                    biased;
                    count = waiting.recv_many(&mut batch, MOST) => if count == 0 { return Ok(()) },
                    () = async { stopping.cancelled().await; tokio::time::sleep(SILENCE).await } => return Ok(()),
                }
                let count = batch.len();
                while let Err(error) = write(&db, &batch).await {
                    tracing::warn!(detail = error.detail(), "the audit log cannot be written; trying again");
                    if stopping.is_cancelled() {
                        metrics::counter!("trama_audit_dropped_total").increment(count as u64);
                        break;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                done.fetch_sub(count, Ordering::AcqRel);
            }
        });
        Self { entries, open }
    }

    /// Tells, waiting for room.
    pub(super) async fn tell(&self, told: Told) {
        self.open.fetch_add(1, Ordering::AcqRel);
        if self.entries.send(told).await.is_err() {
            self.dropped();
        }
    }

    /// Tells if there is room.
    pub(super) fn try_tell(&self, told: Told) {
        self.open.fetch_add(1, Ordering::AcqRel);
        if self.entries.try_send(told).is_err() {
            self.dropped();
        }
    }

    fn dropped(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        metrics::counter!("trama_audit_dropped_total").increment(1);
    }
}

#[async_trait]
impl Quiet for Recorder {
    async fn is_quiet(&self) -> Result<bool, Error> {
        Ok(self.open.load(Ordering::Acquire) == 0)
    }
}

async fn write(db: &Db, batch: &[Told]) -> Result<(), Error> {
    let mut by_tenant: BTreeMap<&TenantId, Vec<AuditEntry>> = BTreeMap::new();
    for (tenant, entry) in batch {
        by_tenant.entry(tenant).or_default().push(entry.clone());
    }
    let mut tx = db.system_tx().await?;
    for (tenant, entries) in by_tenant {
        let key = entries.first().map(|e| e.subject.clone()).unwrap_or_default();
        tx.publish(tenant, &key, &AuditRecorded { entries });
    }
    tx.commit().await
}
