//! The service in a process of its own, that dies between two steps.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use trama_platform::{Context, Error, Parts, Service, bus::Stream};
use trama_proto::{
    common::v1::Interaction, identity_resolution::v1::InteractionIdentified, ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use crate::world::{TENANT, count, interaction, receive};

/// The service's schema and nothing that works: the other process does that.
struct Idle(Arc<dyn Service>);

#[async_trait]
impl Service for Idle {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn schema(&self) -> &'static str {
        self.0.schema()
    }

    fn migrations(&self) -> &'static sqlx::migrate::Migrator {
        self.0.migrations()
    }

    async fn build(&self, _context: Context) -> Result<Parts, Error> {
        Ok(Parts::default())
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
}

fn start(app: &TestApp, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trama-identity-resolution"));
    command
        .env("TRAMA_DATABASE_URL", &app.config.database_url)
        .env("TRAMA_NATS_URL", &app.config.nats_url)
        .env("TRAMA_BUS__PREFIX", &app.config.bus.prefix)
        .env("TRAMA_BUS__PARTITIONS", app.config.bus.partitions.to_string())
        .env("TRAMA_LISTEN__HTTP", free().to_string())
        .env("TRAMA_LISTEN__GRPC", free().to_string())
        .env("TRAMA_LISTEN__ADMIN", free().to_string())
        .env("TRAMA_STAGE__SWEEP_AFTER_SECONDS", "1")
        .env("RUST_LOG", "error")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match failpoint {
        Some(point) => command.env("TRAMA_FAILPOINT", point),
        None => command.env_remove("TRAMA_FAILPOINT"),
    };
    command.spawn().expect("the binary starts")
}

/// How often each interaction was said to be somebody's.
async fn identified(app: &TestApp) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for told in app.events::<InteractionIdentified>().await {
        let interaction = told.event.interaction.expect("an interaction");
        *found.entry(interaction.interaction_id).or_default() += 1;
    }
    found
}

const SURNAMES: [&str; 8] = [
    "Ferri",
    "Galli",
    "Conti",
    "Marini",
    "Greco",
    "Fontana",
    "Bianchi",
    "Quattrocchi",
];

async fn dies_at(point: &str) {
    const PEOPLE: usize = SURNAMES.len();
    const EACH: usize = 4;
    let app = TestApp::builder(&[Arc::new(Idle(trama_identity_resolution::service()))])
        .start()
        .await;
    for number in 0..PEOPLE * EACH {
        let person = number % PEOPLE;
        let mail = Interaction {
            display_name: format!("Anna {}", SURNAMES[person]),
            ..interaction(&number.to_string(), &format!("email:p{person}@shop.test"))
        };
        receive(&app, TENANT, &mail).await;
    }
    // One that nobody can read is in the same batch.
    app.publish(TENANT, "x", &InteractionReceived { interaction: None })
        .await;
    let mut child = start(&app, Some(point));
    let mut died = false;
    for _ in 0..1_500 {
        died = child.try_wait().expect("a child").is_some();
        if died {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(died, "it never came to {point}");
    let mut child = start(&app, None);
    for _ in 0..600 {
        if identified(&app).await.len() == PEOPLE * EACH && app.count(Stream::DeadLetters).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    let told = identified(&app).await;
    assert_eq!(told.len(), PEOPLE * EACH, "nothing is lost at {point}");
    assert!(
        told.values().all(|times| *times == 1),
        "nothing is told twice at {point}: {told:?}"
    );
    for (table, rows) in [
        ("customers", PEOPLE),
        ("handles", PEOPLE),
        ("interaction_owner", PEOPLE * EACH),
        ("observations", PEOPLE),
        ("merges", 0),
    ] {
        let found = usize::try_from(count(&app, table).await).expect("a count");
        assert_eq!(found, rows, "{table} at {point}");
    }
    assert_eq!(app.count(Stream::DeadLetters).await, 1, "{point}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_acknowledgement_identifies_everybody_once() {
    dies_at("stage.before_ack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_publishing_identifies_everybody_once() {
    dies_at("outbox.before_publish").await;
}
