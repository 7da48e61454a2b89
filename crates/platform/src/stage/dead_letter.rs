//! What no handler could work in: kept with error and attempts, listed, redriven or dropped by people.

use std::time::Duration;

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
    message::PublishMessage,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde::Serialize;
use uuid::Uuid;

use super::batch::envelope;
use crate::{
    Error,
    bus::{Bus, ID_HEADER, Stream, TRACE_HEADER},
};

const STAGE: &str = "Trama-Stage";
const SUBJECT: &str = "Trama-Subject";
const ERROR: &str = "Trama-Error";
const ATTEMPTS: &str = "Trama-Attempts";

/// One dead letter.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Number in the stream; names it.
    pub sequence: u64,
    /// The stage that refused it.
    pub stage: String,
    /// Where it had been published.
    pub subject: String,
    /// Its id.
    pub id: String,
    /// Why it was refused.
    pub error: String,
    /// Deliveries before it was put aside.
    pub attempts: i64,
    /// When it was put aside.
    pub at: DateTime<Utc>,
    /// Size of its payload.
    pub size_bytes: usize,
    /// The payload.
    #[serde(skip)]
    pub payload: Bytes,
    #[serde(skip)]
    trace: Option<String>,
}

/// The dead letters of a platform.
pub struct DeadLetters {
    bus: Bus,
}

impl DeadLetters {
    /// Over a bus.
    pub const fn new(bus: Bus) -> Self {
        Self { bus }
    }

    pub(super) async fn add(
        &self,
        stage: &'static str,
        message: &Message,
        error: &Error,
    ) -> Result<(), Error> {
        let (id, tenant, trace) = match envelope(message) {
            Ok(e) => (e.id.to_string(), e.tenant.to_string(), e.trace),
            Err(_) => (String::new(), "unknown".to_owned(), None),
        };
        let attempts = message.info().map_or(1, |i| i.delivered);
        let stream_sequence = message.info().map_or(0, |i| i.stream_sequence);
        let mut publish = PublishMessage::build()
            .payload(message.payload.clone())
            // One letter per message and stage, however often its redelivery fails.
            .message_id(format!("dead-{stage}-{stream_sequence}-{id}"))
            .header(STAGE, stage)
            .header(SUBJECT, message.subject.as_str())
            .header(ERROR, error.detail().replace(['\r', '\n'], " "))
            .header(ATTEMPTS, attempts.to_string())
            .header(ID_HEADER, id);
        if let Some(trace) = trace {
            publish = publish.header(TRACE_HEADER, trace);
        }
        let subject = format!("{}.dead.{stage}.{tenant}", self.bus.prefix());
        let context = async_nats::jetstream::new(self.bus.client().clone());
        let ack = context
            .send_publish(subject, publish)
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        ack.await.map_err(|e| Error::unavailable("JetStream", e))?;
        metrics::counter!("trama_stage_dead_letters_total", "stage" => stage).increment(1);
        Ok(())
    }

    /// All dead letters, oldest first.
    ///
    /// # Errors
    /// When JetStream cannot be reached.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, Error> {
        let mut stream = self.bus.stream(Stream::DeadLetters).await?;
        let waiting = stream
            .info()
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?
            .state
            .messages;
        if waiting == 0 {
            return Ok(Vec::new());
        }
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            ..pull::Config::default()
        };
        let consumer = stream
            .create_consumer(config)
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        let mut messages = consumer
            .fetch()
            .max_messages(usize::try_from(waiting).unwrap_or(usize::MAX).min(10_000))
            .messages()
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        let mut letters = Vec::new();
        while let Some(message) = messages.next().await {
            let message = message.map_err(Error::internal)?;
            letters.push(letter(&message)?);
        }
        Ok(letters)
    }

    /// One dead letter.
    ///
    /// # Errors
    /// When there is none with this number.
    pub async fn get(&self, sequence: u64) -> Result<DeadLetter, Error> {
        let letters = self.list().await?;
        letters
            .into_iter()
            .find(|l| l.sequence == sequence)
            .ok_or_else(|| Error::not_found("dead letter", sequence))
    }

    /// Publishes a letter again where it came from, and removes it. Stages that had worked it in drop it.
    ///
    /// # Errors
    /// When it does not exist or cannot be published; then it stays.
    pub async fn redrive(&self, sequence: u64) -> Result<DeadLetter, Error> {
        let letter = self.get(sequence).await?;
        let publish = PublishMessage::build()
            .payload(letter.payload.clone())
            // Another id for the stream, which would drop the original one; the same for the inboxes.
            .message_id(format!("redrive-{sequence}-{}", letter.id))
            .header(ID_HEADER, letter.id.as_str());
        let publish = match &letter.trace {
            Some(trace) => publish.header(TRACE_HEADER, trace.as_str()),
            None => publish,
        };
        let context = async_nats::jetstream::new(self.bus.client().clone());
        let ack = context
            .send_publish(letter.subject.clone(), publish)
            .await
            .map_err(|e| Error::unavailable("JetStream", e))?;
        ack.await.map_err(|e| Error::unavailable("JetStream", e))?;
        self.remove(sequence).await?;
        Ok(letter)
    }

    /// Removes a letter for good.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn drop_letter(&self, sequence: u64) -> Result<DeadLetter, Error> {
        let letter = self.get(sequence).await?;
        self.remove(sequence).await?;
        Ok(letter)
    }

    async fn remove(&self, sequence: u64) -> Result<(), Error> {
        let stream = self.bus.stream(Stream::DeadLetters).await?;
        stream
            .delete_message(sequence)
            .await
            .map(|_| ())
            .map_err(|e| Error::unavailable("JetStream", e))
    }
}

fn letter(message: &Message) -> Result<DeadLetter, Error> {
    let info = message.info().map_err(Error::internal)?;
    let header = |name: &str| {
        message
            .headers
            .as_ref()
            .and_then(|h| h.get(name))
            .map(|v| v.as_str().to_owned())
            .unwrap_or_default()
    };
    let trace = Some(header(TRACE_HEADER)).filter(|t| !t.is_empty());
    let id = header(ID_HEADER);
    Ok(DeadLetter {
        sequence: info.stream_sequence,
        stage: header(STAGE),
        subject: header(SUBJECT),
        id: if Uuid::try_parse(&id).is_ok() {
            id
        } else {
            String::new()
        },
        error: header(ERROR),
        attempts: header(ATTEMPTS).parse().unwrap_or(0),
        at: DateTime::from_timestamp(info.published.unix_timestamp(), info.published.nanosecond())
            .unwrap_or_default(),
        size_bytes: message.payload.len(),
        payload: message.payload.clone(),
        trace,
    })
}
