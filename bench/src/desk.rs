//! What desks can do: offer, accept, complete over gRPC, with everything on disk; and how soon an offer is seen.
//!
//! Two rates: `offer and accept` with agents who may take whatever comes, and the whole cycle with agents who have three
//! chats at most, so that every completion makes room for the next offer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, stream};
use tonic::transport::Channel;
use trama_proto::{
    case::v1::{Case, ContextSnapshot, WorkRequested},
    common::v1::{ChannelKind, CustomerContext},
    ids::CaseId,
    routing::v1::{
        AcceptOfferRequest, Agent, CompleteWorkRequest, OpenDeskRequest, Presence, SetPresenceRequest,
        UpsertAgentRequest, desk_service_client::DeskServiceClient, open_desk_response::Event,
        routing_service_client::RoutingServiceClient,
    },
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::{
    Arguments,
    app::{self, DESK_THREAD, TENANT},
    limits,
    machine::{Cpu, Machine},
    report::{Latencies, Report},
    servers::Servers,
};

/// Humans at their desks: each has one offer at a time, and as many chats as they have units for.
const AGENTS: u64 = 256;
/// Units for three chats.
const THREE_CHATS: i32 = 6;
/// Units for whatever comes.
const MANY_CHATS: i32 = 1_000_000;
/// Commands at a time, when what was accepted is completed.
const HANDS: usize = 256;
/// HTTP/2 connections that the desks share.
const CONNECTIONS: usize = 16;
/// Longest wait for the last cycle.
const PATIENCE: Duration = Duration::from_secs(120);
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
    let mut report = Report {
        name: "desk",
        unit: "cycles per second",
        machine: machine.clone(),
        ..Report::default()
    };
    let bare = limits::pgbench(servers, BARE_TABLES, BARE_CYCLE, arguments.duration()).await?;
    report.limits.insert(BARE, bare);
    let app = app::start(&[trama_routing::service()], arguments.partitions).await;
    let result = ours(&app, arguments).await;
    app.stop().await;
    let mut ours = result?;
    report.ours = Some(ours.rate);
    report.with_latencies(&mut ours.seen);
    report.compare_to(BARE);
    report.note = format!(
        "{} cycles of {AGENTS} agents: offer on the desk's stream, AcceptOffer, CompleteWork; all was waiting when they came.\n\
         Of these, offer and accept alone: {:.0} a second; completing what was accepted: {:.0} a second.\n\
         p50 and p99: from the request for work on the bus to the offer on a free agent's desk, at {} a second.\n\
         Whole cycles: {}.\n\
         Offer and accept: {}.",
        ours.cycles, ours.accepts, ours.completes, ours.pace, ours.cpu, ours.accept_cpu
    );
    Ok(report)
}

struct Ours {
    rate: f64,
    accepts: f64,
    completes: f64,
    cycles: u64,
    seen: Latencies,
    pace: f64,
    cpu: String,
    accept_cpu: String,
}

async fn ours(app: &TestApp, arguments: &Arguments) -> anyhow::Result<Ours> {
    let cycles = arguments.messages / 2;
    let counts = Arc::new(Counts::new());
    let desks = Desks::open(app, &counts).await?;

    // How soon is an offer seen? Agents are free, work trickles in.
    desks.presence(app, Presence::Available).await?;
    let pace = (arguments.rate / 5.0).max(1.0);
    let trickle = (pace * arguments.seconds) as u64;
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / pace));
    let mut publishing = tokio::task::JoinSet::new();
    for number in 0..trickle {
        tick.tick().await;
        let event = work(app, number);
        counts.left(&event.case_id);
        let message = app.outgoing(app.clock.new_id(), TENANT, &event.case_id, &event);
        let bus = app.running.bus.clone();
        publishing.spawn(async move { bus.publish_one(message).await });
    }
    while let Some(published) = publishing.join_next().await {
        published?.map_err(|e| anyhow::anyhow!(e.detail()))?;
    }
    counts.wait_for(trickle).await?;
    let seen = counts.take_latencies();

    // How many offers are made and accepted? Everything waits already, and agents take whatever comes.
    desks.presence(app, Presence::Away).await?;
    desks.give_units(app, MANY_CHATS).await?;
    counts.completes.store(false, Ordering::Relaxed);
    publish(app, trickle..trickle + cycles).await;
    let (cpu, began) = (Cpu::now(), Instant::now());
    desks.presence(app, Presence::Available).await?;
    counts.wait_for(trickle + cycles).await?;
    let accepts = cycles as f64 / began.elapsed().as_secs_f64();
    let accept_cpu = cpu.since(cycles, 0.0).to_string();
    let began = Instant::now();
    desks.complete_all(app, &counts).await?;
    let completes = cycles as f64 / began.elapsed().as_secs_f64();

    // And how many whole cycles, by agents who have three chats at most?
    desks.presence(app, Presence::Away).await?;
    desks.give_units(app, THREE_CHATS).await?;
    counts.completes.store(true, Ordering::Relaxed);
    publish(app, trickle + cycles..trickle + 2 * cycles).await;
    let (cpu, began) = (Cpu::now(), Instant::now());
    desks.presence(app, Presence::Available).await?;
    counts.wait_for(trickle + 2 * cycles).await?;
    let rate = cycles as f64 / began.elapsed().as_secs_f64();
    let cpu = cpu.since(cycles, 0.0).to_string();
    Ok(Ours {
        rate,
        accepts,
        completes,
        cycles,
        seen,
        pace,
        cpu,
        accept_cpu,
    })
}

