//! PostgreSQL: a schema per service, transactions that know their tenant and carry their outbox.

mod tx;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{
    PgConnection, PgPool, Postgres,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Notify;
use trama_proto::ids::TenantId;
use uuid::Uuid;

pub use tx::{Command, Publishing, Tx};
pub(crate) use tx::{PAYLOAD, RESPONSE};

use crate::{
    Clock, Error,
    bus::{Bus, Outgoing},
    config::Config,
    failpoint,
    sealing::{Column, Vault},
};

static RUNTIME: Migrator = sqlx::migrate!("./migrations");

/// A service's database: its own schema, seen through pools.
#[derive(Clone)]
pub struct Db {
    api: PgPool,
    system: PgPool,
    /// For all tenants, each statement planned once; opened when first asked for.
    single: PgPool,
    shared: Arc<Shared>,
}

struct Shared {
    schema: &'static str,
    sealed: &'static [Column],
    options: PgConnectOptions,
    bus: Bus,
    clock: Clock,
    /// Outbox rows that are on the bus and may be deleted.
    published: Mutex<Vec<Uuid>>,
    timer_armed: Notify,
    privacy_work: Notify,
    vault: Arc<Vault>,
    /// When the timer loop will look next, in microseconds; only what is due earlier needs to wake it.
    next_due: std::sync::atomic::AtomicI64,
}

/// Whether the schema is as this binary wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// As wanted.
    Current,
    /// Older: migrate first.
    Behind,
    /// Newer: this binary is too old.
    Ahead,
}

/// Plans do not depend on how long the arrays of a statement are; PostgreSQL thinks they do, and spends more on plans than on
/// work.
const PLAN_ONCE: &str = "SET LOCAL plan_cache_mode = force_generic_plan";
/// Connections at most for statements that are a transaction each. Whoever works in a loop keeps one: no more than so many may.
const SINGLE: u32 = 4;

