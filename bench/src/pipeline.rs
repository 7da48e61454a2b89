//! The way of a record: from the webhook to the offer, through ingest, identity-resolution, case and routing.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use async_nats::jetstream;
use futures::StreamExt as _;
use prost::Message as _;
use trama_platform::bus::Stream;
use trama_proto::{case::v1::WorkRequested, events::Event, routing::v1::OfferMade};
use trama_testkit::TestApp;

use crate::{
    Arguments,
    app::{self, Desk},
    bare::Bare,
    limits::WARM_UP,
    load::{self, Answered, Departures, Load, Pace},
    machine::{Cpu, CpuUse, Machine},
    report::{Latencies, Report},
    servers::{self, Servers},
};

const BARE: &str = "bare pipeline, 3 stages";
const BARE_LIKE_OURS: &str = "bare pipeline, 4 stages";
/// Longest wait for the next offer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bench `pipeline`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = Report {
        name: "pipeline",
        unit: "webhooks to offers per second",
        machine: machine.clone(),
        ..Report::default()
    };
    // The machine's speed drifts: the ceiling is measured before and after.
    let before = bare(servers, 3, arguments.messages).await?;
    let like_ours = bare(servers, 4, arguments.messages).await?;
    let app = app::start(&app::services(), arguments.partitions()).await;
    let result = ours(&app, arguments).await;
    let written = written(&app).await;
    app.stop().await;
    let written = written?;
    let mut ours = result.with_context(|| format!("on the bus were: {written:?}"))?;
    anyhow::ensure!(
        !written.contains_key("dead letters"),
        "messages were put aside: {written:?}"
    );
    let after = bare(servers, 3, arguments.messages).await?;

    report.ours = Some(ours.fast.rate);
    report.limits.insert(BARE, f64::midpoint(before, after));
    report.limits.insert(BARE_LIKE_OURS, like_ours);
    report
        .also
        .insert("answered per second meanwhile".into(), ours.fast.answered.rate());
    report.also.insert(
        "2xx p50 ms".into(),
        ours.slow.answered.latencies.percentile(0.5).unwrap_or(0.0),
    );
    report.also.insert(
        "2xx p99 ms".into(),
        ours.slow.answered.latencies.percentile(0.99).unwrap_or(0.0),
    );
    report.also.insert(
        "refused and tried again".into(),
        ours.fast.answered.refused as f64,
    );
    report.with_latencies(&mut ours.slow.latencies);
    report.compare_to(BARE);
    report.note = format!(
        "{} webhooks of 2048 B, each a new customer with a new case. p50 and p99: from the webhook to its offer on the bus at {} webhooks/s.\n\
         Full speed: {}.\nAt that rate: {}.",
        arguments.messages, arguments.rate, ours.fast.cpu, ours.slow.cpu
    );
    Ok(report)
}

async fn bare(servers: &Servers, stages: usize, messages: u64) -> anyhow::Result<f64> {
    let mut bare = Bare::start(servers, stages).await?;
    let result = async {
        bare.drive(Pace::AsAnswered, WARM_UP).await?;
        bare.drive(Pace::AsAnswered, messages).await
    }
    .await;
    bare.stop().await?;
    Ok(result?.rate)
}

struct Ours {
    slow: Outcome,
    fast: Outcome,
}

async fn ours(app: &TestApp, arguments: &Arguments) -> anyhow::Result<Ours> {
    let _desk = Desk::open(app).await?;
    // Four times as long as other measurements: sweepers and checkpoints have their turn.
    let slow_count = (arguments.rate * arguments.seconds * 4.0) as u64;
    drive(app, Pace::AsAnswered, 0..WARM_UP, Measure::Throughput).await?;
    let slow = WARM_UP..WARM_UP + slow_count;
    let fast = slow.end..slow.end + arguments.messages;
    let slow = drive(app, Pace::PerSecond(arguments.rate), slow, Measure::Latency).await?;
    let fast = drive(app, Pace::AsAnswered, fast, Measure::Throughput).await?;
    Ok(Ours { slow, fast })
}

/// How many messages were written in all, by name: tells where a pipeline stands still.
async fn written(app: &TestApp) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for stream in [Stream::Ingress, Stream::Events, Stream::DeadLetters] {
        let handle = app
            .running
            .bus
            .stream(stream)
            .await
            .map_err(|e| anyhow::anyhow!(e.detail()))?;
        let mut subjects = handle.info_with_subjects(">").await?;
        while let Some(subject) = subjects.next().await {
            let (subject, count) = subject?;
            let name = match stream {
                Stream::DeadLetters => "dead letters",
                // <prefix>.<stream>.<name>.<tenant>.<partition>
                Stream::Ingress | Stream::Events => subject.split('.').nth(2).unwrap_or("?"),
            };
            *counts.entry(name.to_owned()).or_default() += count;
        }
    }
    Ok(counts)
}

