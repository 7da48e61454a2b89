//! The one stage loop: pull a batch → one transaction → drop what the inbox has seen → handle → commit →
//! publish from memory → ack. A crash anywhere leads to redelivery, and redelivery changes nothing.

mod batch;
mod dead_letter;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio::sync::watch;
use trama_proto::{events::Event, ids::TenantId};
use uuid::Uuid;

use crate::{
    Error,
    bus::{Bus, Stream},
    config::StageConfig,
    db::{Db, Tx},
    failpoint,
    lifecycle::Lifecycle,
    privacy::Holder,
};

pub use dead_letter::{DeadLetter, DeadLetters};

/// A message as a handler sees it.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Id that the inbox knows it by.
    pub id: Uuid,
    /// Name of the event, or the channel in the journal.
    pub name: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// Encoded protobuf.
    pub payload: Bytes,
    /// Trace context.
    pub trace: Option<String>,
    /// Subject it came on.
    pub subject: String,
}

impl Envelope {
    /// Whether it is an event of this type.
    pub fn is<E: Event>(&self) -> bool {
        self.name == E::NAME
    }

    /// The event in it.
    ///
    /// # Errors
    /// When the bytes are no such event: the message is dead-lettered.
    pub fn decode<E: prost::Message + Default>(&self) -> Result<E, Error> {
        Ok(E::decode(self.payload.clone())?)
    }
}

/// Works in messages. All state goes through the transaction; the handler never sees a pool.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Works in a batch: everything or, with an error, nothing.
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error>;
}

/// A stage: what a service listens to and who works it in.
pub struct Stage {
    /// Name of the durable consumer and in the inbox.
    pub name: &'static str,
    /// Which stream.
    pub stream: Stream,
    /// Names of the events; `*` for all.
    pub events: Vec<String>,
    /// Who works it in.
    pub handler: Arc<dyn Handler>,
}

impl Stage {
    /// A stage over the events that the table of events gives to a service.
    pub fn of_events(service: &'static str, handler: Arc<dyn Handler>) -> Self {
        let events = trama_proto::events::listened_by(service)
            .into_iter()
            .map(str::to_owned)
            .collect();
        Self {
            name: service,
            stream: Stream::Events,
            events,
            handler,
        }
    }

    /// The same under another name, for a service with several stages.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// What the loops of one stage share.
pub(crate) struct Loop {
    pub stage: Stage,
    pub db: Db,
    pub bus: Bus,
    pub config: StageConfig,
    pub holder: Option<Arc<dyn Holder>>,
}

impl Loop {
    /// Starts a loop per partition. A partition is worked only while this replica holds its lock.
    pub(crate) fn start(self, lifecycle: &Lifecycle, held: &watch::Receiver<Vec<u32>>) {
        let this = Arc::new(self);
        for partition in 0..this.bus.partitions() {
            let this = Arc::clone(&this);
            let held = held.clone();
            let stopping = lifecycle.stopping();
            lifecycle.spawn(this.stage.name, async move {
                this.keep_running(partition, held, &stopping).await;
                Ok(())
            });
        }
    }

    async fn keep_running(
        &self,
        partition: u32,
        mut held: watch::Receiver<Vec<u32>>,
        stopping: &tokio_util::sync::CancellationToken,
    ) {
        while !stopping.is_cancelled() {
            tokio::select! {
                () = stopping.cancelled() => return,
                ours = held.wait_for(|h| h.contains(&partition)) => if ours.is_err() { return },
            }
            let lost = {
                let mut held = held.clone();
                async move {
                    let _ = held.wait_for(|h| !h.contains(&partition)).await;
                }
            };
            // A loop that is told to stop finishes what it has committed; one that lost its partition is cut off, and
            // what it had in hand is redelivered to whoever has the partition now.
            tokio::select! {
                () = lost => {}
                result = self.run_partition(partition, stopping) => if let Err(error) = result {
                    tracing::warn!(stage = self.stage.name, partition, detail = error.detail(), "stage loop interrupted; trying again");
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = tokio::time::sleep(Duration::from_millis(500)) => {}
                    }
                }
            }
        }
    }

    async fn run_partition(
        &self,
        partition: u32,
        stopping: &tokio_util::sync::CancellationToken,
    ) -> Result<(), Error> {
        let consumer = self
            .bus
            .consumer(
                self.stage.stream,
                self.stage.name,
                &self.stage.events,
                partition,
                self.config.batch,
            )
            .await?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(self.config.batch * 2)
            .messages()
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        // Publishing and acking of one batch overlap with the transaction of the next; their order stays.
        let mut finishing: Option<BoxFuture<'_, ()>> = None;
        loop {
            let first = tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    if let Some(finishing) = finishing.take() {
                        finishing.await;
                    }
                    return Ok(());
                }
                next = messages.next() => next,
                () = async { if let Some(f) = finishing.as_mut() { f.await } }, if finishing.is_some() => {
                    finishing = None;
                    continue;
                }
            };
            let mut batch = vec![
                first
                    .ok_or_else(ended)?
                    .map_err(|e| Error::unavailable("JetStream", e))?,
            ];
            while batch.len() < self.config.batch {
                // Outside tokio's budget, or a batch would never exceed 64 messages.
                match tokio::task::unconstrained(messages.next()).now_or_never() {
                    Some(Some(Ok(message))) => batch.push(message),
                    _ => break,
                }
            }
            let work = self.work(batch, stopping);
            let done = match finishing.take() {
                Some(before) => futures::future::join(before, work).await.1,
                None => work.await,
            };
            finishing = Some(
                async move {
                    self.db.publish_committed(done.outgoing).await;
                    failpoint::hit("stage.before_ack");
                    acknowledge(done.finished).await;
                }
                .boxed(),
            );
        }
    }
}

fn ended() -> Error {
    Error::new(crate::Kind::Unavailable, "the stream of messages ended")
}

async fn acknowledge(messages: Vec<Message>) {
    for message in messages {
        if let Err(error) = message.ack().await {
            // It will be redelivered and dropped by the inbox.
            tracing::debug!(%error, "ack was not sent");
        }
    }
}

async fn put_back(message: &Message, delay: Duration) {
    if let Err(error) = message.ack_with(AckKind::Nak(Some(delay))).await {
        tracing::debug!(%error, "nak was not sent");
    }
}
