//! PostgreSQL: a schema per service, transactions that know their tenant and carry their outbox.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Notify;
use trama_proto::{events::Event, ids::TenantId};
use uuid::Uuid;

use crate::{
    Clock, Error, Kind,
    bus::{Bus, Outgoing, Stream},
    config::Config,
    failpoint,
    stage::Envelope,
    timers::TimerSpec,
};

static RUNTIME: Migrator = sqlx::migrate!("./migrations");

/// A service's database: its own schema, seen through two pools.
#[derive(Clone)]
pub struct Db {
    api: PgPool,
    system: PgPool,
    shared: Arc<Shared>,
}

struct Shared {
    schema: &'static str,
    options: PgConnectOptions,
    bus: Bus,
    clock: Clock,
    /// Outbox rows that are on the bus and may be deleted.
    published: Mutex<Vec<Uuid>>,
    timer_armed: Notify,
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

impl Db {
    /// Connects to a service's schema.
    ///
    /// # Errors
    /// When the URL is wrong or the database away.
    pub async fn connect(
        config: &Config,
        schema: &'static str,
        bus: Bus,
        clock: Clock,
    ) -> Result<Self, Error> {
        let options: PgConnectOptions = config.database_url.parse::<PgConnectOptions>()?;
        let options = options
            .application_name(&format!("trama-{schema}"))
            .options([("search_path", schema)]);
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
        let shared = Shared {
            schema,
            options,
            bus,
            clock,
            published: Mutex::default(),
            timer_armed: Notify::new(),
        };
        Ok(Self {
            api,
            system,
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
        let mut inner = self.api.begin().await?;
        sqlx::query("SELECT set_config('trama.tenant', $1, true)")
            .bind(tenant.as_str())
            .execute(&mut *inner)
            .await?;
        Ok(self.wrap(inner, crate::telemetry::current_trace()))
    }

    /// A transaction that works for all tenants: stages, timers, sweepers.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn system_tx(&self) -> Result<Tx, Error> {
        Ok(self.wrap(self.system.begin().await?, None))
    }

    fn wrap(&self, inner: Transaction<'static, Postgres>, trace: Option<String>) -> Tx {
        Tx {
            inner,
            db: self.clone(),
            now: self.shared.clock.now(),
            outgoing: Vec::new(),
            timers: Vec::new(),
            disarmed: Vec::new(),
            trace,
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

    /// The bus that commits publish to.
    pub fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// The clock that transactions read.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn timer_armed(&self) -> &Notify {
        &self.shared.timer_armed
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

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.system).await?;
        Ok(())
    }
}

fn runtime_migrator() -> Migrator {
    let mut migrator = Migrator::with_migrations(RUNTIME.iter().cloned().collect());
    migrator.dangerous_set_table_name("_platform_migrations");
    migrator
}

/// A transaction with what it will publish and when it wants to be woken.
///
/// Dropped without [`Tx::commit`], nothing of it happened.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    db: Db,
    now: DateTime<Utc>,
    outgoing: Vec<Outgoing>,
    timers: Vec<TimerSpec>,
    disarmed: Vec<(TenantId, &'static str, String)>,
    trace: Option<String>,
}

impl Tx {
    /// The connection, for the service's store.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// One moment for the whole transaction.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// A fresh id.
    pub fn new_id(&self) -> Uuid {
        self.db.shared.clock.new_id()
    }

    /// What is published from here on belongs to the trace of this message.
    pub fn follow(&mut self, cause: &Envelope) {
        self.trace.clone_from(&cause.trace);
    }

    /// Publishes an event with this transaction: it leaves after the commit, or never.
    pub fn publish<E: Event>(&mut self, tenant: &TenantId, key: &str, event: &E) -> Uuid {
        let id = self.new_id();
        self.publish_as(id, tenant, key, event);
        id
    }

    /// The same with an id derived from the content, so that every inbox knows a repeat.
    pub fn publish_as<E: Event>(&mut self, id: Uuid, tenant: &TenantId, key: &str, event: &E) {
        let subject = self.db.shared.bus.subject(Stream::Events, E::NAME, tenant, key);
        let payload = event.encode_to_vec().into();
        self.outgoing.push(Outgoing {
            id,
            subject,
            payload,
            trace: self.trace.clone(),
        });
    }

    /// Wants to be woken at `due_at`. The same kind and key replaces an earlier one.
    pub fn arm(&mut self, timer: TimerSpec) {
        self.disarmed
            .retain(|(t, k, key)| !(*t == timer.tenant && *k == timer.kind && *key == timer.key));
        self.timers
            .retain(|t| !(t.tenant == timer.tenant && t.kind == timer.kind && t.key == timer.key));
        self.timers.push(timer);
    }

    /// No longer wants to be woken.
    pub fn disarm(&mut self, tenant: &TenantId, kind: &'static str, key: impl Into<String>) {
        let key = key.into();
        self.timers
            .retain(|t| !(t.tenant == *tenant && t.kind == kind && t.key == key));
        self.disarmed.push((tenant.clone(), kind, key));
    }

