//! Agents at their desks, on a thread of their own: they accept what they are offered, and complete it at once or hold it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tonic::transport::Channel;
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        AcceptOfferRequest, Agent, CompleteWorkRequest, OpenDeskRequest, Presence, SetPresenceRequest,
        UpsertAgentRequest, desk_service_client::DeskServiceClient, open_desk_response::Event,
        routing_service_client::RoutingServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::{
    app::{self, TENANT},
    report::Latencies,
};

/// Commands at a time, when what was accepted is completed.
const HANDS: usize = 256;
/// Commands at a time, when agents come and go.
const ADMINS: usize = 64;
/// HTTP/2 connections that the desks share, at least, and desks that share one of them, at most.
const CONNECTIONS: usize = 16;
const DESKS_PER_CONNECTION: usize = 64;
/// Level of every skill that an agent has.
const LEVEL: i32 = 5;

/// An agent of the bench.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// Units that they have.
    pub units: i32,
    /// What they know.
    pub skills: Vec<String>,
}

/// What the desks have seen and done.
pub struct Counts {
    done: AtomicU64,
    /// Whether desks complete what they have accepted at once, or hold it.
    completes: AtomicBool,
    held: Mutex<Vec<(u64, String)>>,
    departures: Mutex<HashMap<String, Instant>>,
    latencies: Mutex<Latencies>,
}

