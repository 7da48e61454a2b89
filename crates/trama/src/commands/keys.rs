//! `trama keys`

use std::process::ExitCode;

use clap::Subcommand;
use trama_platform::{Clock, Db, bus::Bus};

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
}

impl KeysCommand {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        let (configured, rewrap) = match self {
            Self::List { configured } => (configured, false),
            Self::Rewrap { configured } => (configured, true),
        };
        let config = configured.load()?;
        if rewrap && config.sealing.key.is_empty() {
            anyhow::bail!("sealing.key names no key: set TRAMA_SEALING__KEY and TRAMA_SEALING__KEYS_DIR");
        }
        let bus = Bus::connect(&config.nats_url, &config.bus)
            .await
            .map_err(detail)?;
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(["schema", "key", "data keys"]);
        let mut rewrapped = 0;
        for service in services::all() {
            let db = Db::connect(&config, service.schema(), bus.clone(), Clock::system())
                .await
                .map_err(detail)?;
            if rewrap {
                rewrapped += db.rewrap_data_keys().await.map_err(detail)?;
            }
            for (key, count) in db.data_keys().await.map_err(detail)? {
                let mark = if key == config.sealing.key {
                    " (in use)"
                } else {
                    ""
                };
                table.add_row([
                    service.schema().to_owned(),
                    format!("{key}{mark}"),
                    count.to_string(),
                ]);
            }
        }
        println!("{table}");
        if rewrap {
            println!("{rewrapped} data keys wrapped anew");
        }
        Ok(ExitCode::SUCCESS)
    }
}
