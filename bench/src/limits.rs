//! What this machine can do: raw publishing, a bare pipeline, single commits.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use async_nats::jetstream::{self, message::PublishMessage};
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};

use crate::{
    Arguments,
    bare::{Bare, EVENT_BYTES},
    load::Pace,
    machine::Machine,
    report::{Latencies, Report},
    servers::{self, Servers},
};

/// Webhooks before anything is measured: prepared statements, page faults, growing buffers.
pub const WARM_UP: u64 = 2_000;

/// The bench `limits`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let seconds = arguments.duration();
    let mut report = Report {
        name: "limits",
        unit: "per second",
        machine: machine.clone(),
        ..Report::default()
    };

    let mut answering = jetstream_tasks(servers, 64, seconds).await?;
    report
        .limits
        .insert("jetstream publish, 64 tasks", answering.rate);
    report.also.insert(
        "jetstream publish, 64 tasks, p50 ms".into(),
        answering.latencies.percentile(0.5).unwrap_or(0.0),
    );
    report.also.insert(
        "jetstream publish, 64 tasks, p99 ms".into(),
        answering.latencies.percentile(0.99).unwrap_or(0.0),
    );
    report.limits.insert(
        "jetstream publish, 1000 in flight",
        jetstream_window(servers, 1_000, seconds).await?,
    );
    report.limits.insert(
        "postgres single-row commits, 8 clients",
        commits(servers, seconds).await?,
    );

    let mut bare = Bare::start(servers, 3).await?;
    let result = async {
        bare.drive(Pace::AsAnswered, WARM_UP).await?;
        let fast = bare.drive(Pace::AsAnswered, arguments.messages).await?;
        let slow_count = (arguments.rate * seconds.as_secs_f64()) as u64;
        let mut slow = bare.drive(Pace::PerSecond(arguments.rate), slow_count).await?;
        report.limits.insert("bare pipeline, 3 stages", fast.rate);
        report.also.insert("bare pipeline, answered per second meanwhile".into(), fast.answered.rate());
        report.with_latencies(&mut slow.latencies);
        report.note = format!(
            "Payload {EVENT_BYTES} B (webhooks 2048 B); jetstream with Nats-Msg-Id. p50 and p99 are those of the bare pipeline at {} webhooks/s.\n\
             Bare pipeline at full speed: {}.",
            arguments.rate, fast.cpu
        );
        anyhow::Ok(())
    }
    .await;
    bare.stop().await?;
    result?;
    Ok(report)
}

/// What raw publishing came to.
pub struct Published {
    /// Per second.
    pub rate: f64,
    /// Of one publish.
    pub latencies: Latencies,
}

fn message(client: &str, number: u64, payload: &Bytes) -> PublishMessage {
    PublishMessage::build()
        .payload(payload.clone())
        .message_id(format!("{client}-{number}"))
}

