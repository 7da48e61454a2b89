//! The PostgreSQL and NATS that `make bench` started, and places of our own on them.

use anyhow::Context as _;
use async_nats::jetstream;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use trama_platform::Clock;

/// Where the servers are.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// `postgres://…`.
    pub database_url: String,
    /// `nats://…`.
    pub nats_url: String,
    /// PostgreSQL as its administrator.
    pub admin_url: String,
}

impl Servers {
    /// From the environment that `scripts/dev with` makes.
    pub fn from_env() -> anyhow::Result<Self> {
        let read = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set; start with `make bench`"))
        };
        Ok(Self {
            database_url: read("TRAMA_DATABASE_URL")?,
            nats_url: read("TRAMA_NATS_URL")?,
            admin_url: read("TRAMA_DATABASE_ADMIN_URL")?,
        })
    }

    /// A connection to NATS, with the settings of the platform's own.
    pub async fn nats(&self) -> anyhow::Result<async_nats::Client> {
        let options = async_nats::ConnectOptions::new()
            .name("trama-bench")
            .client_capacity(8192);
        options.connect(&self.nats_url).await.context("NATS")
    }

    /// Makes of a database that was filled a minute ago one that has been in use for a day: what PostgreSQL holds back is
    /// written, or whoever is measured next writes it; and indexes are in its memory, to which building them does not bring
    /// them.
    pub async fn settle(&self, database: &str, schema: &str) -> anyhow::Result<()> {
        let options: PgConnectOptions = self.admin_url.parse()?;
        let mut admin = PgConnection::connect_with(&options.database(database))
            .await
            .context("PostgreSQL")?;
        sqlx::query("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
            .execute(&mut admin)
            .await?;
        sqlx::query("CHECKPOINT").execute(&mut admin).await?;
        sqlx::query(
            "SELECT pg_prewarm(c.oid) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
             WHERE c.relnamespace = $1::regnamespace ORDER BY pg_relation_size(c.oid) DESC",
        )
        .bind(schema)
        .fetch_all(&mut admin)
        .await?;
        admin.close().await?;
        Ok(())
    }

    /// Versions of PostgreSQL and NATS.
    pub async fn versions(&self) -> anyhow::Result<(String, String)> {
        let mut connection = PgConnection::connect(&self.database_url)
            .await
            .context("PostgreSQL")?;
        let postgres: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok((postgres, self.nats().await?.server_info().version))
    }

    /// A fresh database.
    pub async fn database(&self) -> anyhow::Result<Database> {
        let mut admin = PgConnection::connect(&self.database_url)
            .await
            .context("PostgreSQL")?;
        let name = fresh_name();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut admin)
            .await?;
        Ok(Database {
            name,
            admin,
            options: self.database_url.parse()?,
        })
    }
}

/// A name that no other run has.
pub fn fresh_name() -> String {
    let id = Clock::system().new_id().simple().to_string();
    format!("bench_{}", &id[20..])
}

/// A database of this run.
pub struct Database {
    name: String,
    admin: PgConnection,
    options: PgConnectOptions,
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection whose names are looked up in a schema.
    pub async fn connect(&self, schema: &str) -> anyhow::Result<PgConnection> {
        let options = self
            .options
            .clone()
            .database(&self.name)
            .options([("search_path", schema)]);
        Ok(options.connect().await?)
    }

    /// Removes it.
    pub async fn drop(mut self) -> anyhow::Result<()> {
        let drop = AssertSqlSafe(format!("DROP DATABASE IF EXISTS {}", self.name));
        sqlx::query(drop).execute(&mut self.admin).await?;
        Ok(())
    }
}

/// A stream with the settings of the platform's own.
pub async fn stream(context: &jetstream::Context, name: &str, subjects: &str) -> anyhow::Result<()> {
    let config = jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects.to_owned()],
        storage: jetstream::stream::StorageType::File,
        duplicate_window: std::time::Duration::from_secs(120),
        allow_direct: true,
        ..Default::default()
    };
    context.create_stream(config).await?;
    Ok(())
}

/// Reads what a stream will hold from now on, without acknowledging.
pub async fn reader(
    context: &jetstream::Context,
    stream: &str,
    subjects: Vec<String>,
) -> anyhow::Result<jetstream::consumer::pull::Stream> {
    let config = jetstream::consumer::pull::Config {
        deliver_policy: jetstream::consumer::DeliverPolicy::New,
        ack_policy: jetstream::consumer::AckPolicy::None,
        filter_subjects: subjects,
        inactive_threshold: std::time::Duration::from_secs(60),
        ..Default::default()
    };
    let consumer = context.create_consumer_on_stream(config, stream).await?;
    Ok(consumer.stream().max_messages_per_batch(500).messages().await?)
}
