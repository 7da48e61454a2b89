//! The ceiling of the pipeline: the same way of a record, written by hand, without platform and without a thought.
//!
//! HTTP with HMAC → JetStream → 200; then stages, each: pull a batch → one transaction (inbox, event, outbox, delete
//! of what was published before) → commit → publish from memory → acknowledge.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_nats::jetstream::{self, Message, consumer::pull, message::PublishMessage};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use futures::{FutureExt as _, StreamExt as _, future::try_join_all};
use ring::hmac;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    load::{self, APP_SECRET, Answered, Departures, Load, Pace, Webhooks},
    machine::{Cpu, CpuUse},
    report::Latencies,
    servers::{self, Database, Servers},
};

/// Most messages in one transaction, as in the platform.
const BATCH: usize = 256;
/// Size of the event that the first stage makes of a webhook.
pub const EVENT_BYTES: usize = 1024;

/// A running pipeline.
pub struct Bare {
    servers: Servers,
    database: Option<Database>,
    jetstream: jetstream::Context,
    names: Names,
    stages: usize,
    address: SocketAddr,
    next_sender: u64,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// Streams and subjects.
#[derive(Clone)]
struct Names {
    prefix: String,
}

impl Names {
    fn journal(&self) -> String {
        format!("{}_journal", self.prefix)
    }

    fn events(&self) -> String {
        format!("{}_events", self.prefix)
    }

