//! The bus: streams declared once, subjects built in one place, publishing that waits for every PubAck.

mod credentials;

use std::{collections::HashMap, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        message::PublishMessage,
        stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use futures::future::join_all;
use trama_proto::ids::TenantId;
use uuid::Uuid;

use crate::{
    Error, Kind,
    config::{BusConfig, Durability},
};

/// Header with the id by which inboxes know a message, when it differs from the stream's own (a redrive).
pub const ID_HEADER: &str = "Trama-Id";
/// W3C trace context.
pub const TRACE_HEADER: &str = "traceparent";

/// The streams of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The journal: raw requests as they came.
    Ingress,
    /// Facts that services tell each other.
    Events,
    /// What no handler could work in.
    DeadLetters,
}

impl Stream {
    const ALL: [Stream; 3] = [Stream::Ingress, Stream::Events, Stream::DeadLetters];

    const fn word(self) -> &'static str {
        match self {
            Stream::Ingress => "ingress",
            Stream::Events => "events",
            Stream::DeadLetters => "dead",
        }
    }
}

/// A message on its way to the bus.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Id by which the stream and every inbox drop a repeat.
    pub id: Uuid,
    /// Where to.
    pub subject: String,
    /// What.
    pub payload: Bytes,
    /// Trace context, if there is one.
    pub trace: Option<String>,
}

/// Whose a subject is.
pub(crate) fn tenant_of(subject: &str) -> &str {
    subject.split('.').nth(3).unwrap_or_default()
}

/// A connection to the bus.
#[derive(Clone, Debug)]
pub struct Bus {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    config: BusConfig,
}

impl Bus {
    /// Connects and makes sure that the streams exist and keep their promise.
    ///
    /// # Errors
    /// When NATS cannot be reached or lets nobody in by what is configured, or its streams have another number of partitions.
    pub async fn connect(url: &str, config: &BusConfig) -> Result<Self, Error> {
        let client = credentials::options(url, config)?
            .name("trama")
            .client_capacity(8192)
            .connection_timeout(Duration::from_secs(5))
            .connect(url)
            .await
            .map_err(|e| Error::unavailable("NATS", e))?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .ack_timeout(Duration::from_secs(10))
            .build(client.clone());
        let bus = Self {
            client,
            jetstream,
            config: config.clone(),
        };
        for stream in Stream::ALL {
            bus.ensure(stream).await?;
        }
        bus.check_sync_interval().await;
        Ok(bus)
    }

