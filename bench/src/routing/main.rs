//! `make bench-routing`: our router beside others, on many kinds of days, and how long one decision takes.

mod days;
mod decision;
mod table;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Parser;
use trama_proto::resources::MatchingSpec;
use trama_routing::{
    domain::matcher_policy,
    matcher::Policy,
    simulation::{
        Router,
        baselines::Baseline,
        engine::BenchEngine,
        kpi::{self, Kpi},
        live,
        trace::Trace,
    },
};

// As the platform's own binaries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Our router beside others, on many kinds of days, and how long one decision takes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Folders with recorded days; without any, days are drawn (see `--day` and `--days`).
    #[arg(env = "TRAMA_ROUTING_TRACES", value_delimiter = ':')]
    traces: Vec<PathBuf>,
    /// What the usual day is like.
    #[arg(long, default_value = "bench/routing/day.json")]
    day: PathBuf,
    /// The kinds of days: a seed, and what is different from the usual day (JSON merge patch).
    #[arg(long, default_value = "bench/routing/days.json")]
    days: PathBuf,
    /// `spec.matching` of a RoutingPolicy (YAML) for our router instead of its defaults.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Only the days.
    #[arg(long)]
    no_latency: bool,
    /// Only the latency of a decision.
    #[arg(long, conflicts_with = "no_latency")]
    only_latency: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trama-bench-routing: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let policy = policy(arguments)?;
    if !arguments.only_latency {
        let days = if arguments.traces.is_empty() {
            days::draw(&arguments.day, &arguments.days)?
        } else {
            days::read(&arguments.traces)?
        };
        println!("{}", table::of(&compare(&days, &policy)?));
    }
    if !arguments.no_latency {
        println!("{}", decision::measure(&policy));
    }
    Ok(())
}

fn policy(arguments: &Arguments) -> anyhow::Result<Policy> {
    let Some(file) = &arguments.policy else {
        return Ok(Policy::default());
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    // By way of JSON, as resources are read: enums are written `squareRoot: {…}`, not with YAML tags.
    let value: serde_json::Value = serde_norway::from_str(&text).with_context(|| name.clone())?;
    let spec: MatchingSpec = serde_json::from_value(value).with_context(|| name.clone())?;
    Ok(matcher_policy(&name, &spec))
}

/// What one router did on all days.
struct Result {
    router: &'static str,
    days: Vec<(String, Kpi)>,
}

fn compare(days: &[(String, Trace)], policy: &Policy) -> anyhow::Result<Vec<Result>> {
    let mut results = Vec::new();
    for baseline in Baseline::ALL {
        results.push(try_on(baseline.name(), days, || baseline.router())?);
    }
    results.push(try_on("trama", days, || {
        Box::new(BenchEngine::new(policy.clone()))
    })?);
    Ok(results)
}

fn try_on(
    router: &'static str,
    days: &[(String, Trace)],
    make: impl Fn() -> Box<dyn Router>,
) -> anyhow::Result<Result> {
    let mut lived = Vec::new();
    for (name, day) in days {
        eprintln!("{router} on {name}");
        let world =
            live(day, &mut *make()).map_err(|problem| anyhow::anyhow!("{router} on {name}: {problem}"))?;
        lived.push((name.clone(), kpi::kpi(&world)));
    }
    Ok(Result { router, days: lived })
}