    /// What stage `number` writes; 0 is the door.
    fn subject(&self, number: usize) -> String {
        if number == 0 {
            format!("{}.journal.0", self.prefix)
        } else {
            format!("{}.events.{number}", self.prefix)
        }
    }
}

/// What came out at the end.
pub struct Outcome {
    /// Webhooks per second, from the first one sent to the last one seen at the end.
    pub rate: f64,
    /// From sending to the end.
    pub latencies: Latencies,
    /// At the door.
    pub answered: Answered,
    /// What it cost.
    pub cpu: CpuUse,
}

impl Bare {
    /// Starts the door and so many stages.
    pub async fn start(servers: &Servers, stages: usize) -> anyhow::Result<Self> {
        let client = servers.nats().await?;
        let jetstream = jetstream::new(client);
        let names = Names {
            prefix: servers::fresh_name(),
        };
        servers::stream(
            &jetstream,
            &names.journal(),
            &format!("{}.journal.>", names.prefix),
        )
        .await?;
        servers::stream(&jetstream, &names.events(), &format!("{}.events.>", names.prefix)).await?;
        let mut tasks = JoinSet::new();
        let mut database = None;
        if stages > 0 {
            let fresh = servers.database().await?;
            for number in 1..=stages {
                let connection = prepare(&fresh, number).await?;
                tasks.spawn(stage(number, connection, jetstream.clone(), names.clone()));
            }
            database = Some(fresh);
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let door = Door {
            key: hmac::Key::new(hmac::HMAC_SHA256, APP_SECRET.as_bytes()),
            jetstream: jetstream.clone(),
            subject: names.subject(0),
        };
        let router = Router::new().route("/", post(receive)).with_state(Arc::new(door));
        tasks.spawn(async move { Ok(axum::serve(listener, router).await?) });
        let servers = servers.clone();
        Ok(Self {
            servers,
            database,
            jetstream,
            names,
            stages,
            address,
            next_sender: 0,
            tasks,
        })
    }

    fn load(&mut self, pace: Pace, count: u64, at_most: Duration) -> Load {
        let senders = self.next_sender..self.next_sender + count;
        self.next_sender = senders.end;
        let webhooks = Webhooks::new(self.address, "/", 1_780_308_000);
        Load {
            address: self.address,
            webhooks,
            pace,
            senders,
            at_most,
        }
    }

    /// Only the door: as fast as it answers.
    pub async fn knock(&mut self, at_most: Duration) -> anyhow::Result<Answered> {
        let load = self.load(Pace::AsAnswered, 10_000_000, at_most);
        Ok(load::aside(move || async move { load::send(&load, None).await })
            .await?
            .0)
    }

    /// Through door and stages.
    pub async fn drive(&mut self, pace: Pace, count: u64) -> anyhow::Result<Outcome> {
        let load = self.load(pace, count, Duration::from_secs(120));
        let (servers, names, last) = (self.servers.clone(), self.names.clone(), self.stages);
        let cpu = Cpu::now();
        let driving = load::aside(move || async move {
            let jetstream = jetstream::new(servers.nats().await?);
            let mut messages =
                servers::reader(&jetstream, &names.events(), vec![names.subject(last)]).await?;
            let departures = Departures::of(&load.senders);
            let reading = async {
                let mut latencies = Latencies::default();
                for seen in 0..count {
                    let message = tokio::time::timeout(Duration::from_secs(20), messages.next()).await;
                    let message = message.with_context(|| format!("only {seen} of {count} came through"))?;
                    let message = message.context("the stream of messages ended")??;
                    let now = Instant::now();
                    let left_at = sender_of(&message.payload).and_then(|sender| departures.get(sender));
                    latencies.push(now - left_at.context("a message that nobody sent")?);
                }
                anyhow::Ok((Instant::now(), latencies))
            };
            let (answered, (ended, latencies)) =
                futures::future::try_join(load::send(&load, Some(&departures)), reading).await?;
            let rate = count as f64 / (ended - answered.began).as_secs_f64();
            Ok((rate, latencies, answered))
        });
        tokio::select! {
            outcome = driving => {
                let ((rate, latencies, answered), load_seconds) = outcome?;
                Ok(Outcome { rate, latencies, answered, cpu: cpu.since(count, load_seconds) })
            }
            Some(ended) = self.tasks.join_next() => {
                ended??;
                anyhow::bail!("a part of the bare pipeline ended")
            }
        }
    }

    /// Ends it and removes its traces.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.tasks.shutdown().await;
        self.jetstream.delete_stream(self.names.journal()).await?;
        self.jetstream.delete_stream(self.names.events()).await?;
        if let Some(database) = self.database {
            database.drop().await?;
        }
        Ok(())
    }
}

struct Door {
    key: hmac::Key,
    jetstream: jetstream::Context,
    subject: String,
}

async fn receive(State(door): State<Arc<Door>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers
        .get("x-hub-signature-256")
        .and_then(|h| h.as_bytes().strip_prefix(b"sha256="));
    let mut tag = [0_u8; 32];
    if signature.is_none_or(|s| hex::decode_to_slice(s, &mut tag).is_err())
        || hmac::verify(&door.key, &body, &tag).is_err()
    {
        return StatusCode::UNAUTHORIZED;
    }
    // The signature is a digest of the body: a retry has the same id.
    let id = uuid_of(&tag);
    let Ok(stored) = publish(&door.jetstream, &door.subject, id, body).await else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    if stored.await.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn publish(
    jetstream: &jetstream::Context,
    subject: &str,
    id: Uuid,
    payload: Bytes,
) -> anyhow::Result<jetstream::context::PublishAckFuture> {
    let message = PublishMessage::build()
        .payload(payload)
        .message_id(id.to_string());
    Ok(jetstream.send_publish(subject.to_owned(), message).await?)
}

fn uuid_of(digest: &[u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

async fn prepare(database: &Database, number: usize) -> anyhow::Result<PgConnection> {
    let schema = format!("stage{number}");
    let mut connection = database.connect(&schema).await?;
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql(
        "CREATE TABLE inbox (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
         CREATE TABLE event (id uuid PRIMARY KEY, tenant text NOT NULL, at timestamptz NOT NULL, body jsonb NOT NULL);
         CREATE INDEX event_by_time ON event (tenant, at);
         CREATE TABLE outbox (id uuid PRIMARY KEY, subject text NOT NULL, payload bytea NOT NULL);",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection)
}

/// One stage: what the previous one wrote becomes a row and goes on.
async fn stage(
    number: usize,
    mut connection: PgConnection,
    jetstream: jetstream::Context,
    names: Names,
) -> anyhow::Result<()> {
    let stream = if number == 1 {
        names.journal()
    } else {
        names.events()
    };
    let config = pull::Config {
        durable_name: Some(format!("stage{number}")),
        filter_subject: names.subject(number - 1),
        max_ack_pending: 4 * BATCH as i64,
        ..Default::default()
    };
    let consumer = jetstream.create_consumer_on_stream(config, stream).await?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(2 * BATCH)
        .messages()
        .await?;
    let subject = names.subject(number);
    let mut published = Vec::new();
    loop {
        let mut batch = vec![messages.next().await.context("the stream of messages ended")??];
        while batch.len() < BATCH {
            // Outside tokio's budget, or a batch would never exceed 64 messages.
            match tokio::task::unconstrained(messages.next()).now_or_never() {
                Some(Some(Ok(message))) => batch.push(message),
                _ => break,
            }
        }
        let rows = batch
            .iter()
            .map(|message| row(number, message))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let fresh = store(&mut connection, &subject, rows, std::mem::take(&mut published)).await?;
        let mut acks = Vec::with_capacity(fresh.len());
        for (id, payload) in fresh {
            acks.push(publish(&jetstream, &subject, id, payload).await?.into_future());
            published.push(id);
        }
        try_join_all(acks).await?;
        for message in batch {
            message.ack().await.map_err(|e| anyhow::anyhow!(e))?;
        }
    }
}

/// A message: its id, the id of what follows from it, and the event.
struct Row {
    id: Uuid,
    next_id: Uuid,
    event: Bytes,
}

fn row(number: usize, message: &Message) -> anyhow::Result<Row> {
    let header = message
        .headers
        .as_ref()
        .and_then(|h| h.get(async_nats::header::NATS_MESSAGE_ID));
    let id: Uuid = header.context("a message without id")?.as_str().parse()?;
    let mut next = *id.as_bytes();
    next[15] = next[15].wrapping_add(1);
    let event = if number == 1 {
        event(&message.payload)?
    } else {
        message.payload.clone()
    };
    Ok(Row {
        id,
        next_id: Uuid::from_bytes(next),
        event,
    })
}

/// One transaction. Returns what must be published.
async fn store(
    connection: &mut PgConnection,
    subject: &str,
    rows: Vec<Row>,
    published: Vec<Uuid>,
) -> anyhow::Result<Vec<(Uuid, Bytes)>> {
    let mut tx = connection.begin().await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let fresh: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO inbox (id) SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind(&ids)
    .fetch_all(&mut *tx)
    .await?;
    let fresh: std::collections::HashSet<Uuid> = fresh.into_iter().collect();
    let rows: Vec<Row> = rows.into_iter().filter(|row| fresh.contains(&row.id)).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let bodies = rows
        .iter()
        .map(|row| std::str::from_utf8(&row.event))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO event (id, tenant, at, body)
         SELECT id, 'bench', now(), body::jsonb FROM unnest($1::uuid[], $2::text[]) AS row (id, body)",
    )
    .bind(&ids)
    .bind(&bodies)
    .execute(&mut *tx)
    .await?;
    let next_ids: Vec<Uuid> = rows.iter().map(|row| row.next_id).collect();
    let payloads: Vec<&[u8]> = rows.iter().map(|row| row.event.as_ref()).collect();
    sqlx::query(
        "WITH gone AS (DELETE FROM outbox WHERE id = ANY($4))
         INSERT INTO outbox (id, subject, payload)
         SELECT id, $3, payload FROM unnest($1::uuid[], $2::bytea[]) AS row (id, payload)",
    )
    .bind(&next_ids)
    .bind(&payloads)
    .bind(subject)
    .bind(&published)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(|row| (row.next_id, row.event)).collect())
}

#[derive(Deserialize)]
struct Webhook<'a> {
    #[serde(borrow)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    changes: Vec<Change<'a>>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    value: Value<'a>,
}

#[derive(Deserialize)]
struct Value<'a> {
    #[serde(borrow)]
    messages: Vec<Said<'a>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    from: &'a str,
    id: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    text: Text<'a>,
}

#[derive(Deserialize)]
struct Text<'a> {
    body: &'a str,
}

