//! `make bench`: what the platform does on this machine, beside what the machine can do.

mod app;
mod bare;
mod desk;
mod identity;
mod idle;
mod limits;
mod load;
mod machine;
mod pipeline;
mod report;
mod servers;
mod webhook;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use trama_platform::{config::TelemetryConfig, telemetry::Telemetry};

use crate::{identity::Part, machine::Machine, servers::Servers};

// As the platform's own binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Throughput, latency, start and memory, beside the ceilings of the same machine in the same run.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Which benches; all when none is named.
    names: Vec<Bench>,
    /// Seconds that each measurement by time takes.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Webhooks per second when latency is measured.
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Webhooks when throughput is measured.
    #[arg(long, default_value_t = 40_000)]
    messages: u64,
    /// Partitions of our streams; one when it is not given, and four in `identity`, where one stage runs alone. One keeps two cores
    /// busy where every stage runs beside the others, and more of them only make batches smaller.
    #[arg(long)]
    partitions: Option<u32>,
    /// Customers that are known before `identity` resolves anything.
    #[arg(long, default_value_t = 1_000_000)]
    customers: u64,
    /// Handles of others that are there besides, in `identity`: what a lookup costs among many.
    #[arg(long, default_value_t = 0)]
    handles: u64,
    /// Only this part of `identity`: for a profile, or to try something out.
    #[arg(long)]
    only: Option<Part>,
    /// Callers at the same time in `identity`, when it is measured how many can be answered.
    #[arg(long, default_value_t = 512)]
    callers: usize,
    /// Calls a second when latency is measured in `identity`; half of those that can be answered when it is not given.
    #[arg(long)]
    pace: Option<f64>,
    /// Desks of `floor`.
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Requests that wait in `floor`.
    #[arg(long, default_value_t = 100_000)]
    waiting: u64,
    /// What the platform logs, in the syntax of RUST_LOG.
    #[arg(long, default_value = "info,async_nats=warn")]
    log: String,
    /// Be the process that `idle` looks at, with this configuration.
    #[arg(long, hide = true)]
    stay_idle: Option<PathBuf>,
}

impl Arguments {
    /// Partitions where every stage runs.
    fn partitions(&self) -> u32 {
        self.partitions.unwrap_or(1)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.max(0.1))
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The machine's own ceilings.
    Limits,
    /// From a provider's request to our answer.
    Webhook,
    /// From the webhook to the offer.
    Pipeline,
    /// Offer, accept, complete: what agents' desks can do.
    Desk,
    /// The same with ten thousand desks, a hundred thousand requests waiting and fifty skills.
    Floor,
    /// Cold start, and memory of services that nobody calls.
    Idle,
    /// Whose record is this, against many customers.
    Identity,
}

fn main() -> ExitCode {
    trama_platform::install_crypto();
    let arguments = Arguments::parse();
    match trama_platform::block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trama-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    // Spans, log lines and metrics cost what they cost in a deployment.
    let telemetry = TelemetryConfig {
        log_filter: arguments.log.clone(),
        ..TelemetryConfig::default()
    };
    let _telemetry = Telemetry::init(&telemetry, "bench").map_err(|e| anyhow::anyhow!(e.detail()))?;
    if let Some(file) = &arguments.stay_idle {
        return idle::stay_idle(&arguments, file).await;
    }
    let servers = Servers::from_env()?;
    let machine = Machine::look(&servers).await?;
    let names = if arguments.names.is_empty() {
        Bench::value_variants()
    } else {
        &arguments.names
    };
    for bench in names {
        let report = match bench {
            Bench::Limits => limits::run(&arguments, &servers, &machine).await?,
            Bench::Webhook => webhook::run(&arguments, &servers, &machine).await?,
            Bench::Pipeline => pipeline::run(&arguments, &servers, &machine).await?,
            Bench::Desk => desk::run(&arguments, &servers, &machine).await?,
            Bench::Floor => desk::floor::run(&arguments, &servers, &machine).await?,
            Bench::Idle => idle::run(&arguments, &machine).await?,
            Bench::Identity => identity::run(&arguments, &servers, &machine).await?,
        };
        report.print();
        println!("{}", report.write()?.display());
    }
    Ok(())
}
