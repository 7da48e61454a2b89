//! The one wiring: a service says what it owns, serves and listens to; [`start`] runs one of them or all six.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::migrate::Migrator;
use tonic::service::{Routes, RoutesBuilder};

use crate::{
    Clock, Error, Kind, Origins,
    audit::{Recorder, Trail},
    auth::{Authenticator, Principal},
    bus::{Bus, Stream},
    client::Clients,
    config::Config,
    db::{Db, SchemaState},
    leases,
    lifecycle::Lifecycle,
    limits::{HttpLimits, Limits},
    objects::Objects,
    outbound::Outbound,
    outbox,
    patience::Patience,
    privacy::{self, Holder},
    resources::{self, OpenCluster, ResourceStore, Secrets},
    sealing::{self, Column},
    server::{Addresses, Doors, DoorsTls, Sockets},
    stage::{Loop, Stage},
    statistics,
    timers::{self, TimerHandler},
};

/// A part of the platform that is deployed on its own.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Name, as in `services/`.
    fn name(&self) -> &'static str;
    /// Schema in PostgreSQL.
    fn schema(&self) -> &'static str;
    /// Migrations of that schema.
    fn migrations(&self) -> &'static Migrator;
    /// Its columns whose values are sealed, for whoever wants it.
    fn sealed(&self) -> &'static [Column] {
        &[]
    }
    /// Builds what it serves and listens to.
    async fn build(&self, context: Context) -> Result<Parts, Error>;
}

/// What a service is given.
#[derive(Clone)]
pub struct Context {
    /// The whole configuration; `config.section(name)` is the service's own.
    pub config: Arc<Config>,
    /// Its database.
    pub db: Db,
    /// The bus.
    pub bus: Bus,
    /// Time and ids.
    pub clock: Clock,
    /// Resources in force.
    pub resources: ResourceStore,
    /// Values that resources name.
    pub secrets: Secrets,
    /// Attachments.
    pub objects: Objects,
    /// Calls to the outside.
    pub outbound: Outbound,
    /// Questions to other services.
    pub clients: Clients,
    /// Credentials, for doors that are not gRPC.
    pub authenticator: Authenticator,
    /// Tasks and shutdown.
    pub lifecycle: Lifecycle,
}

/// A task that runs as long as the process: it ends when `lifecycle.stopping()` does.
pub type Task = (&'static str, BoxFuture<'static, Result<(), Error>>);

/// Says when a service has nothing left to do that is neither a message nor a timer, for tests that wait for that.
#[async_trait]
pub trait Quiet: Send + Sync + 'static {
    /// Whether it is so.
    ///
    /// # Errors
    /// When a dependency is away.
    async fn is_quiet(&self) -> Result<bool, Error>;
}

/// What a service serves and listens to.
#[derive(Default)]
pub struct Parts {
    /// gRPC services.
    pub grpc: RoutesBuilder,
    /// HTTP routes; full paths, so that services share a port.
    pub http: axum::Router,
    /// What it listens to.
    pub stages: Vec<Stage>,
    /// Its delayed work.
    pub timers: Option<Arc<dyn TimerHandler>>,
    /// What it holds of people. Its stages that hear of requests work them in by this, among their other events.
    pub privacy: Option<Arc<dyn Holder>>,
    /// Further listeners and loops.
    pub tasks: Vec<Task>,
    /// What must be quiet besides stages, timers and the outbox.
    pub quiet: Vec<Arc<dyn Quiet>>,
}

/// How to start.
#[derive(Default)]
pub struct Options {
    /// Bring schemas up to date first. Without it, a schema that is too old or too new is refused.
    pub migrate: bool,
    /// A clock that tests move.
    pub clock: Option<Clock>,
    /// Resources that tests hold in their hand instead of the configured folder.
    pub resources: Option<ResourceStore>,
    /// How a cluster is opened as the source of resources, in binaries that can.
    pub cluster: Option<OpenCluster>,
    /// Sockets that are bound already, in place of the configured addresses.
    pub sockets: Option<Sockets>,
}