#[derive(Serialize)]
struct Event<'a> {
    from: &'a str,
    id: &'a str,
    timestamp: &'a str,
    text: &'a str,
    filler: &'a str,
}

/// The event of a webhook, filled up to its size.
fn event(webhook: &[u8]) -> anyhow::Result<Bytes> {
    const FILLER: &str = match std::str::from_utf8(&[b'.'; EVENT_BYTES]) {
        Ok(filler) => filler,
        Err(_) => "",
    };
    let webhook: Webhook<'_> = serde_json::from_slice(webhook)?;
    let said = webhook
        .entry
        .first()
        .and_then(|e| e.changes.first())
        .and_then(|c| c.value.messages.first());
    let said = said.context("a webhook without message")?;
    let written = said.from.len() + said.id.len() + said.timestamp.len() + said.text.body.len();
    let names = r#"{"from":"","id":"","timestamp":"","text":"","filler":""}"#.len();
    let filler = &FILLER[..EVENT_BYTES.saturating_sub(written + names)];
    let Said {
        from,
        id,
        timestamp,
        text,
    } = said;
    Ok(serde_json::to_vec(&Event {
        from,
        id,
        timestamp,
        text: text.body,
        filler,
    })?
    .into())
}

/// The sender: the event begins with it.
fn sender_of(event: &[u8]) -> Option<u64> {
    let rest = event.strip_prefix(br#"{"from":""#)?;
    load::sender(std::str::from_utf8(rest.get(..12)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_size_and_names_its_sender() {
        let mut request = Vec::new();
        Webhooks::new(([127, 0, 0, 1], 1).into(), "/", 1).write(4711, &mut request);
        let event = event(&request[request.len() - load::WEBHOOK_BYTES..]).expect("a webhook");
        assert_eq!(event.len(), EVENT_BYTES);
        assert_eq!(sender_of(&event), Some(4711));
    }
}
