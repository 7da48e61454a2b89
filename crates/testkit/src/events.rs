//! What the app under test published.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use trama_platform::bus::Stream;
use trama_proto::{
    audit::v1::{AuditEntry, AuditRecorded},
    events::Event,
};

use crate::TestApp;

/// An event as it stands in the stream.
#[derive(Debug, Clone)]
pub struct Published<E> {
    /// Id that inboxes know it by.
    pub id: uuid::Uuid,
    /// Whose.
    pub tenant: String,
    /// Partition it went to.
    pub partition: u32,
    /// The event.
    pub event: E,
}

impl TestApp {
    /// Every event of a type that was published so far, oldest first.
    ///
    /// # Panics
    /// When the stream cannot be read.
    pub async fn events<E: Event>(&self) -> Vec<Published<E>> {
        let subject = format!("{}.events.{}.>", self.running.bus.prefix(), E::NAME);
        let mut found = Vec::new();
        for message in self.read(Stream::Events, &subject).await {
            let words: Vec<&str> = message.subject.as_str().rsplit('.').collect();
            let header = |name: &str| {
                message
                    .headers
                    .as_ref()
                    .and_then(|h| h.get(name))
                    .map(|v| v.as_str().to_owned())
            };
            let id = header(trama_platform::bus::ID_HEADER)
                .or_else(|| header("Nats-Msg-Id"))
                .unwrap_or_default();
            found.push(Published {
                id: id.parse().unwrap_or_default(),
                tenant: words[1].to_owned(),
                partition: words[0].parse().unwrap_or_default(),
                event: E::decode(message.payload.clone()).expect("an event of this type"),
            });
        }
        found
    }

    /// What the audit log was told so far of a method, oldest first.
    ///
    /// # Panics
    /// When the stream cannot be read.
    pub async fn audited(&self, method: &str) -> Vec<AuditEntry> {
        self.settle().await;
        let told = self.events::<AuditRecorded>().await;
        let entries = told.into_iter().flat_map(|told| told.event.entries);
        entries.filter(|entry| entry.method.ends_with(method)).collect()
    }

    /// Waits for an event that fits.
    ///
    /// # Panics
    /// When none comes within 15 seconds.
    pub async fn wait_for<E: Event>(&self, what: &str, fits: impl Fn(&E) -> bool) -> E {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(found) = self.events::<E>().await.into_iter().find(|p| fits(&p.event)) {
                return found.event;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited 15 s for {}: {what}",
                E::NAME
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many messages a stream holds.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn count(&self, stream: Stream) -> u64 {
        let mut stream = self
            .running
            .bus
            .stream(stream)
            .await
            .expect("the stream is there");
        stream.info().await.expect("the stream answers").state.messages
    }

    async fn read(&self, stream: Stream, subject: &str) -> Vec<async_nats::jetstream::Message> {
        let stream = self
            .running
            .bus
            .stream(stream)
            .await
            .expect("the stream is there");
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            filter_subject: subject.to_owned(),
            inactive_threshold: Duration::from_secs(5),
            ..pull::Config::default()
        };
        let mut consumer = stream.create_consumer(config).await.expect("a reader");
        let waiting = consumer.info().await.expect("the reader answers").num_pending;
        if waiting == 0 {
            return Vec::new();
        }
        let mut messages = consumer
            .fetch()
            .max_messages(waiting as usize)
            .messages()
            .await
            .expect("the reader reads");
        let mut found = Vec::new();
        while let Some(message) = futures_next(&mut messages).await {
            found.push(message);
        }
        found
    }
}

async fn futures_next(batch: &mut pull::Batch) -> Option<async_nats::jetstream::Message> {
    use futures::StreamExt as _;
    batch.next().await.map(|m| m.expect("a message"))
}
