//! Life of a process: every task has a name; SIGTERM means unready → drain → stop.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by everything that runs in a process.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Starts a task. If it panics or fails the whole process stops, with an exit code that says so.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), crate::Error>> + Send + 'static,
    {
        let this = self.clone();
        let inner = self.tasks.spawn(task);
        self.tasks.spawn(async move {
            let failure = match inner.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.detail(),
                Err(panic) => panic.to_string(),
            };
            tracing::error!(task = name, failure, "a task died; stopping the process");
            this.failed.store(true, Ordering::SeqCst);
            this.begin_drain();
            this.stop();
        });
    }

    /// Resolves when no new work should be taken.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Resolves when loops must end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Not ready from now on.
    pub fn begin_drain(&self) {
        self.draining.cancel();
    }

    /// Ends every loop.
    pub fn stop(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }

    /// Waits for every task, at most `limit`. `false` when some did not end in time.
    pub async fn finished(&self, limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Whether a task died.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }
}

/// Resolves on SIGTERM or Ctrl-C.
pub async fn terminated() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