    /// Says so when a single server syncs less often than `Durability::Interval` promises.
    #[expect(
        clippy::disallowed_methods,
        reason = "the monitoring address is our own infrastructure, not the outside"
    )]
    async fn check_sync_interval(&self) {
        let (Some(monitor), Durability::Interval) = (&self.config.monitor_url, self.config.durability) else {
            return;
        };
        let asked = async {
            let client = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(2))
                .build()?;
            client
                .get(format!("{monitor}/jsz?config=true"))
                .send()
                .await?
                .json::<serde_json::Value>()
                .await
        };
        match asked.await {
            Ok(answer) => {
                let always = answer["config"]["sync_always"].as_bool().unwrap_or(false);
                // Nanoseconds; the server's default is two minutes.
                let interval = answer["config"]["sync_interval"]
                    .as_u64()
                    .unwrap_or(120_000_000_000);
                if !always && interval > 100_000_000 {
                    tracing::warn!(
                        sync_interval_ms = interval / 1_000_000,
                        "nats-server syncs less often than bus.durability promises: set `sync_interval: 100ms`; a power loss may take more than acknowledged"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "bus.monitor_url does not answer: sync_interval is unchecked")
            }
        }
    }

    async fn ensure(&self, stream: Stream) -> Result<(), Error> {
        let partitions = self.config.partitions.to_string();
        let wanted = StreamConfig {
            name: self.stream_name(stream),
            subjects: vec![format!("{}.{}.>", self.config.prefix, stream.word())],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: Duration::from_secs(self.config.retention_days * 86_400),
            num_replicas: self.config.replicas,
            duplicate_window: Duration::from_secs(120),
            allow_direct: true,
            metadata: HashMap::from([("trama-partitions".to_owned(), partitions.clone())]),
            ..StreamConfig::default()
        };
        let mut existing = self
            .jetstream
            .get_or_create_stream(wanted)
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        let info = existing
            .info()
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        let has = info
            .config
            .metadata
            .get("trama-partitions")
            .cloned()
            .unwrap_or_default();
        if has != partitions {
            return Err(Error::new(
                Kind::Precondition,
                format!(
                    "stream {} has {has} partitions, the configuration says {partitions}: drain it first, or set bus.partitions",
                    info.config.name
                ),
            ));
        }
        if self.config.durability == Durability::Replicated && info.config.num_replicas < 3 {
            tracing::warn!(
                stream = info.config.name,
                replicas = info.config.num_replicas,
                "the stream is weaker than bus.durability promises: a power loss may take acknowledged messages"
            );
        }
        Ok(())
    }

    /// The client, for plain publish and subscribe between replicas.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The number of partitions.
    pub fn partitions(&self) -> u32 {
        self.config.partitions
    }

    /// The first word of every subject.
    pub fn prefix(&self) -> &str {
        &self.config.prefix
    }

    /// The name of a stream.
    pub fn stream_name(&self, stream: Stream) -> String {
        format!("{}_{}", self.config.prefix, stream.word()).to_uppercase()
    }

    /// Which partition a key belongs to: FNV-1a over tenant and key, the same on every machine for ever.
    pub fn partition(&self, tenant: &TenantId, key: &str) -> u32 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in tenant.as_str().bytes().chain([0]).chain(key.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        (hash % u64::from(self.config.partitions)) as u32
    }

    /// `<prefix>.<stream>.<name>.<tenant>.<partition>`
    pub fn subject(&self, stream: Stream, name: &str, tenant: &TenantId, key: &str) -> String {
        format!(
            "{}.{}.{name}.{tenant}.{}",
            self.config.prefix,
            stream.word(),
            self.partition(tenant, key)
        )
    }

    /// Every subject of a tenant in a stream.
    pub(crate) fn all_of_tenant(&self, stream: Stream, tenant: &TenantId) -> String {
        let (prefix, word) = (&self.config.prefix, stream.word());
        match stream {
            Stream::Ingress | Stream::Events => format!("{prefix}.{word}.*.{tenant}.*"),
            // By stage; dead letters have no partitions.
            Stream::DeadLetters => format!("{prefix}.{word}.*.{tenant}"),
        }
    }

    /// Publishes and waits until every message is stored. What fails is in the result, by position.
    pub async fn publish(&self, messages: &[Outgoing]) -> Vec<Result<(), Error>> {
        let mut acks = Vec::with_capacity(messages.len());
        for message in messages {
            acks.push(
                self.jetstream
                    .send_publish(message.subject.clone(), to_publish(message))
                    .await,
            );
        }
        join_all(acks.into_iter().map(|sent| async {
            let ack = sent.map_err(|e| Error::unavailable("JetStream", e))?;
            ack.await
                .map(|_| ())
                .map_err(|e| Error::unavailable("JetStream", e))
        }))
        .await
    }

    /// Publishes one message and waits until it is stored.
    ///
    /// # Errors
    /// When the stream did not say that it is.
    pub async fn publish_one(&self, message: Outgoing) -> Result<(), Error> {
        let ack = self
            .jetstream
            .send_publish(message.subject.clone(), to_publish(&message))
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        ack.await
            .map(|_| ())
            .map_err(|e| Error::unavailable("JetStream", e))
    }

    /// The durable consumer of one stage on one partition.
    pub(crate) async fn consumer(
        &self,
        stream: Stream,
        durable: &str,
        names: &[String],
        partition: u32,
        batch: usize,
    ) -> Result<jetstream::consumer::Consumer<pull::Config>, Error> {
        let filter_subjects = names
            .iter()
            .map(|n| format!("{}.{}.{n}.*.{partition}", self.config.prefix, stream.word()))
            .collect();
        let config = pull::Config {
            durable_name: Some(format!("{durable}-{partition}")),
            filter_subjects,
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: (batch as i64 * 4).max(1024),
            ..pull::Config::default()
        };
        self.jetstream
            .create_consumer_on_stream(config, self.stream_name(stream))
            .await
            .map_err(|e| Error::unavailable("JetStream", e))
    }

    /// Messages that a durable consumer has not finished; `None` while it does not exist.
    pub(crate) async fn backlog(&self, stream: Stream, durable: &str) -> Result<Option<u64>, Error> {
        let stream = self.jetstream.get_stream_no_info(self.stream_name(stream)).await;
        let stream = stream.map_err(|e| Error::unavailable("JetStream", e))?;
        match stream.consumer_info(durable).await {
            Ok(info) => Ok(Some(info.num_pending + info.num_ack_pending as u64)),
            Err(error) if error.kind() == jetstream::context::ConsumerInfoErrorKind::TimedOut => {
                Err(Error::unavailable("JetStream", error))
            }
            Err(_) => Ok(None),
        }
    }

    /// A stream, for tools.
    ///
    /// # Errors
    /// When JetStream cannot be reached.
    pub async fn stream(&self, stream: Stream) -> Result<jetstream::stream::Stream, Error> {
        self.jetstream
            .get_stream(self.stream_name(stream))
            .await
            .map_err(|e| Error::unavailable("JetStream", e))
    }
}

/// Removes the streams of a prefix, for tools that make one for themselves.
///
/// # Errors
/// When JetStream cannot be reached.
pub async fn remove_streams(url: &str, config: &BusConfig) -> Result<(), Error> {
    let client = credentials::options(url, config)?
        .connect(url)
        .await
        .map_err(|e| Error::unavailable("NATS", e))?;
    let jetstream = jetstream::new(client);
    for stream in Stream::ALL {
        let name = format!("{}_{}", config.prefix, stream.word()).to_uppercase();
        // One that is not there is as removed as it gets.
        let _ = jetstream.delete_stream(name).await;
    }
    Ok(())
}

fn to_publish(message: &Outgoing) -> PublishMessage {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id.to_string());
    if let Some(trace) = &message.trace {
        headers.insert(TRACE_HEADER, trace.as_str());
    }
    PublishMessage::build()
        .payload(message.payload.clone())
        .headers(headers)
}
