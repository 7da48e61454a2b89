//! What many ask at the same moment, done together.
//!
//! A transaction costs its statements whether it carries one order or a hundred. While one batch of a tenant runs, what
//! comes for that tenant gathers and goes with the next; tenants of other lanes do not wait for it.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use trama_platform::{Error, Kind, Lifecycle};
use trama_proto::ids::{TenantId, derive};

/// Tenants whose batches run at a time.
const LANES: usize = 4;
/// Asks that may wait in a lane.
const WAITING: usize = 4_096;
/// Asks that go into one batch at most.
const MOST: usize = 256;
/// Turns of the scheduler that a batch waits for company: some microseconds when nobody else has anything to do.
const TURNS: usize = 8;

/// The way in.
pub struct Together<T> {
    lanes: Arc<[mpsc::Sender<(TenantId, T)>]>,
}

impl<T> Clone for Together<T> {
    fn clone(&self) -> Self {
        Self {
            lanes: Arc::clone(&self.lanes),
        }
    }
}

impl<T: Send + 'static> Together<T> {
    /// Starts working; `run` answers those who asked. What is in no hurry waits for more of its kind: `gather`.
    pub fn start<F, R>(name: &'static str, lifecycle: &Lifecycle, gather: Option<Duration>, run: F) -> Self
    where
        F: Fn(TenantId, Vec<T>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send,
    {
        let lanes = (0..LANES).map(|_| {
            let (asks, mut waiting) = mpsc::channel(WAITING);
            let (run, stopping) = (run.clone(), lifecycle.stopping());
            lifecycle.spawn(name, async move {
                loop {
                    let mut batch: Vec<(TenantId, T)> = Vec::new();
                    tokio::select! {
                        () = stopping.cancelled() => return Ok(()),
                        count = waiting.recv_many(&mut batch, MOST) => if count == 0 { return Ok(()) },
                    }
                    if let Some(gather) = gather {
                        tokio::time::sleep(gather).await;
                    }
                    // Those who were let go by the same event come a turn of the scheduler later: a batch waits for them.
                    for _ in 0..TURNS {
                        tokio::task::yield_now().await;
                    }
                    while batch.len() < MOST
                        && let Ok(ask) = waiting.try_recv()
                    {
                        batch.push(ask);
                    }
                    let mut by_tenant: BTreeMap<TenantId, Vec<T>> = BTreeMap::new();
                    for (tenant, ask) in batch {
                        by_tenant.entry(tenant).or_default().push(ask);
                    }
                    for (tenant, asks) in by_tenant {
                        run(tenant, asks).await;
                    }
                }
            });
            asks
        });
        Self {
            lanes: lanes.collect(),
        }
    }

    /// Asks with the next batch of the tenant.
    pub async fn ask(&self, tenant: &TenantId, ask: T) -> Result<(), Error> {
        let lane = usize::from(derive(&[tenant.as_str().as_bytes()]).as_bytes()[0]) % LANES;
        let sent = self.lanes[lane].send((tenant.clone(), ask)).await;
        sent.map_err(|_| stopping())
    }
}

/// Nobody answers any more.
pub fn stopping() -> Error {
    Error::new(Kind::Unavailable, "this replica is stopping: try again")
}