/// The shape of an HTTP server: so many tasks, each waiting for its PubAck.
pub async fn jetstream_tasks(servers: &Servers, tasks: u64, seconds: Duration) -> anyhow::Result<Published> {
    let place = Place::new(servers).await?;
    let began = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (jetstream, subject) = (place.jetstream.clone(), place.subject(task));
        running.spawn(async move {
            let (payload, client) = (Bytes::from(vec![b'x'; EVENT_BYTES]), format!("t{task}"));
            let mut latencies = Vec::new();
            while began.elapsed() < seconds {
                let at = Instant::now();
                let number = latencies.len() as u64;
                jetstream
                    .send_publish(subject.clone(), message(&client, number, &payload))
                    .await?
                    .await?;
                latencies.push(at.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::default();
    let mut count = 0_usize;
    while let Some(of_task) = running.join_next().await {
        let of_task = of_task??;
        count += of_task.len();
        of_task.into_iter().for_each(|latency| latencies.push(latency));
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    place.remove().await?;
    Ok(Published { rate, latencies })
}

/// One publisher with so many unanswered messages.
async fn jetstream_window(servers: &Servers, window: usize, seconds: Duration) -> anyhow::Result<f64> {
    let place = Place::new(servers).await?;
    let payload = Bytes::from(vec![b'x'; EVENT_BYTES]);
    let began = Instant::now();
    let mut waiting = FuturesUnordered::new();
    let mut count = 0_u64;
    while began.elapsed() < seconds {
        while waiting.len() < window {
            let subject = place.subject(count % 64);
            waiting.push(
                place
                    .jetstream
                    .send_publish(subject, message("w", count, &payload))
                    .await?
                    .into_future(),
            );
            count += 1;
        }
        if let Some(ack) = waiting.next().await {
            ack?;
        }
    }
    while let Some(ack) = waiting.next().await {
        ack?;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    place.remove().await?;
    Ok(rate)
}

/// A stream for a while.
struct Place {
    jetstream: jetstream::Context,
    name: String,
}

impl Place {
    async fn new(servers: &Servers) -> anyhow::Result<Self> {
        let (jetstream, name) = (jetstream::new(servers.nats().await?), servers::fresh_name());
        servers::stream(&jetstream, &name, &format!("{name}.>")).await?;
        Ok(Self { jetstream, name })
    }

    fn subject(&self, number: u64) -> String {
        format!("{}.{number}", self.name)
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.jetstream.delete_stream(&self.name).await?;
        Ok(())
    }
}

/// Single-row commits per second by pgbench, 8 clients.
async fn commits(servers: &Servers, seconds: Duration) -> anyhow::Result<f64> {
    pgbench(
        servers,
        "CREATE TABLE event (id uuid PRIMARY KEY, tenant text NOT NULL, at timestamptz NOT NULL, body jsonb NOT NULL);
         CREATE INDEX event_by_time ON event (tenant, at);",
        "INSERT INTO event (id, tenant, at, body) \
         VALUES (gen_random_uuid(), 'bench', now(), jsonb_build_object('filler', repeat('x', 1000)));\n",
        seconds,
    )
    .await
}

/// Runs of a script per second by pgbench, 8 clients, in a database of its own.
pub async fn pgbench(
    servers: &Servers,
    tables: &'static str,
    script: &str,
    seconds: Duration,
) -> anyhow::Result<f64> {
    let database = servers.database().await?;
    let result = run_pgbench(&database, servers, tables, script, seconds).await;
    database.drop().await?;
    result
}

async fn run_pgbench(
    database: &servers::Database,
    servers: &Servers,
    tables: &'static str,
    text: &str,
    seconds: Duration,
) -> anyhow::Result<f64> {
    let mut connection = database.connect("public").await?;
    sqlx::raw_sql(tables).execute(&mut connection).await?;
    let script = std::env::temp_dir().join(format!("{}.sql", database.name()));
    std::fs::write(&script, text)?;
    let url = url::Url::parse(&servers.database_url)?;
    let output = tokio::process::Command::new(find_pgbench()?)
        .args(["--no-vacuum", "--protocol=prepared", "--client=8", "--jobs=2"])
        .arg(format!("--time={}", seconds.as_secs().max(1)))
        .arg(format!("--file={}", script.display()))
        .arg(database.name())
        .env("PGHOST", url.host_str().unwrap_or_default())
        .env("PGPORT", url.port().unwrap_or(5432).to_string())
        .env("PGUSER", url.username())
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .await;
    let _ = std::fs::remove_file(&script);
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let tps = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.with_context(|| format!("pgbench printed no tps: {text}"))
}

/// On the PATH, or where Debian puts it.
fn find_pgbench() -> anyhow::Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<_> = installed.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let places = std::env::split_paths(&on_path).chain(versions.into_iter().rev());
    let mut found = places
        .map(|place| place.join("pgbench"))
        .filter(|file| file.is_file());
    found
        .next()
        .context("pgbench is not installed; it comes with the Debian package postgresql")
}
