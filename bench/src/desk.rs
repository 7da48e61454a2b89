//! What desks can do: offer, accept, complete over gRPC, with everything on disk; and how soon an offer is seen.
//!
//! Two rates: `offer and accept` with agents who may take whatever comes, and the whole cycle with agents who have three
//! chats at most, so that every completion makes room for the next offer.

pub mod floor;
mod seats;

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use trama_proto::{
    case::v1::{Case, ContextSnapshot, Understanding, WorkRequested},
    common::v1::{ChannelKind, CustomerContext},
    ids::CaseId,
    routing::v1::Presence,
    time::to_wire,
};
use trama_testkit::TestApp;

use self::seats::{Counts, Desks, Person};
use crate::{
    Arguments,
    app::{self, TENANT},
    limits,
    machine::{Cpu, Machine},
    report::{Latencies, Report},
    servers::Servers,
};

/// Humans at their desks: each has one offer at a time, and as many chats as they have units for.
const AGENTS: usize = 256;
/// Units for three chats.
const THREE_CHATS: i32 = 6;
/// Units for whatever comes.
const MANY_CHATS: i32 = 1_000_000;
/// Longest wait for the last cycle.
const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds of work that trickles in before latency counts: connections and plans are made, as in a service that runs.
const WARM_UP: f64 = 2.0;
const BARE: &str = "bare SQL cycle, pgbench, 8 clients";

/// The same rows, written by three bare transactions a cycle.
const BARE_TABLES: &str = "
    CREATE TABLE agent (id int PRIMARY KEY, units int NOT NULL);
    INSERT INTO agent SELECT n, 0 FROM generate_series(1, 256) n;
    CREATE TABLE item (id uuid PRIMARY KEY, state text NOT NULL, agent int, snapshot bytea NOT NULL);
    CREATE INDEX item_waiting ON item (state) WHERE state = 'pending';
    CREATE TABLE offer (id uuid PRIMARY KEY, item uuid NOT NULL, agent int NOT NULL, state text NOT NULL);
    CREATE UNIQUE INDEX offer_live ON offer (item) WHERE state IN ('pending', 'accepted');
    CREATE TABLE outbox (id uuid PRIMARY KEY, payload bytea NOT NULL);";
const BARE_CYCLE: &str = r"\set agent random(1, 256)
SELECT gen_random_uuid() AS item, gen_random_uuid() AS offer \gset
BEGIN;
INSERT INTO item VALUES (:item::uuid, 'offered', :agent, decode(repeat('78', 1000), 'hex'));
INSERT INTO offer VALUES (:offer::uuid, :item::uuid, :agent, 'pending');
UPDATE agent SET units = units + 2 WHERE id = :agent;
INSERT INTO outbox VALUES (gen_random_uuid(), decode(repeat('78', 100), 'hex'));
COMMIT;
BEGIN;
UPDATE offer SET state = 'accepted' WHERE id = :offer::uuid;
UPDATE item SET state = 'assigned' WHERE id = :item::uuid;
INSERT INTO outbox VALUES (gen_random_uuid(), decode(repeat('78', 100), 'hex'));
COMMIT;
BEGIN;
UPDATE offer SET state = 'completed' WHERE id = :offer::uuid;
UPDATE item SET state = 'completed' WHERE id = :item::uuid;
UPDATE agent SET units = units - 2 WHERE id = :agent;
INSERT INTO outbox VALUES (gen_random_uuid(), decode(repeat('78', 100), 'hex'));
COMMIT;
";

/// The bench `desk`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = begin("desk", arguments, servers, machine).await?;
    let app = app::start(&[trama_routing::service()], arguments.partitions()).await;
    let result = ours(&app, arguments).await;
    app.stop().await;
    let mut ours = result?;
    conclude(&mut report, ours.rate, &mut ours.seen);
    report.note = format!(
        "{} cycles of {AGENTS} agents: offer on the desk's stream, AcceptOffer, CompleteWork; all was waiting when they came.\n\
         Of these, offer and accept alone: {:.0} a second; completing what was accepted: {:.0} a second.\n\
         p50 and p99: from the request for work on the bus to the offer on a free agent's desk, at {} a second.\n\
         Whole cycles: {}.\n\
         Offer and accept: {}.",
        ours.cycles,
        ours.accepts,
        ours.completes,
        pace(arguments),
        ours.cpu,
        ours.accept_cpu
    );
    Ok(report)
}

/// A report with what the machine does without us.
async fn begin(
    name: &'static str,
    arguments: &Arguments,
    servers: &Servers,
    machine: &Machine,
) -> anyhow::Result<Report> {
    let bare = limits::pgbench(servers, BARE_TABLES, BARE_CYCLE, arguments.duration()).await?;
    Ok(Report {
        name,
        unit: "cycles per second",
        limits: [(BARE, bare)].into(),
        machine: machine.clone(),
        ..Report::default()
    })
}

fn conclude(report: &mut Report, rate: f64, seen: &mut Latencies) {
    report.ours = Some(rate);
    report.with_latencies(seen);
    report.compare_to(BARE);
}

struct Ours {
    rate: f64,
    accepts: f64,
    completes: f64,
    cycles: u64,
    seen: Latencies,
    cpu: String,
    accept_cpu: String,
}