impl Counts {
    /// Nothing yet; what is accepted is completed at once.
    pub fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            completes: AtomicBool::new(true),
            held: Mutex::default(),
            departures: Mutex::default(),
            latencies: Mutex::default(),
        }
    }

    /// Cycles that were done.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Whether desks complete what they accept from now on.
    pub fn complete(&self, at_once: bool) {
        self.completes.store(at_once, Ordering::Relaxed);
    }

    /// A request for work is on its way.
    pub fn left(&self, case: &str) {
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

    /// Latencies since this was asked last.
    pub fn take_latencies(&self) -> Latencies {
        std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is held now, by number of desk; nobody else gets it.
    pub fn take_held(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold(&self, desk: u64, item: String) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push((desk, item));
    }

    /// Waits until so many cycles are done.
    pub async fn wait_for(&self, done: u64, patience: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.done() < done {
            anyhow::ensure!(
                began.elapsed() < patience,
                "only {} of {done} cycles were done in {patience:?}",
                self.done()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// Agents at their desks. They go home when this is dropped.
pub struct Desks {
    count: u64,
    _closed: tokio::sync::oneshot::Sender<()>,
}

impl Desks {
    /// Makes the agents and opens their desks.
    pub async fn open(app: &TestApp, people: &[Person], counts: &Arc<Counts>) -> anyhow::Result<Self> {
        upsert(app, people).await?;
        let count = people.len() as u64;
        let tokens = (0..count).map(|number| app.token(TENANT, &agent_id(number), "*"));
        let (tokens, counts) = (tokens.collect::<Vec<_>>(), Arc::clone(counts));
        let address = format!("http://{}", app.running.addresses.grpc);
        let (closed, is_closed) = tokio::sync::oneshot::channel();
        let (opened, is_open) = tokio::sync::oneshot::channel();
        app::at_desks(is_closed, move || all_sit(address, tokens, counts, opened))?;
        is_open.await.context("the desks did not open")?;
        Ok(Self {
            count,
            _closed: closed,
        })
    }

    /// Completes what desks hold.
    pub async fn complete(&self, app: &TestApp, held: Vec<(u64, String)>) -> anyhow::Result<()> {
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

    /// Everybody says this.
    pub async fn presence(&self, app: &TestApp, presence: Presence) -> anyhow::Result<()> {
        let set = |number: u64| async move {
            let request = SetPresenceRequest {
                presence: presence.into(),
                ..SetPresenceRequest::default()
            };
            DeskServiceClient::new(app.grpc())
                .set_presence(app.request(TENANT, &agent_id(number), request))
                .await
        };
        let mut answers = stream::iter(0..self.count).map(set).buffer_unordered(ADMINS);
        while let Some(answer) = answers.next().await {
            answer.context("SetPresence")?;
        }
        Ok(())
    }
}

fn agent_id(number: u64) -> String {
    format!("agent-{number}")
}

/// Makes agents what they are.
pub async fn upsert(app: &TestApp, people: &[Person]) -> anyhow::Result<()> {
    let chats = ChannelKind::WebChat;
    let upsert = |(number, person): (usize, &Person)| {
        let agent = Agent {
            agent_id: agent_id(number as u64),
            display_name: agent_id(number as u64),
            languages: vec!["it".to_owned()],
            skills: person.skills.iter().map(|s| (s.clone(), LEVEL)).collect(),
            channel_kinds: vec![chats.into()],
            capacity_units: person.units,
            max_at_once: [(chats.as_str_name().to_owned(), person.units)].into(),
            ..Agent::default()
        };
        let upsert = UpsertAgentRequest {
            agent: Some(agent),
            request_id: String::new(),
        };
        let request = app.request(TENANT, "admin", upsert);
        async move { RoutingServiceClient::new(app.grpc()).upsert_agent(request).await }
    };
    let mut answers = stream::iter(people.iter().enumerate().map(upsert)).buffer_unordered(ADMINS);
    while let Some(answer) = answers.next().await {
        answer.context("UpsertAgent")?;
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

type Lines = tonic::Streaming<trama_proto::routing::v1::OpenDeskResponse>;

/// One agent, who does what the counts say.
struct Sitting {
    desk: u64,
    client: DeskServiceClient<Channel>,
    token: String,
    counts: Arc<Counts>,
}

impl Sitting {
    async fn open(mut self) -> anyhow::Result<(Self, Lines)> {
        let lines = self
            .client
            .open_desk(with_token(&self.token, OpenDeskRequest::default())?)
            .await
            .context("OpenDesk")?;
        Ok((self, lines.into_inner()))
    }

    async fn work(self, mut lines: Lines) -> anyhow::Result<()> {
        let this = Arc::new(self);
        let mut cycles = tokio::task::JoinSet::new();
        while let Some(shown) = lines.message().await? {
            while let Some(ended) = cycles.try_join_next() {
                ended??;
            }
            let Some(Event::OfferMade(offer)) = shown.event else {
                continue;
            };
            let Some(item) = offer.work_item else { continue };
            this.counts.seen(&item.case_id);
            cycles.spawn(Arc::clone(&this).cycle(offer.offer_id, item.work_item_id));
        }
        anyhow::bail!("the platform closed it")
    }

    async fn cycle(self: Arc<Self>, offer: String, item: String) -> anyhow::Result<()> {
        let mut client = self.client.clone();
        let accept = AcceptOfferRequest {
            offer_id: offer,
            ..AcceptOfferRequest::default()
        };
        client.accept_offer(with_token(&self.token, accept)?).await?;
        if self.counts.completes.load(Ordering::Relaxed) {
            let complete = CompleteWorkRequest {
                work_item_id: item,
                ..CompleteWorkRequest::default()
            };
            client.complete_work(with_token(&self.token, complete)?).await?;
        } else {
            self.counts.hold(self.desk, item);
        }
        self.counts.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn all_sit(
    address: String,
    tokens: Vec<String>,
    counts: Arc<Counts>,
    opened: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS.max(tokens.len() / DESKS_PER_CONNECTION) {
        channels.push(Channel::from_shared(address.clone())?.connect().await?);
    }
    let sits = tokens.into_iter().enumerate().map(|(number, token)| {
        let sitting = Sitting {
            desk: number as u64,
            client: DeskServiceClient::new(channels[number % channels.len()].clone()),
            token,
            counts: Arc::clone(&counts),
        };
        sitting.open()
    });
    let mut open = stream::iter(sits).buffer_unordered(ADMINS);
    let mut sitting = tokio::task::JoinSet::new();
    while let Some((desk, lines)) = open.try_next().await? {
        sitting.spawn(desk.work(lines));
    }
    // Whoever opened them may have given up.
    let _ = opened.send(());
    match sitting.join_next().await {
        Some(ended) => ended?,
        None => Ok(()),
    }
}