/// What is looked at. Throughput reads offers only; latency must know whose case it is, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Throughput,
    Latency,
}

struct Outcome {
    /// Offers per second, from the first webhook sent to the last offer seen.
    rate: f64,
    /// From the webhook to its offer.
    latencies: Latencies,
    answered: Answered,
    cpu: CpuUse,
}

async fn drive(app: &TestApp, pace: Pace, senders: Range<u64>, measure: Measure) -> anyhow::Result<Outcome> {
    let count = senders.end - senders.start;
    let load = Load {
        address: app.running.addresses.http,
        webhooks: app::webhooks(app),
        pace,
        senders,
        at_most: Duration::from_secs(300),
    };
    let nats_url = app.config.nats_url.clone();
    let (prefix, stream) = (
        app.running.bus.prefix().to_owned(),
        app.running.bus.stream_name(Stream::Events),
    );
    let cpu = Cpu::now();
    let driving = load::aside(move || async move {
        let servers = Servers {
            nats_url,
            ..Servers::default()
        };
        let jetstream = jetstream::new(servers.nats().await?);
        let mut subjects = vec![format!("{prefix}.events.{}.>", OfferMade::NAME)];
        if measure == Measure::Latency {
            subjects.push(format!("{prefix}.events.{}.>", WorkRequested::NAME));
        }
        let messages = servers::reader(&jetstream, &stream, subjects).await?;
        let departures = Departures::of(&load.senders);
        let reading = read(messages, count, &departures, measure);
        let (answered, (ended, latencies)) =
            futures::future::try_join(load::send(&load, Some(&departures)), reading).await?;
        let rate = count as f64 / (ended - answered.began).as_secs_f64();
        Ok((rate, latencies, answered))
    });
    let stopping = app.running.lifecycle.stopping();
    let ((rate, latencies, answered), load_seconds) = tokio::select! {
        outcome = driving => outcome?,
        () = stopping.cancelled() => anyhow::bail!("a task of the platform died; its log says why"),
    };
    Ok(Outcome {
        rate,
        latencies,
        answered,
        cpu: cpu.since(count, load_seconds),
    })
}

/// Reads until every sender's case has been offered.
async fn read(
    mut messages: jetstream::consumer::pull::Stream,
    count: u64,
    departures: &Departures,
    measure: Measure,
) -> anyhow::Result<(Instant, Latencies)> {
    let mut latencies = Latencies::default();
    let mut offered: HashSet<String> = HashSet::new();
    let mut sender_of: HashMap<String, u64> = HashMap::new();
    while (offered.len() as u64) < count {
        let message = tokio::time::timeout(PATIENCE, messages.next()).await;
        let message = message.with_context(|| {
            format!(
                "only {} of {count} cases were offered; nothing more came for {PATIENCE:?}",
                offered.len()
            )
        })?;
        let message = message.context("the stream of messages ended")??;
        let now = Instant::now();
        let name = message.subject.as_str().rsplit('.').nth(2);
        if name == Some(WorkRequested::NAME) {
            let work = WorkRequested::decode(message.payload.clone())?;
            if let Some(sender) = sender(&work) {
                sender_of.insert(work.case_id, sender);
            }
            continue;
        }
        let offer = OfferMade::decode(message.payload.clone())?;
        if measure == Measure::Latency {
            // The stream holds the request before the offer that follows from it.
            let left_at = sender_of
                .get(&offer.case_id)
                .and_then(|sender| departures.get(*sender));
            // A late offer of an earlier run has no departure in this one.
            let Some(left_at) = left_at else { continue };
            if offered.insert(offer.case_id) {
                latencies.push(now - left_at);
            }
        } else {
            offered.insert(offer.case_id);
        }
    }
    Ok((Instant::now(), latencies))
}

/// Whose case it is: the customer has one handle of the sender's account.
fn sender(work: &WorkRequested) -> Option<u64> {
    let customer = work.snapshot.as_ref()?.customer.as_ref()?;
    customer
        .handles
        .iter()
        .find_map(|handle| load::sender(&handle.value))
}