async fn ours(app: &TestApp, arguments: &Arguments) -> anyhow::Result<Ours> {
    let cycles = arguments.messages / 2;
    let counts = Arc::new(Counts::new());
    let everybody = |units| {
        let person = Person {
            units,
            ..Person::default()
        };
        vec![person; AGENTS]
    };
    let desks = Desks::open(app, &everybody(THREE_CHATS), &counts).await?;

    // How soon is an offer seen? Agents are free, work trickles in.
    desks.presence(app, Presence::Available).await?;
    let mut numbers = 0..;
    let seen = trickle(app, &counts, arguments, &mut numbers, None).await?;

    // How many offers are made and accepted? Everything waits already, and agents take whatever comes.
    desks.presence(app, Presence::Away).await?;
    seats::upsert(app, &everybody(MANY_CHATS)).await?;
    counts.complete(false);
    publish(app, next(&mut numbers, cycles), |_| None).await;
    let (cpu, began, before) = (Cpu::now(), Instant::now(), counts.done());
    desks.presence(app, Presence::Available).await?;
    counts.wait_for(before + cycles, PATIENCE).await?;
    let accepts = cycles as f64 / began.elapsed().as_secs_f64();
    let accept_cpu = cpu.since(cycles, 0.0).to_string();
    let began = Instant::now();
    desks.complete(app, counts.take_held()).await?;
    let completes = cycles as f64 / began.elapsed().as_secs_f64();

    // And how many whole cycles, by agents who have three chats at most?
    desks.presence(app, Presence::Away).await?;
    seats::upsert(app, &everybody(THREE_CHATS)).await?;
    counts.complete(true);
    publish(app, next(&mut numbers, cycles), |_| None).await;
    let (cpu, began, before) = (Cpu::now(), Instant::now(), counts.done());
    desks.presence(app, Presence::Available).await?;
    counts.wait_for(before + cycles, PATIENCE).await?;
    let rate = cycles as f64 / began.elapsed().as_secs_f64();
    let cpu = cpu.since(cycles, 0.0).to_string();
    Ok(Ours {
        rate,
        accepts,
        completes,
        cycles,
        seen,
        cpu,
        accept_cpu,
    })
}

/// Requests for work per second when latency is measured.
fn pace(arguments: &Arguments) -> f64 {
    (arguments.rate / 5.0).max(1.0)
}

/// The next numbers of work.
fn next(numbers: &mut std::ops::RangeFrom<u64>, count: u64) -> Range<u64> {
    let from = numbers.start;
    numbers.start += count;
    from..numbers.start
}

/// Work about a topic trickles in, and free agents see it: how soon?
async fn trickle(
    app: &TestApp,
    counts: &Counts,
    arguments: &Arguments,
    numbers: &mut std::ops::RangeFrom<u64>,
    topic: Option<&str>,
) -> anyhow::Result<Latencies> {
    let pace = pace(arguments);
    for seconds in [WARM_UP, arguments.seconds] {
        counts.take_latencies();
        let before = counts.done();
        let count = (pace * seconds) as u64;
        let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / pace));
        let mut publishing = tokio::task::JoinSet::new();
        for number in next(numbers, count) {
            tick.tick().await;
            let event = work(app, number, topic);
            counts.left(&event.case_id);
            let message = app.outgoing(app.clock.new_id(), TENANT, &event.case_id, &event);
            let bus = app.running.bus.clone();
            publishing.spawn(async move { bus.publish_one(message).await });
        }
        while let Some(published) = publishing.join_next().await {
            published?.map_err(|e| anyhow::anyhow!(e.detail()))?;
        }
        counts.wait_for(before + count, PATIENCE).await?;
    }
    Ok(counts.take_latencies())
}

/// Work that waits before anybody is there.
async fn publish(app: &TestApp, numbers: Range<u64>, topic: impl Fn(u64) -> Option<String> + Sync) {
    let topic = &topic;
    stream::iter(numbers)
        .map(|number| async move {
            let event = work(app, number, topic(number).as_deref());
            app.publish(TENANT, &event.case_id, &event).await;
        })
        .buffer_unordered(256)
        .collect::<()>()
        .await;
    app.settle().await;
}

/// A chat that needs somebody, with a context of about a kilobyte.
fn work(app: &TestApp, number: u64, topic: Option<&str>) -> WorkRequested {
    let case_id = CaseId::derived(&[b"bench", &number.to_be_bytes()]).to_string();
    WorkRequested {
        case_id: case_id.clone(),
        revision: 1,
        channel_kind: ChannelKind::WebChat.into(),
        waiting_since: Some(to_wire(app.clock.now())),
        snapshot: Some(ContextSnapshot {
            customer: Some(CustomerContext {
                display_name: "Bench".to_owned(),
                language: "it".to_owned(),
                ..CustomerContext::default()
            }),
            case: Some(Case {
                case_id,
                subject: "x".repeat(900),
                understanding: topic.map(|topic| Understanding {
                    intent: topic.to_owned(),
                    ..Understanding::default()
                }),
                ..Case::default()
            }),
            ..ContextSnapshot::default()
        }),
        ..WorkRequested::default()
    }
}
