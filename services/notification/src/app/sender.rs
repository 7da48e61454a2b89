//! The loop that sends: it takes what is due, asks where customers may be reached, speaks in the persona's tone and
//! calls providers, many at once but one at a time for each customer.

mod contacts;
mod prepare;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prepare::{Job, Prepared};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use trama_platform::{Clients, Context, Db, Error, resources::ResourceStore, telemetry::call_span};

use super::settle;
use crate::{
    config::Config,
    providers::{Providers, SendError, Sent},
    store::{self, Claimed},
};

/// The first pause after a wake-up: the commit that woke us is a moment away.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// Longest wait for what is on its way when the process stops.
const DRAIN: Duration = Duration::from_secs(15);
/// How often early receipts are looked through.
const TIDY_EVERY: TimeDelta = TimeDelta::minutes(10);

/// Sends what is due.
pub struct Sender {
    db: Db,
    resources: ResourceStore,
    clients: Clients,
    providers: Providers,
    config: Config,
    wake: Arc<Notify>,
}

/// What became of a piece of work.
enum Step {
    /// These may be sent; so many others need nothing more for now.
    Ready(Vec<Job>, usize),
    /// One is done.
    Done,
}

impl Sender {
    /// With what the service was given.
    pub fn new(context: &Context, config: Config, wake: Arc<Notify>) -> Self {
        Self {
            db: context.db.clone(),
            resources: context.resources.clone(),
            clients: context.clients.clone(),
            providers: Providers::new(context),
            config,
            wake,
        }
    }

    /// Runs until the process stops; what is on its way then gets a moment to end.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self, stopping: CancellationToken) -> Result<(), Error> {
        let longest = Duration::from_millis(self.config.poll_ms);
        let mut steps: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let (mut busy, mut pause) = (0_usize, FIRST_PAUSE);
        let mut tidied_at = self.db.clock().now();
        while !stopping.is_cancelled() {
            if busy < self.config.concurrency {
                match self.claim(self.config.concurrency - busy).await {
                    Ok(claimed) if !claimed.is_empty() => {
                        busy += claimed.len();
                        pause = FIRST_PAUSE;
                        steps.push(Box::pin(self.prepare(claimed)));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(detail = error.detail(), "messages cannot be taken; trying again");
                        pause = longest;
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => break,
                Some(step) = steps.next(), if !steps.is_empty() => {
                    busy = self.take(step, busy, &steps);
                    pause = FIRST_PAUSE;
                }
                () = self.wake.notified() => pause = FIRST_PAUSE,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            }
            let now = self.db.clock().now();
            if now - tidied_at > TIDY_EVERY {
                tidied_at = now;
                self.tidy().await;
            }
        }
        // What is written down as being tried is tried: left behind, its outcome would look unknown.
        let rest = async {
            while let Some(step) = steps.next().await {
                busy = self.take(step, busy, &steps);
            }
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            tracing::warn!(
                "messages were still with their providers at the end; their outcome is settled at the next start"
            );
        }
        Ok(())
    }

    fn take<'a>(&'a self, step: Step, busy: usize, steps: &FuturesUnordered<BoxFuture<'a, Step>>) -> usize {
        match step {
            Step::Ready(jobs, finished) => {
                for job in jobs {
                    steps.push(Box::pin(self.send(job)));
                }
                busy - finished
            }
            Step::Done => busy - 1,
        }
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, Error> {
        let mut tx = self.db.system_tx().await?;
        let now = tx.now();
        let limit = i64::try_from(limit.min(64)).unwrap_or(64);
        let claimed = store::claim(&mut tx, now, now + self.config.lease(), limit).await?;
        if !claimed.is_empty() {
            tx.commit().await?;
        }
        Ok(claimed)
    }

    async fn prepare(&self, claimed: Vec<Claimed>) -> Step {
        let all = claimed.len();
        match prepare::prepare(self, claimed).await {
            Ok(Prepared { jobs }) => {
                let finished = all - jobs.len();
                Step::Ready(jobs, finished)
            }
            Err(error) => {
                // Their lease ends by itself.
                tracing::warn!(
                    detail = error.detail(),
                    "messages cannot be prepared; they are taken again when their lease ends"
                );
                Step::Ready(Vec::new(), all)
            }
        }
    }

    async fn send(&self, job: Job) -> Step {
        let started = std::time::Instant::now();
        let span = call_span("provider.message.send", job.row.trace.as_deref());
        let call = self.providers.send(&job.channel, &job.outgoing);
        let result = call.instrument(span).await;
        let kind = job.row.channel_kind.as_str_name();
        metrics::histogram!("trama_notification_send_seconds", "kind" => kind)
            .record(started.elapsed().as_secs_f64());
        if let Err(error) = &result {
            tracing::info!(message = %job.row.message_id, kind, problem = error.words, "a provider did not take a message");
        }
        // A send that is not written down would be repeated: worth some tries.
        for _ in 0..10 {
            match self.record(&job, &result).await {
                Ok(()) => return Step::Done,
                Err(error) => {
                    tracing::warn!(message = %job.row.message_id, detail = error.detail(), "an outcome cannot be recorded; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
        Step::Done
    }

    async fn record(&self, job: &Job, result: &Result<Sent, SendError>) -> Result<(), Error> {
        let mut tx = self.db.system_tx().await?;
        match result {
            Ok(sent) => settle::sent(&mut tx, &job.row, job.attempt, &sent.provider_message_id).await?,
            Err(error) => {
                settle::failed(&mut tx, &mut job.row.clone(), job.attempt, error, &self.config).await?
            }
        }
        tx.commit().await
    }

    async fn tidy(&self) {
        let work = async {
            let mut tx = self.db.system_tx().await?;
            let before = tx.now() - TimeDelta::days(self.config.early_receipt_days);
            store::forget_early(tx.conn(), before).await?;
            tx.commit().await
        };
        let result: Result<(), Error> = work.await;
        if let Err(error) = result {
            tracing::warn!(
                detail = error.detail(),
                "early receipts cannot be tidied; later again"
            );
        }
    }
}
