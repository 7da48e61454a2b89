//! The platform under load: all six services in this process, on a database and streams of their own.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::migrate::Migrator;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use trama_platform::{Clock, Config, Context, Error, Parts, Service, config::DatabaseConfig};
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        Agent, OpenDeskRequest, Presence, SetPresenceRequest, UpsertAgentRequest,
        desk_service_client::DeskServiceClient, open_desk_response::Event,
        routing_service_client::RoutingServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::load::{APP_SECRET, Webhooks};

/// The tenant of every bench.
pub const TENANT: &str = "bench";
/// The agent who is offered everything.
const AGENT: &str = "bot";
/// What the services run with.
pub const RESOURCES: &str = include_str!("../resources.yaml");

/// All six services.
pub fn services() -> Vec<Arc<dyn Service>> {
    vec![
        trama_ingest::service(),
        trama_identity_resolution::service(),
        trama_case::service(),
        trama_routing::service(),
        trama_survey::service(),
        trama_notification::service(),
    ]
}

/// A service of which only the doors are open: its stages do not run.
pub struct DoorsOnly(pub Arc<dyn Service>);

#[async_trait]
impl Service for DoorsOnly {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn schema(&self) -> &'static str {
        self.0.schema()
    }

    fn migrations(&self) -> &'static Migrator {
        self.0.migrations()
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let mut parts = self.0.build(context).await?;
        parts.stages.clear();
        Ok(parts)
    }
}

/// Starts services as a deployment would: its number of connections, the machine's clock.
pub async fn start(services: &[Arc<dyn Service>], partitions: u32) -> TestApp {
    start_with(services, partitions, RESOURCES).await
}

/// The same with these resources.
pub async fn start_with(services: &[Arc<dyn Service>], partitions: u32, resources: &str) -> TestApp {
    let app = TestApp::builder(services)
        .with_system_clock()
        .resources(resources)
        .secret(TENANT, "whatsapp", "app-secret", APP_SECRET)
        .secret(TENANT, "whatsapp", "verify-token", "bench-verify-token")
        .secret(TENANT, "whatsapp", "access-token", "bench-access-token")
        .configure(move |config: &mut Config| {
            config.database = DatabaseConfig::default();
            config.bus.partitions = partitions;
        });
    // Everything that a platform is begun with is in its future.
    Box::pin(app.start()).await
}

/// Webhooks for an app's WhatsApp channel.
pub fn webhooks(app: &TestApp) -> Webhooks {
    let path = format!("/webhooks/{TENANT}/whatsapp");
    Webhooks::new(
        app.running.addresses.http,
        &path,
        Clock::system().now().timestamp(),
    )
}

/// A bot that can carry everything and never answers. Its desk is open as long as this lives.
///
/// It runs on a thread named [`DESK_THREAD`], because desks are no part of the platform.
pub struct Desk {
    _open: oneshot::Sender<()>,
}

/// By this name the CPU time of the desk is told from ours.
pub const DESK_THREAD: &str = "desk";
/// More than any run offers.
const CAPACITY: i32 = 1_000_000;

impl Desk {
    /// Makes the agent, opens the desk and says "available".
    pub async fn open(app: &TestApp) -> anyhow::Result<Self> {
        let kinds = [
            ChannelKind::Email,
            ChannelKind::Whatsapp,
            ChannelKind::Voice,
            ChannelKind::WebChat,
            ChannelKind::Sms,
            ChannelKind::Api,
        ];
        let agent = Agent {
            agent_id: AGENT.to_owned(),
            display_name: "Bench".to_owned(),
            languages: vec!["it".to_owned(), "en".to_owned()],
            channel_kinds: kinds.map(i32::from).to_vec(),
            capacity_units: CAPACITY,
            bot: true,
            ..Agent::default()
        };
        let upsert = UpsertAgentRequest {
            agent: Some(agent),
            request_id: app.clock.new_id().to_string(),
        };
        let upsert = app.request(TENANT, AGENT, upsert);
        RoutingServiceClient::new(app.grpc())
            .upsert_agent(upsert)
            .await
            .context("UpsertAgent")?;

        let address = format!("http://{}", app.running.addresses.grpc);
        let request = app.request(TENANT, AGENT, OpenDeskRequest::default());
        let (opened, is_open) = oneshot::channel();
        let (open, closed) = oneshot::channel();
        at_desks(closed, move || sit(address, request, opened))?;
        is_open.await.context("the desk did not open")?;

        let presence = SetPresenceRequest {
            presence: Presence::Available.into(),
            request_id: app.clock.new_id().to_string(),
            ..SetPresenceRequest::default()
        };
        let presence = app.request(TENANT, AGENT, presence);
        DeskServiceClient::new(app.grpc())
            .set_presence(presence)
            .await
            .context("SetPresence")?;
        Ok(Self { _open: open })
    }
}

/// What agents do, on the thread whose CPU time is not ours, until `closed` says so or its other end is dropped.
pub fn at_desks<F: Future<Output = anyhow::Result<()>>>(
    closed: oneshot::Receiver<()>,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name(DESK_THREAD.to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the load generator has a runtime like this one");
            runtime.block_on(async {
                tokio::select! {
                    result = work() => if let Err(error) = result {
                        eprintln!("trama-bench: a desk was lost: {error:#}");
                    },
                    _ = closed => {}
                }
            });
        })?;
    Ok(())
}

/// Reads what the desk is shown, until the line ends.
async fn sit(
    address: String,
    request: tonic::Request<OpenDeskRequest>,
    opened: oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let channel = Channel::from_shared(address)?.connect().await?;
    let mut desk = DeskServiceClient::new(channel)
        .open_desk(request)
        .await
        .context("OpenDesk")?
        .into_inner();
    let first = tokio::time::timeout(Duration::from_secs(10), desk.message()).await??;
    anyhow::ensure!(
        matches!(first.and_then(|f| f.event), Some(Event::Ready(_))),
        "OpenDesk must begin with `ready`"
    );
    // Whoever opened it may have given up.
    let _ = opened.send(());
    while desk.message().await?.is_some() {}
    anyhow::bail!("the platform closed it")
}