/// A running process.
pub struct Running {
    /// Where its doors are.
    pub addresses: Addresses,
    /// Its tasks.
    pub lifecycle: Lifecycle,
    /// Its databases, by service.
    pub databases: Vec<(&'static str, Db)>,
    /// Its bus.
    pub bus: Bus,
    /// Resources in force.
    pub resources: ResourceStore,
    /// Delayed work, by service.
    timers: Vec<(Db, Arc<dyn TimerHandler>)>,
    /// Durable consumers of this process.
    consumers: Vec<(Stream, String)>,
    quiet: Vec<Arc<dyn Quiet>>,
    holders: Vec<(Db, Arc<dyn Holder>)>,
    objects: Objects,
    drain: Duration,
}

/// Starts services in this process.
///
/// # Errors
/// Says what is missing and how to mend it; nothing is left running.
pub async fn start(
    services: &[Arc<dyn Service>],
    config: Config,
    options: Options,
) -> Result<Running, Error> {
    install_crypto();
    config
        .validate()
        .map_err(|e| Error::new(Kind::Precondition, e.to_string()))?;
    let clock = options.clock.clone().unwrap_or_else(Clock::system);
    let lifecycle = Lifecycle::default();
    // Boxed: it is larger than what callers may hold in their own futures.
    match Box::pin(start_with(services, config, options, clock, &lifecycle)).await {
        Ok(running) => Ok(running),
        Err(error) => {
            lifecycle.stop();
            Err(error)
        }
    }
}

async fn start_with(
    services: &[Arc<dyn Service>],
    config: Config,
    options: Options,
    clock: Clock,
    lifecycle: &Lifecycle,
) -> Result<Running, Error> {
    let config = Arc::new(config);
    let sockets = match options.sockets {
        Some(sockets) => sockets,
        None => Sockets::bind(&config.listen).await?,
    };
    let addresses = sockets.addresses()?;
    let tls = DoorsTls::open(&config.listen, lifecycle)?;
    let patience = Patience::of_seconds(config.start_wait_seconds);
    let bus = patience
        .for_others(|| Bus::connect(&config.nats_url, &config.bus))
        .await?;
    let outbound = Outbound::new(&config.outbound)?;
    let authenticator =
        Authenticator::start(&config.auth, clock.clone(), outbound.clone(), lifecycle).await?;
    let clients = Clients::new(&config, authenticator.clone(), lifecycle)?;
    let resources = match options.resources {
        Some(resources) => resources,
        None => {
            let source = resources::source(&config.resources, options.cluster, &clock, lifecycle).await?;
            ResourceStore::start(source, lifecycle)?
        }
    };
    let objects = patience.for_others(|| Objects::open(&config.objects)).await?;
    let secrets = Secrets::new(config.resources.secrets_dir.clone(), clock.clone());

    let mut databases = Vec::new();
    for service in services {
        let db = patience
            .for_others(|| {
                Db::connect(
                    &config,
                    service.schema(),
                    service.sealed(),
                    bus.clone(),
                    clock.clone(),
                )
            })
            .await?;
        prepare(&db, service.as_ref(), options.migrate, patience).await?;
        db.vault().check(&db).await?;
        databases.push((service.name(), db));
    }

    let mut consumers = Vec::new();
    let mut routes = axum::Router::new();
    let mut http = axum::Router::new();
    let mut all_timers = Vec::new();
    let mut loops = Vec::new();
    let mut quiet = Vec::new();
    let mut holders = Vec::new();
    for (service, (name, db)) in services.iter().zip(&databases) {
        let context = Context {
            config: Arc::clone(&config),
            db: db.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            resources: resources.clone(),
            secrets: secrets.clone(),
            objects: objects.clone(),
            outbound: outbound.clone(),
            clients: clients.clone(),
            authenticator: authenticator.clone(),
            lifecycle: lifecycle.clone(),
        };
        let parts = service.build(context).await?;
        sealing::start(db, lifecycle);
        tracing::debug!(service = name, "built");
        // Each brings its own "unimplemented"; the whole has one.
        routes = routes.merge(parts.grpc.routes().into_axum_router().reset_fallback());
        http = http.merge(parts.http);
        if let Some(handler) = parts.timers {
            all_timers.push((db.clone(), handler));
        }
        quiet.extend(parts.quiet);
        for (task, future) in parts.tasks {
            lifecycle.spawn(task, future);
        }
        if let Some(holder) = &parts.privacy {
            privacy::start_worker(name, db, &objects, holder, lifecycle);
            privacy::start_retention(db, &objects, &resources, holder, lifecycle);
            holders.push((db.clone(), Arc::clone(holder)));
        }
        loops.push((db.clone(), parts.stages, parts.privacy));
    }

    let routes = Routes::from(routes.fallback(|| async {
        tonic::Status::unimplemented("no service of this process has such a method")
            .into_http::<axum::body::Body>()
    }));
    let (_, any_db) = databases
        .first()
        .ok_or_else(|| Error::new(Kind::Precondition, "no service is to be started"))?;
    let recorder = Recorder::start(any_db, lifecycle);
    quiet.push(Arc::new(recorder.clone()));
    let origins = Origins::new(&config.listen.trusted_proxies);
    let trail = Trail::new(recorder, origins, clock.clone());
    let limits = Limits::new(&config.limits, clock.clone());
    clients.set_local(routes.clone().into_axum_router(), trail.clone(), limits.clone());
    for (db, stages, holder) in loops {
        outbox::start(&db, &config.stage, lifecycle);
        statistics::start(&db, lifecycle);
        if stages.is_empty() {
            continue;
        }
        let held = leases::start(&db, &bus, lifecycle);
        for stage in stages {
            let durables = (0..bus.partitions()).map(|p| (stage.stream, format!("{}-{p}", stage.name)));
            consumers.extend(durables);
            let a_loop = Loop {
                stage,
                db: db.clone(),
                bus: bus.clone(),
                config: config.stage.clone(),
                holder: holder.clone(),
            };
            a_loop.start(lifecycle, &held);
        }
    }
    for (db, handler) in &all_timers {
        timers::start(db, Arc::clone(handler), lifecycle);
    }
    let doors = Doors {
        routes,
        http,
        authenticator,
        trail,
        limits: HttpLimits {
            limits,
            resources: resources.clone(),
        },
        tls,
        cors_origins: config.listen.cors_origins.clone(),
        databases: databases.iter().map(|(_, db)| db.clone()).collect(),
    };
    sockets.serve(doors, lifecycle)?;
    Ok(Running {
        addresses,
        lifecycle: lifecycle.clone(),
        databases,
        bus,
        resources,
        timers: all_timers,
        consumers,
        quiet,
        holders,
        objects,
        drain: Duration::from_secs(config.drain_seconds),
    })
}

/// Brings a schema up to date, or refuses one that is not.
async fn prepare(db: &Db, service: &dyn Service, migrate: bool, patience: Patience) -> Result<(), Error> {
    if migrate && db.schema_state(service.migrations()).await? != SchemaState::Ahead {
        return db.migrate(service.migrations()).await;
    }
    let mut state = db.schema_state(service.migrations()).await?;
    // Whoever migrates may still be at it.
    while state == SchemaState::Behind && patience.lasts() {
        tracing::info!(schema = db.schema(), "waiting for the schema");
        patience.pause().await;
        state = db.schema_state(service.migrations()).await?;
    }
    match state {
        SchemaState::Current => Ok(()),
        SchemaState::Behind => Err(Error::new(
            Kind::Precondition,
            format!(
                "schema `{}` is older than this binary: run `trama migrate`",
                db.schema()
            ),
        )),
        SchemaState::Ahead => Err(Error::new(
            Kind::Precondition,
            format!(
                "schema `{}` is newer than this binary: start a newer one",
                db.schema()
            ),
        )),
    }
}

impl Running {
    /// Unready → drain → stop. `false` when something did not end in time.
    pub async fn stop(self) -> bool {
        self.lifecycle.begin_drain();
        tokio::time::sleep(self.drain).await;
        self.lifecycle.stop();
        let in_time = self.lifecycle.finished(Duration::from_secs(30)).await;
        for (_, db) in &self.databases {
            db.close().await;
        }
        in_time
    }

