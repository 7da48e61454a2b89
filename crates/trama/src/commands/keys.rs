//! `trama keys`

use std::process::ExitCode;

use clap::Subcommand;
use comfy_table::Table;
use trama_platform::{Clock, Config, Db, bus::Bus};

use super::{Configured, detail};
use crate::services;

/// Keys of texts that are encrypted in the database.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Show how many data keys each key has wrapped, by schema. A key that has none any more may go.
    List {
        #[command(flatten)]
        configured: Configured,
    },
    /// Wrap all data keys with the key in use (`sealing.key`). The services do it by themselves every quarter of an hour.
    Rewrap {
        #[command(flatten)]
        configured: Configured,
    },
    /// Turn texts back that are encrypted and would not be now: all of them where `sealing.key` is empty, and then the
    /// keys may go; else those of tenants that `sealing.tenants` does not name. After all services run that way.
    Unseal {
        #[command(flatten)]
        configured: Configured,
    },
}

impl KeysCommand {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { configured } => list(&configured.load()?).await,
            Self::Rewrap { configured } => rewrap(&configured.load()?).await,
            Self::Unseal { configured } => unseal(&configured.load()?).await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

async fn list(config: &Config) -> anyhow::Result<()> {
    let mut table = table(["schema", "key", "data keys"]);
    for db in databases(config).await? {
        rows(&mut table, config, &db).await?;
    }
    println!("{table}");
    Ok(())
}

async fn rewrap(config: &Config) -> anyhow::Result<()> {
    if config.sealing.key.is_empty() {
        anyhow::bail!("sealing.key names no key: set TRAMA_SEALING__KEY and TRAMA_SEALING__KEYS_DIR");
    }
    let mut table = table(["schema", "key", "data keys"]);
    let mut rewrapped = 0;
    for db in databases(config).await? {
        rewrapped += db.rewrap_data_keys().await.map_err(detail)?;
        rows(&mut table, config, &db).await?;
    }
    println!("{table}");
    println!("{rewrapped} data keys wrapped anew");
    Ok(())
}

async fn unseal(config: &Config) -> anyhow::Result<()> {
    let mut table = table(["schema", "texts", "data keys deleted"]);
    for db in databases(config).await? {
        let done = db.unseal().await.map_err(detail)?;
        table.add_row([
            db.schema().to_owned(),
            done.texts.to_string(),
            done.keys.to_string(),
        ]);
    }
    println!("{table}");
    if config.sealing.key.is_empty() {
        println!("nothing is sealed any more: sealing.keys_dir may go, from all services");
    }
    Ok(())
}

/// The database of each service.
async fn databases(config: &Config) -> anyhow::Result<Vec<Db>> {
    let bus = Bus::connect(&config.nats_url, &config.bus)
        .await
        .map_err(detail)?;
    let mut databases = Vec::new();
    for service in services::all() {
        let db = Db::connect(
            config,
            service.schema(),
            service.sealed(),
            bus.clone(),
            Clock::system(),
        )
        .await
        .map_err(detail)?;
        databases.push(db);
    }
    Ok(databases)
}

fn table(header: [&str; 3]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    table
}

async fn rows(table: &mut Table, config: &Config, db: &Db) -> anyhow::Result<()> {
    for (key, count) in db.data_keys().await.map_err(detail)? {
        let mark = if key == config.sealing.key {
            " (in use)"
        } else {
            ""
        };
        table.add_row([db.schema().to_owned(), format!("{key}{mark}"), count.to_string()]);
    }
    Ok(())
}