impl Db {
    /// Connects to a service's schema, in which the columns `sealed` are sealed for whoever wants it.
    ///
    /// # Errors
    /// When the URL is wrong or the database away.
    pub async fn connect(
        config: &Config,
        schema: &'static str,
        sealed: &'static [Column],
        bus: Bus,
        clock: Clock,
    ) -> Result<Self, Error> {
        let options: PgConnectOptions = config.database_url.parse::<PgConnectOptions>()?;
        let options = options
            .application_name(&format!("trama-{schema}"))
            // A process that was stopped in the middle must not keep others from the rows it has locked.
            .options([
                ("search_path", schema),
                ("idle_in_transaction_session_timeout", "10s"),
            ]);
        let pool = |connections: u32| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_millis(config.database.acquire_timeout_ms))
                .test_before_acquire(false)
        };
        let api = pool(config.database.api_connections).connect_lazy_with(options.clone());
        let system = pool(config.database.system_connections)
            .connect_with(options.clone().options([("trama.tenant", "*")]))
            .await
            .map_err(|e| Error::unavailable("PostgreSQL", e))?;
        let for_all = [("trama.tenant", "*"), ("plan_cache_mode", "force_generic_plan")];
        let single = pool(SINGLE).connect_lazy_with(options.clone().options(for_all));
        let shared = Shared {
            schema,
            sealed,
            options,
            bus,
            clock,
            published: Mutex::default(),
            timer_armed: Notify::new(),
            privacy_work: Notify::new(),
            vault: Arc::new(Vault::new(schema, &config.sealing)),
            next_due: std::sync::atomic::AtomicI64::new(i64::MAX),
        };
        Ok(Self {
            api,
            system,
            single,
            shared: Arc::new(shared),
        })
    }

    /// Brings the schema up to date; several replicas may try at once.
    ///
    /// # Errors
    /// When a migration fails; the schema is as before it.
    pub async fn migrate(&self, service: &Migrator) -> Result<(), Error> {
        let schema = self.shared.schema;
        let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        let mut connection = self.system.acquire().await?;
        // Two replicas that create the same schema at once would trip over each other.
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 7))")
            .bind(schema)
            .execute(&mut *connection)
            .await?;
        let result = async {
            sqlx::query(create).execute(&mut *connection).await?;
            runtime_migrator()
                .run(&mut *connection)
                .await
                .map_err(|e| Error::internal(format!("migrating {schema}: {e}")))?;
            service
                .run(&mut *connection)
                .await
                .map_err(|e| Error::internal(format!("migrating {schema}: {e}")))
        }
        .await;
        sqlx::query("SELECT pg_advisory_unlock(hashtextextended($1, 7))")
            .bind(schema)
            .execute(&mut *connection)
            .await?;
        result
    }

    /// Compares the schema with what this binary carries.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn schema_state(&self, service: &Migrator) -> Result<SchemaState, Error> {
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM unnest(ARRAY['_sqlx_migrations', '_platform_migrations']) AS t WHERE to_regclass(t) IS NOT NULL",
        )
        .fetch_one(&self.system)
        .await?;
        if tables < 2 {
            return Ok(SchemaState::Behind);
        }
        let (service_has, runtime_has): (Option<i64>, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT max(version) FROM _sqlx_migrations WHERE success),
                    (SELECT max(version) FROM _platform_migrations WHERE success)",
        )
        .fetch_one(&self.system)
        .await?;
        let compared = [
            service_has.cmp(&service.iter().map(|m| m.version).max()),
            runtime_has.cmp(&RUNTIME.iter().map(|m| m.version).max()),
        ];
        Ok(if compared.contains(&std::cmp::Ordering::Greater) {
            SchemaState::Ahead
        } else if compared.contains(&std::cmp::Ordering::Less) {
            SchemaState::Behind
        } else {
            SchemaState::Current
        })
    }

    /// A transaction for one tenant's request: row-level security hides every other tenant.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tx(&self, tenant: &TenantId) -> Result<Tx, Error> {
        self.begin(tenant, "").await
    }

    /// The same for statements that work on arrays by the key: each is planned once for a connection, as after
    /// [`Tx::plan_once`]. The transaction begins with `locks`, statements whose results nobody needs, in the same round trip;
    /// they know the tenant as `current_setting('trama.tenant')`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn batch_tx(&self, tenant: &TenantId, locks: &'static str) -> Result<Tx, Error> {
        self.begin(tenant, &format!("{PLAN_ONCE}; {locks}")).await
    }

    async fn begin(&self, tenant: &TenantId, first: &str) -> Result<Tx, Error> {
        // One round trip. The name of a tenant needs no quoting: it is made of a-z, 0-9 and hyphens, or is none.
        let begin = format!("BEGIN; SET LOCAL trama.tenant = '{tenant}'; {first}");
        let inner = self.api.begin_with(sqlx::AssertSqlSafe(begin)).await?;
        Ok(Tx::new(self, inner, crate::telemetry::current_trace()))
    }

    /// A transaction that works for all tenants: stages, timers, sweepers.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn system_tx(&self) -> Result<Tx, Error> {
        Ok(Tx::new(self, self.system.begin().await?, None))
    }

    /// For statements that are a transaction each, one after the other: see [`Single`].
    pub const fn single(&self) -> Single<'_> {
        Single {
            pool: &self.single,
            connection: None,
        }
    }

    /// Options of a connection outside the pools: partition locks, notifications.
    pub(crate) fn dedicated(&self) -> PgConnectOptions {
        self.shared.options.clone()
    }

    /// The schema's name.
    pub fn schema(&self) -> &'static str {
        self.shared.schema
    }

    /// The service's columns whose values are sealed, for whoever wants it.
    pub(crate) fn sealed(&self) -> &'static [Column] {
        self.shared.sealed
    }

    /// The bus that commits publish to.
    pub fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// The clock that transactions read.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The keys of sealed texts.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.shared.vault)
    }

    /// The timer loop looks at this moment again; `None` while it does not know yet.
    pub(crate) fn timers_look_at(&self, next: Option<DateTime<Utc>>) {
        let micros = next.map_or(i64::MAX, |at| at.timestamp_micros());
        self.shared
            .next_due
            .store(micros, std::sync::atomic::Ordering::SeqCst);
    }

    fn timer_armed_for(&self, due_at: DateTime<Utc>) {
        if due_at.timestamp_micros() < self.shared.next_due.load(std::sync::atomic::Ordering::SeqCst) {
            self.shared.timer_armed.notify_one();
        }
    }

    pub(crate) fn timer_armed(&self) -> &Notify {
        &self.shared.timer_armed
    }

    /// Wakes who answers requests of privacy.
    pub(crate) fn privacy_work(&self) -> &Notify {
        &self.shared.privacy_work
    }

    /// Publishes committed rows from memory; what fails stays for the sweeper.
    pub(crate) async fn publish_committed(&self, outgoing: Vec<Outgoing>) {
        if outgoing.is_empty() {
            return;
        }
        failpoint::hit("outbox.before_publish");
        let results = self.shared.bus.publish(&outgoing).await;
        let mut done = Vec::with_capacity(outgoing.len());
        let mut failures = 0_usize;
        for (message, result) in outgoing.iter().zip(results) {
            match result {
                Ok(()) => done.push(message.id),
                Err(_) => failures += 1,
            }
        }
        if failures > 0 {
            tracing::warn!(
                failures,
                schema = self.shared.schema,
                "publishing failed; the sweeper will try again"
            );
        }
        failpoint::hit("outbox.after_publish");
        self.shared
            .published
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(done);
    }

    /// Outbox rows that may be deleted now.
    pub(crate) fn take_published(&self) -> Vec<Uuid> {
        std::mem::take(
            &mut *self
                .shared
                .published
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn give_back_published(&self, ids: Vec<Uuid>) {
        self.shared
            .published
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(ids);
    }

    /// Says goodbye to the server instead of leaving it to notice.
    pub(crate) async fn close(&self) {
        let all = futures::future::join3(self.api.close(), self.system.close(), self.single.close());
        if tokio::time::timeout(Duration::from_secs(5), all).await.is_err() {
            tracing::warn!(
                schema = self.shared.schema,
                "a connection was still in use at the end"
            );
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.system).await?;
        Ok(())
    }
}

/// A connection on which each statement is a transaction of its own, in one round trip instead of three. It sees all tenants:
/// statements say whose data they mean. They are planned once, as after [`Tx::plan_once`].
///
/// Whoever works in a loop keeps it: what goes back to the pool costs a round trip more, with which the pool looks whether it still works.
pub struct Single<'a> {
    pool: &'a PgPool,
    connection: Option<PoolConnection<Postgres>>,
}

impl Single<'_> {
    /// The connection, opened when it is first asked for.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn conn(&mut self) -> Result<&mut PgConnection, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok(&mut **self.connection.insert(connection))
    }

    /// Takes another one from now on: something went wrong on this.
    pub fn renew(&mut self) {
        self.connection = None;
    }
}

fn runtime_migrator() -> Migrator {
    let mut migrator = Migrator::with_migrations(RUNTIME.iter().cloned().collect());
    migrator.dangerous_set_table_name("_platform_migrations");
    migrator
}