/// Work that waits before anybody is there.
async fn publish(app: &TestApp, numbers: std::ops::Range<u64>) {
    stream::iter(numbers)
        .map(|number| async move {
            let event = work(app, number);
            app.publish(TENANT, &event.case_id, &event).await;
        })
        .buffer_unordered(256)
        .collect::<()>()
        .await;
    app.settle().await;
}

fn agent_id(number: u64) -> String {
    format!("agent-{number}")
}

/// A chat that needs somebody, with a context of about a kilobyte.
fn work(app: &TestApp, number: u64) -> WorkRequested {
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
                ..Case::default()
            }),
            ..ContextSnapshot::default()
        }),
        ..WorkRequested::default()
    }
}

/// What the desks have seen and done.
struct Counts {
    done: AtomicU64,
    /// Whether desks complete what they have accepted at once, or hold it.
    completes: AtomicBool,
    held: Mutex<Vec<(u64, String)>>,
    departures: Mutex<HashMap<String, Instant>>,
    latencies: Mutex<Latencies>,
}

impl Counts {
    fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            completes: AtomicBool::new(true),
            held: Mutex::default(),
            departures: Mutex::default(),
            latencies: Mutex::default(),
        }
    }

    fn left(&self, case: &str) {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        departures.insert(case.to_owned(), Instant::now());
    }

    fn seen(&self, case: &str) {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = departures.remove(case) {
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.push(left.elapsed());
        }
    }

    fn take_latencies(&self) -> Latencies {
        std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn wait_for(&self, done: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.done.load(Ordering::Relaxed) < done {
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "only {} of {done} cycles were done in {PATIENCE:?}",
                self.done.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Agents at their desks, on a thread of their own.
struct Desks {
    _closed: tokio::sync::oneshot::Sender<()>,
}

impl Desks {
    async fn open(app: &TestApp, counts: &Arc<Counts>) -> anyhow::Result<Self> {
        upsert_agents(app, THREE_CHATS).await?;
        let mut requests = Vec::new();
        for number in 0..AGENTS {
            let token = app.token(TENANT, &agent_id(number), "*");
            requests.push((token, counts.clone()));
        }
        let address = format!("http://{}", app.running.addresses.grpc);
        let (closed, is_closed) = tokio::sync::oneshot::channel();
        let (opened, is_open) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name(DESK_THREAD.to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("the load generator has a runtime like this one");
                runtime.block_on(async {
                    tokio::select! {
                        result = all_sit(address, requests, opened) => if let Err(error) = result {
                            eprintln!("trama-bench: a desk was lost: {error:#}");
                        },
                        _ = is_closed => {}
                    }
                });
            })?;
        is_open.await.context("the desks did not open")?;
        Ok(Self { _closed: closed })
    }

    async fn give_units(&self, app: &TestApp, units: i32) -> anyhow::Result<()> {
        upsert_agents(app, units).await
    }

    /// Completes what the desks hold.
    async fn complete_all(&self, app: &TestApp, counts: &Counts) -> anyhow::Result<()> {
        let held = std::mem::take(&mut *counts.held.lock().unwrap_or_else(PoisonError::into_inner));
        let complete = |(agent, item): (u64, String)| async move {
            let request = CompleteWorkRequest {
                work_item_id: item,
                ..CompleteWorkRequest::default()
            };
            DeskServiceClient::new(app.grpc())
                .complete_work(app.request(TENANT, &agent_id(agent), request))
                .await
        };
        let mut answers = stream::iter(held).map(complete).buffer_unordered(HANDS);
        while let Some(answer) = answers.next().await {
            answer.context("CompleteWork")?;
        }
        Ok(())
    }

    async fn presence(&self, app: &TestApp, presence: Presence) -> anyhow::Result<()> {
        let set = |number: u64| async move {
            let request = SetPresenceRequest {
                presence: presence.into(),
                ..SetPresenceRequest::default()
            };
            DeskServiceClient::new(app.grpc())
                .set_presence(app.request(TENANT, &agent_id(number), request))
                .await
        };
        let mut answers = stream::iter(0..AGENTS).map(set).buffer_unordered(64);
        while let Some(answer) = answers.next().await {
            answer.context("SetPresence")?;
        }
        Ok(())
    }
}

async fn upsert_agents(app: &TestApp, units: i32) -> anyhow::Result<()> {
    let mut routing = RoutingServiceClient::new(app.grpc());
    let chats = ChannelKind::WebChat;
    for number in 0..AGENTS {
        let agent = Agent {
            agent_id: agent_id(number),
            display_name: agent_id(number),
            languages: vec!["it".to_owned()],
            channel_kinds: vec![chats.into()],
            capacity_units: units,
            max_at_once: [(chats.as_str_name().to_owned(), units)].into(),
            ..Agent::default()
        };
        let upsert = UpsertAgentRequest {
            agent: Some(agent),
            request_id: String::new(),
        };
        routing
            .upsert_agent(app.request(TENANT, "admin", upsert))
            .await
            .context("UpsertAgent")?;
    }
    Ok(())
}

fn with_token<T>(token: &str, message: T) -> anyhow::Result<tonic::Request<T>> {
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse()?);
    Ok(request)
}

async fn all_sit(
    address: String,
    desks: Vec<(String, Arc<Counts>)>,
    opened: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Channel::from_shared(address.clone())?.connect().await?);
    }
    let mut sitting = tokio::task::JoinSet::new();
    for (number, (token, counts)) in desks.into_iter().enumerate() {
        let mut client = DeskServiceClient::new(channels[number % CONNECTIONS].clone());
        let mut lines = client
            .open_desk(with_token(&token, OpenDeskRequest::default())?)
            .await
            .context("OpenDesk")?
            .into_inner();
        sitting.spawn(async move {
            let mut cycles = tokio::task::JoinSet::new();
            while let Some(shown) = lines.message().await? {
                while let Some(ended) = cycles.try_join_next() {
                    ended??;
                }
                let Some(Event::OfferMade(offer)) = shown.event else {
                    continue;
                };
                let Some(item) = offer.work_item else { continue };
                counts.seen(&item.case_id);
                let (mut client, token, counts) = (client.clone(), token.clone(), counts.clone());
                let desk = number as u64;
                cycles.spawn(async move {
                    let accept = AcceptOfferRequest {
                        offer_id: offer.offer_id,
                        ..AcceptOfferRequest::default()
                    };
                    client.accept_offer(with_token(&token, accept)?).await?;
                    if !counts.completes.load(Ordering::Relaxed) {
                        let mut held = counts.held.lock().unwrap_or_else(PoisonError::into_inner);
                        held.push((desk, item.work_item_id));
                        counts.done.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    }
                    let complete = CompleteWorkRequest {
                        work_item_id: item.work_item_id,
                        ..CompleteWorkRequest::default()
                    };
                    client.complete_work(with_token(&token, complete)?).await?;
                    counts.done.fetch_add(1, Ordering::Relaxed);
                    anyhow::Ok(())
                });
            }
            anyhow::bail!("the platform closed it")
        });
    }
    // Whoever opened them may have given up.
    let _ = opened.send(());
    match sitting.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}