    /// Fires what is due now in every service, for whoever moves the clock. Returns whether there was anything.
    ///
    /// # Errors
    /// When a dependency is away.
    pub async fn fire_timers(&self) -> Result<bool, Error> {
        let mut busy = false;
        for (db, handler) in &self.timers {
            busy |= timers::fire_due(db, handler.as_ref()).await? > 0;
        }
        Ok(busy)
    }

    /// Deletes what is older than the tenants' policies allow, in every service, without waiting for the next round.
    ///
    /// # Errors
    /// When a dependency is away.
    pub async fn expire(&self) -> Result<u64, Error> {
        let mut gone = 0;
        for (db, holder) in &self.holders {
            gone += privacy::expire(db, &self.objects, &self.resources, holder).await?;
        }
        Ok(gone)
    }

    /// Seals what is still clear, in every service, without waiting for the next round. Returns how many values.
    ///
    /// # Errors
    /// When a dependency is away.
    pub async fn seal_old(&self) -> Result<u64, Error> {
        let mut sealed = 0;
        for (db, _) in &self.holders {
            sealed += sealing::seal_old(db).await?;
        }
        Ok(sealed)
    }

    /// Whether every message is worked in, every outbox is empty, and services have nothing else to do.
    ///
    /// # Errors
    /// When a dependency is away.
    pub async fn is_quiet(&self) -> Result<bool, Error> {
        for (_, db) in &self.databases {
            if outbox::remaining(db).await? > 0 {
                return Ok(false);
            }
        }
        for (stream, durable) in &self.consumers {
            if self.bus.backlog(*stream, durable).await? != Some(0) {
                return Ok(false);
            }
        }
        for part in &self.quiet {
            if !part.is_quiet().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// One TLS provider for the whole process; two in the graph would panic at the first handshake.
pub fn install_crypto() {
    // A second call finds it in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The caller of a gRPC method, put there by the auth layer.
///
/// # Errors
/// Never behind the layer; `Unauthenticated` otherwise.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<&Principal, tonic::Status> {
    request
        .extensions()
        .get::<Principal>()
        .ok_or_else(|| tonic::Status::unauthenticated("no principal"))
}