    /// The answer that a command with this request id got before, if there was one.
    ///
    /// # Errors
    /// When the same request id came with another content.
    pub async fn replay<R: prost::Message + Default>(
        &mut self,
        tenant: &TenantId,
        method: &'static str,
        request_id: &str,
        request: &impl prost::Message,
    ) -> Result<Option<R>, Error> {
        if request_id.is_empty() {
            return Ok(None);
        }
        if request_id.len() > 255 {
            return Err(Error::invalid("request_id", "at most 255 characters"));
        }
        // The lock makes a concurrent repeat wait for the first one's answer.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2 || '/' || $3, 11))")
            .bind(tenant.as_str())
            .bind(method)
            .bind(request_id)
            .execute(&mut *self.inner)
            .await?;
        let row: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT fingerprint, response FROM requests WHERE tenant = $1 AND method = $2 AND request_id = $3",
        )
        .bind(tenant.as_str())
        .bind(method)
        .bind(request_id)
        .fetch_optional(&mut *self.inner)
        .await?;
        match row {
            None => Ok(None),
            Some((seen, _)) if seen != fingerprint(request) => Err(Error::new(
                Kind::Conflict,
                "request_id was used before with another content; take a new one",
            )),
            Some((_, response)) => Ok(Some(R::decode(response.as_slice())?)),
        }
    }

    /// Remembers the answer of a command for [`Tx::replay`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn remember(
        &mut self,
        tenant: &TenantId,
        method: &'static str,
        request_id: &str,
        request: &impl prost::Message,
        response: &impl prost::Message,
    ) -> Result<(), Error> {
        if request_id.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO requests (tenant, method, request_id, fingerprint, response) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(tenant.as_str())
        .bind(method)
        .bind(request_id)
        .bind(fingerprint(request))
        .bind(response.encode_to_vec())
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Commits, then publishes from memory.
    ///
    /// # Errors
    /// When the commit fails; then nothing happened.
    pub async fn commit(self) -> Result<(), Error> {
        let db = self.db.clone();
        let outgoing = self.commit_only().await?;
        db.publish_committed(outgoing).await;
        Ok(())
    }

    /// Commits and hands out what is to be published; the stage loop overlaps that with its next batch.
    pub(crate) async fn commit_only(mut self) -> Result<Vec<Outgoing>, Error> {
        let published = self.db.take_published();
        let result = self.write_runtime_rows(&published).await;
        let result = match result {
            Ok(()) => self.inner.commit().await.map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.db.give_back_published(published);
            return Err(error);
        }
        failpoint::hit("tx.committed");
        if !self.timers.is_empty() {
            self.db.shared.timer_armed.notify_one();
        }
        Ok(self.outgoing)
    }

    async fn write_runtime_rows(&mut self, published: &[Uuid]) -> Result<(), Error> {
        if !self.outgoing.is_empty() || !published.is_empty() {
            let ids: Vec<Uuid> = self.outgoing.iter().map(|o| o.id).collect();
            let subjects: Vec<&str> = self.outgoing.iter().map(|o| o.subject.as_str()).collect();
            let payloads: Vec<&[u8]> = self.outgoing.iter().map(|o| o.payload.as_ref()).collect();
            let traces: Vec<Option<&str>> = self.outgoing.iter().map(|o| o.trace.as_deref()).collect();
            sqlx::query(
                "WITH gone AS (DELETE FROM outbox WHERE id = ANY($5))
                 INSERT INTO outbox (id, subject, payload, headers)
                 SELECT id, subject, payload, CASE WHEN trace IS NULL THEN '{}' ELSE jsonb_build_object('traceparent', trace) END
                 FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[]) AS row (id, subject, payload, trace)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(ids)
            .bind(subjects)
            .bind(payloads)
            .bind(traces)
            .bind(published)
            .execute(&mut *self.inner)
            .await?;
        }
        if !self.disarmed.is_empty() {
            let (tenants, rest): (Vec<_>, Vec<_>) = self
                .disarmed
                .iter()
                .map(|(t, k, key)| (t.as_str(), (*k, key.as_str())))
                .unzip();
            let (kinds, keys): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
            sqlx::query(
                "DELETE FROM timers USING unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, kind, key)
                 WHERE timers.tenant = gone.tenant AND timers.kind = gone.kind AND timers.key = gone.key",
            )
            .bind(tenants)
            .bind(kinds)
            .bind(keys)
            .execute(&mut *self.inner)
            .await?;
        }
        if !self.timers.is_empty() {
            let tenants: Vec<&str> = self.timers.iter().map(|t| t.tenant.as_str()).collect();
            let kinds: Vec<&str> = self.timers.iter().map(|t| t.kind).collect();
            let keys: Vec<&str> = self.timers.iter().map(|t| t.key.as_str()).collect();
            let dues: Vec<DateTime<Utc>> = self.timers.iter().map(|t| t.due_at).collect();
            let payloads: Vec<&serde_json::Value> = self.timers.iter().map(|t| &t.payload).collect();
            sqlx::query(
                "INSERT INTO timers (tenant, kind, key, due_at, payload)
                 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
                 ON CONFLICT (tenant, kind, key) DO UPDATE
                 SET due_at = excluded.due_at, payload = excluded.payload, attempts = 0",
            )
            .bind(tenants)
            .bind(kinds)
            .bind(keys)
            .bind(dues)
            .bind(payloads)
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }
}

fn fingerprint(request: &impl prost::Message) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(request.encode_to_vec()).to_vec()
}
