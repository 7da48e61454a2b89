//! `trama dlq`

use std::process::ExitCode;

use clap::Subcommand;
use trama_platform::{bus::Bus, stage::DeadLetters};

use super::{Configured, detail};

/// Dead letters: what no stage could work in.
#[derive(Subcommand)]
pub enum DlqCommand {
    /// List them, oldest first.
    List {
        #[command(flatten)]
        configured: Configured,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one, payload included (in hex).
    Show {
        /// Its number.
        sequence: u64,
        #[command(flatten)]
        configured: Configured,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send one, or all, back to where they came from.
    Redrive {
        /// Its number.
        #[arg(required_unless_present = "all")]
        sequence: Option<u64>,
        /// Every one of them.
        #[arg(long, conflicts_with = "sequence")]
        all: bool,
        #[command(flatten)]
        configured: Configured,
    },
    /// Remove one for good.
    Drop {
        /// Its number.
        sequence: u64,
        #[command(flatten)]
        configured: Configured,
    },
}

impl DlqCommand {
    pub async fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { configured, json } => {
                let found = letters(&configured).await?.list().await.map_err(detail)?;
                if json {
                    println!("{}", serde_json::to_string(&found)?);
                    return Ok(ExitCode::SUCCESS);
                }
                let mut table = comfy_table::Table::new();
                table.load_style(comfy_table::presets::NOTHING);
                table.set_header(["number", "stage", "attempts", "at", "bytes", "subject", "error"]);
                for l in &found {
                    table.add_row([
                        l.sequence.to_string(),
                        l.stage.clone(),
                        l.attempts.to_string(),
                        l.at.format("%F %T").to_string(),
                        l.size_bytes.to_string(),
                        l.subject.clone(),
                        l.error.clone(),
                    ]);
                }
                println!("{table}\n{} dead letters", found.len());
            }
            Self::Show {
                sequence,
                configured,
                json,
            } => {
                let letter = letters(&configured).await?.get(sequence).await.map_err(detail)?;
                let mut shown = serde_json::to_value(&letter)?;
                shown["payload_hex"] = hex::encode(&letter.payload).into();
                if json {
                    println!("{shown}");
                } else {
                    println!("{}", serde_json::to_string_pretty(&shown)?);
                }
            }
            Self::Redrive {
                sequence,
                all,
                configured,
            } => {
                let letters = letters(&configured).await?;
                let numbers = match sequence {
                    Some(sequence) if !all => vec![sequence],
                    _ => letters
                        .list()
                        .await
                        .map_err(detail)?
                        .iter()
                        .map(|l| l.sequence)
                        .collect(),
                };
                for number in &numbers {
                    let letter = letters.redrive(*number).await.map_err(detail)?;
                    println!("{number} redriven to {}", letter.subject);
                }
                println!("{} redriven", numbers.len());
            }
            Self::Drop { sequence, configured } => {
                letters(&configured)
                    .await?
                    .drop_letter(sequence)
                    .await
                    .map_err(detail)?;
                println!("{sequence} dropped");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn letters(configured: &Configured) -> anyhow::Result<DeadLetters> {
    let config = configured.load()?;
    Ok(DeadLetters::new(
        Bus::connect(&config.nats_url, &config.bus)
            .await
            .map_err(detail)?,
    ))
}
