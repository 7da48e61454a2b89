//! Tests on real PostgreSQL and NATS. Every [`TestApp`] has its own database and stream prefix, and a clock that
//! stands still until the test moves it.
//!
//! `make test` starts the servers; by hand: `scripts/dev with --dir .dev/test --fast -- cargo test`.

mod bucket;
mod events;
mod keys;
mod resources;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection};
use tonic::{metadata::MetadataValue, transport::Channel};
use trama_platform::{
    Clock, Config, Db, Options, Running, Service,
    auth::{DevIssuer, DevToken},
    bus::{Outgoing, Stream},
};
use trama_proto::{events::Event, ids::TenantId};
use uuid::Uuid;

pub use bucket::Bucket;
pub use events::Published;
pub use keys::Keys;
pub use resources::resources;

/// The moment at which a test's clock stands at first.
pub fn start_of_time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_308_000, 0).expect("a moment in June 2026")
}

/// A tenant's id.
///
/// # Panics
/// When it is none.
pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("a tenant name")
}

/// Serves somebody outside, such as an integrator's hook, until the test ends. Gives its address.
///
/// # Panics
/// When there is no free port.
pub async fn stand_in(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of the test")]
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Services on servers of their own making.
pub struct TestApp {
    /// The process.
    pub running: Running,
    /// Its clock.
    pub clock: Clock,
    /// Its configuration.
    pub config: Config,
    services: Vec<Arc<dyn Service>>,
    yaml: String,
    issuer: DevIssuer,
    grpc: Channel,
    database: String,
    admin_url: String,
    folder: std::path::PathBuf,
}

/// How a [`TestApp`] is made.
pub struct Builder {
    services: Vec<Arc<dyn Service>>,
    yaml: String,
    system_clock: bool,
    configure: Box<dyn FnOnce(&mut Config) + Send>,
    secrets: Vec<(String, String, String, String)>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl TestApp {
    /// A builder over some services.
    pub fn builder(services: &[Arc<dyn Service>]) -> Builder {
        Builder {
            services: services.to_vec(),
            yaml: String::new(),
            system_clock: false,
            configure: Box::new(|_| {}),
            secrets: Vec::new(),
        }
    }

    /// Services without resources.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(services: &[Arc<dyn Service>]) -> Self {
        Self::builder(services).start().await
    }

    /// A channel to the gRPC door.
    pub fn grpc(&self) -> Channel {
        self.grpc.clone()
    }

    /// `http://…` of the HTTP door.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.running.addresses.http)
    }

    /// A bearer token.
    ///
    /// # Panics
    /// When it cannot be signed.
    pub fn token(&self, tenant: &str, subject: &str, scopes: &str) -> String {
        let token = DevToken {
            tenant,
            subject,
            scopes,
            valid_seconds: 30 * 24 * 3600,
        };
        self.issuer
            .token(&self.clock, &token)
            .expect("the development issuer signs")
    }

    /// A request with a credential that holds every scope.
    pub fn request<T>(&self, tenant: &str, subject: &str, message: T) -> tonic::Request<T> {
        self.request_with(&self.token(tenant, subject, "*"), message)
    }

    /// A request with a given token.
    ///
    /// # Panics
    /// When the token is no header value.
    pub fn request_with<T>(&self, token: &str, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let value = MetadataValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// The database of a service of this app.
    ///
    /// # Panics
    /// When the app does not run it.
    pub fn db(&self, service: &str) -> &Db {
        &self
            .running
            .databases
            .iter()
            .find(|(name, _)| *name == service)
            .expect("a service of this app")
            .1
    }

    /// Publishes an event as another service would, with a fresh id. Returns the id.
    pub async fn publish<E: Event>(&self, tenant: &str, key: &str, event: &E) -> Uuid {
        let id = self.clock.new_id();
        self.publish_as(id, tenant, key, event).await;
        id
    }

    /// Publishes an event under a given id.
    ///
    /// # Panics
    /// When it is not stored.
    pub async fn publish_as<E: Event>(&self, id: Uuid, tenant: &str, key: &str, event: &E) {
        self.running
            .bus
            .publish_one(self.outgoing(id, tenant, key, event))
            .await
            .expect("the event is stored");
    }

    /// The message by which another service would publish an event.
    pub fn outgoing<E: Event>(&self, id: Uuid, tenant: &str, key: &str, event: &E) -> Outgoing {
        let subject = self
            .running
            .bus
            .subject(Stream::Events, E::NAME, &self::tenant(tenant), key);
        Outgoing {
            id,
            subject,
            payload: event.encode_to_vec().into(),
            trace: None,
        }
    }

    /// Publishes raw bytes to a subject, headers and all, to play a broken sender or a late redelivery
    /// (`stream_id` is what the stream de-duplicates by, `id` what inboxes know).
    ///
    /// # Panics
    /// When they are not stored.
    pub async fn publish_raw(&self, subject: &str, stream_id: &str, id: Uuid, payload: Vec<u8>) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", stream_id);
        headers.insert(trama_platform::bus::ID_HEADER, id.to_string());
        let jetstream = async_nats::jetstream::new(self.running.bus.client().clone());
        let ack = jetstream
            .publish_with_headers(subject.to_owned(), headers, payload.into())
            .await;
        ack.expect("sent").await.expect("stored");
    }

    /// Delivers an event a second time, past the stream's own de-duplication, as a late redelivery would be.
    pub async fn deliver_again<E: Event>(&self, id: Uuid, tenant: &str, key: &str, event: &E) {
        let subject = self
            .running
            .bus
            .subject(Stream::Events, E::NAME, &self::tenant(tenant), key);
        self.publish_raw(
            &subject,
            &self.clock.new_id().to_string(),
            id,
            event.encode_to_vec(),
        )
        .await;
    }

    /// Waits until every message is worked in, every outbox is empty and no timer is due.
    ///
    /// # Panics
    /// When that takes longer than 30 seconds.
    pub async fn settle(&self) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut quiet = 0;
        while quiet < 2 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the app did not settle in 30 s"
            );
            let fired = self.running.fire_timers().await.expect("timers fire");
            if !fired && self.running.is_quiet().await.expect("the bus answers") {
                quiet += 1;
            } else {
                quiet = 0;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// Moves the clock, fires what became due, and settles.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.settle().await;
    }

    /// Polls a condition until it holds: for work that is neither a message nor a timer (a sender, a fetcher).
    ///
    /// # Panics
    /// When it does not hold within 15 seconds.
    pub async fn eventually<F, Fut>(&self, what: &str, mut condition: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = bool>,
    {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        while !condition().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited 15 s in vain: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the app and starts it again with another configuration, on the same database, streams and clock.
    ///
    /// # Errors
    /// Says why it did not start; nothing is left then, and nothing is removed either.
    ///
    /// # Panics
    /// When a task does not end.
    pub async fn restart(mut self, change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        change(&mut self.config);
        let Self {
            running,
            clock,
            config,
            services,
            yaml,
            ..
        } = self;
        assert!(running.stop().await, "a task did not end");
        let (running, grpc) = Box::pin(start(&services, &config, &clock, &yaml)).await?;
        Ok(Self {
            running,
            clock,
            config,
            services,
            yaml,
            issuer: self.issuer,
            grpc,
            database: self.database,
            admin_url: self.admin_url,
            folder: self.folder,
        })
    }

    /// Whether it would start with another configuration; if not, why.
    ///
    /// # Errors
    /// Says why it did not start.
    pub async fn try_beside(&self, change: impl FnOnce(&mut Config)) -> anyhow::Result<()> {
        let mut config = self.config.clone();
        change(&mut config);
        let (running, _) = Box::pin(start(&self.services, &config, &self.clock, &self.yaml)).await?;
        running.stop().await;
        Ok(())
    }

    /// Stops the app and removes its database, streams and folder.
    ///
    /// # Panics
    /// When a task does not end.
    pub async fn stop(self) {
        let jetstream = async_nats::jetstream::new(self.running.bus.client().clone());
        let names =
            [Stream::Ingress, Stream::Events, Stream::DeadLetters].map(|s| self.running.bus.stream_name(s));
        assert!(self.running.stop().await, "a task did not end");
        for name in names {
            let _ = jetstream.delete_stream(name).await;
        }
        if let Ok(mut admin) = PgConnection::connect(&self.admin_url).await {
            let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {}", self.database));
            let _ = sqlx::query(drop).execute(&mut admin).await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Builder {
    /// Resources in force, as YAML documents.
    #[must_use]
    pub fn resources(mut self, yaml: &str) -> Self {
        self.yaml = yaml.to_owned();
        self
    }

    /// A secret that resources may name.
    #[must_use]
    pub fn secret(mut self, tenant: &str, name: &str, key: &str, value: &str) -> Self {
        self.secrets
            .push((tenant.into(), name.into(), key.into(), value.into()));
        self
    }

    /// Changes the configuration before the start.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.configure = Box::new(change);
        self
    }

    /// Runs on the machine's clock, for tests against other programs that have one.
    #[must_use]
    pub fn with_system_clock(mut self) -> Self {
        self.system_clock = true;
        self
    }

    /// Starts.
    ///
    /// # Panics
    /// When the servers are not there or the app does not start, with words that help.
    pub async fn start(self) -> TestApp {
        match self.try_start().await {
            Ok(app) => app,
            Err(error) => panic!("{error:#}"),
        }
    }

    async fn try_start(self) -> anyhow::Result<TestApp> {
        trama_platform::install_crypto();
        let hint = "is not set: run `make test`, or `scripts/dev with --dir .dev/test --fast -- cargo test`";
        let admin_url =
            std::env::var("TRAMA_DATABASE_URL").with_context(|| format!("TRAMA_DATABASE_URL {hint}"))?;
        let nats_url = std::env::var("TRAMA_NATS_URL").with_context(|| format!("TRAMA_NATS_URL {hint}"))?;
        let name = format!(
            "t{}_{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let clock = if self.system_clock {
            Clock::system()
        } else {
            Clock::manual(start_of_time())
        };
        let unique = clock.new_id().simple().to_string();
        let database = format!("{name}_{}", &unique[20..]);
        let mut admin = PgConnection::connect(&admin_url).await.context("PostgreSQL")?;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&mut admin)
            .await?;

        let folder = std::env::temp_dir().join(format!("trama-test-{database}"));
        let (issuer, trusted) = DevIssuer::open(&folder.join("keys"))?;
        for (tenant, secret, key, value) in &self.secrets {
            let dir = folder.join("secrets").join(tenant).join(secret);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join(key), value)?;
        }
        let mut config = Config::default();
        let Some((server, _)) = admin_url.rsplit_once('/') else {
            bail!("TRAMA_DATABASE_URL has no database name")
        };
        config.database_url = format!("{server}/{database}");
        config.nats_url = nats_url;
        config.bus.prefix = database.clone();
        config.database.api_connections = 4;
        config.database.system_connections = 4;
        config.auth.issuers.push(trusted);
        config.resources.secrets_dir = Some(folder.join("secrets"));
        config.objects.dir = folder.join("objects");
        config
            .outbound
            .allow_addresses
            .push(std::net::IpAddr::from([127, 0, 0, 1]));
        (self.configure)(&mut config);

        let (running, grpc) = Box::pin(start(&self.services, &config, &clock, &self.yaml)).await?;
        Ok(TestApp {
            running,
            clock,
            config,
            services: self.services,
            yaml: self.yaml,
            issuer,
            grpc,
            database,
            admin_url,
            folder,
        })
    }
}

async fn start(
    services: &[Arc<dyn Service>],
    config: &Config,
    clock: &Clock,
    yaml: &str,
) -> anyhow::Result<(Running, Channel)> {
    let options = Options {
        migrate: true,
        clock: Some(clock.clone()),
        resources: Some(trama_platform::resources::ResourceStore::fixed(resources(yaml))),
        ..Options::default()
    };
    let running = trama_platform::start(services, config.clone(), options)
        .await
        .map_err(|e| anyhow::anyhow!(e.detail()))?;
    let grpc = Channel::from_shared(format!("http://{}", running.addresses.grpc))?
        .connect()
        .await?;
    Ok((running, grpc))
}
