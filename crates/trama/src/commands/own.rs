//! What a story has for itself.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use trama_platform::Config;

/// A database and streams that one story has for itself.
pub struct Own {
    admin_url: String,
    database: String,
    nats_url: String,
    /// Says to other stories that this one is being told.
    held: PgConnection,
}

impl Own {
    pub async fn make(config: &mut Config) -> anyhow::Result<Self> {
        let admin_url = config.database_url.clone();
        let mut admin = PgConnection::connect(&admin_url).await.context("PostgreSQL")?;
        // One at a time: another story must not take ours for a leftover before we are connected to it.
        sqlx::query("SELECT pg_advisory_lock(hashtext('trama-stories'))")
            .execute(&mut admin)
            .await?;
        let stale: Vec<String> = sqlx::query_scalar(
            "SELECT datname FROM pg_database WHERE datname LIKE 'trama\\_story\\_%' AND datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)
             AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datname = pg_database.datname)",
        )
        .fetch_all(&mut admin)
        .await?;
        let database = format!(
            "trama_story_{}",
            &trama_platform::Clock::system().new_id().simple().to_string()[20..]
        );
        for old in stale {
            remove(&admin_url, &config.nats_url, old).await;
        }
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&mut admin)
            .await?;
        let mut url = url::Url::parse(&config.database_url)?;
        url.set_path(&database);
        let held = PgConnection::connect(url.as_str()).await?;
        config.database_url = url.into();
        config.bus.prefix = database.clone();
        Ok(Self {
            admin_url,
            database,
            nats_url: config.nats_url.clone(),
            held,
        })
    }

    pub async fn remove(self) {
        // A database goes when nobody is connected to it.
        let _ = self.held.close().await;
        remove(&self.admin_url, &self.nats_url, self.database).await;
    }
}

/// Removes the database and the streams of a story, as far as they are there.
async fn remove(admin_url: &str, nats_url: &str, database: String) {
    if let Ok(mut admin) = PgConnection::connect(admin_url).await {
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {database}"));
        let _ = sqlx::query(drop).execute(&mut admin).await;
    }
    let bus = trama_platform::config::BusConfig {
        prefix: database,
        ..Default::default()
    };
    let _ = tokio::time::timeout(
        Duration::from_secs(3),
        trama_platform::bus::remove_streams(nats_url, &bus),
    )
    .await;
}
