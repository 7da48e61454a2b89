//! `trama routing engine`, `trama routing simulate` and `trama routing generate`

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use trama_proto::resources::MatchingSpec;
use trama_routing::{
    domain::matcher_policy,
    matcher::Policy,
    simulation::{
        Router,
        baselines::Baseline,
        engine::{self, BenchEngine},
        generator::{self, DayParams},
        kpi, live,
        trace::{RosterChange, Trace},
    },
};

/// Try the router: on recorded or generated days, or behind another simulator.
#[derive(Subcommand)]
pub enum RoutingCommand {
    /// Be an engine under test: JSON lines on standard input, answers on standard output.
    Engine {
        #[command(flatten)]
        policy: PolicyFile,
    },
    /// Live a day and print how it went.
    Simulate {
        /// Folder with agents.csv, presence.csv, arrivals.csv and world.json.
        trace: PathBuf,
        #[command(flatten)]
        policy: PolicyFile,
        /// Let another policy do it: fifo, asterisk_weights, taskrouter, taskrouter_int, edf or sla_slack.
        #[arg(long, value_parser = baseline, conflicts_with = "policy")]
        baseline: Option<Baseline>,
        /// What if so many more or fewer agents came: `-5`, `+5`, or in one team `team:+5`; may be repeated.
        #[arg(long, value_name = "CHANGE", allow_hyphen_values = true)]
        agents: Vec<RosterChange>,
        /// Write the figures as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Write what became of each item as CSV.
        #[arg(long)]
        log: Option<PathBuf>,
    },
    /// Draw a day.
    Generate {
        /// What the day is like (JSON; see bench/routing/day.json).
        params: PathBuf,
        /// Folder to write it to.
        trace: PathBuf,
        /// Draw another day of the same kind.
        #[arg(long)]
        seed: Option<u64>,
    },
}

/// How the engine ranks, reserves and chooses.
#[derive(Args)]
pub struct PolicyFile {
    /// `spec.matching` of a RoutingPolicy (YAML); the engine's own defaults when it is not given. The units, limits
    /// and timeouts of channels are the simulated world's.
    #[arg(long)]
    policy: Option<PathBuf>,
}

impl PolicyFile {
    fn read(&self) -> anyhow::Result<Policy> {
        let Some(file) = &self.policy else {
            return Ok(Policy::default());
        };
        let text = read(file)?;
        let name = file.display().to_string();
        // By way of JSON, as resources are read: enums are written `squareRoot: {…}`, not with YAML tags.
        let value: serde_json::Value = serde_norway::from_str(&text).with_context(|| name.clone())?;
        let spec: MatchingSpec = serde_json::from_value(value).with_context(|| name.clone())?;
        Ok(matcher_policy(&name, &spec))
    }
}

fn baseline(name: &str) -> Result<Baseline, String> {
    let names = || Baseline::ALL.map(Baseline::name).join(", ");
    (Baseline::ALL.into_iter().find(|baseline| baseline.name() == name))
        .ok_or_else(|| format!("not one of {}", names()))
}

impl RoutingCommand {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Engine { policy } => {
                engine::serve(policy.read()?, std::io::stdin().lock(), std::io::stdout().lock())?;
            }
            Self::Simulate {
                trace,
                policy,
                baseline,
                agents,
                json,
                log,
            } => {
                let mut day = Trace::read(&trace)?;
                for change in &agents {
                    day = day.with_roster(change)?;
                }
                let (name, mut router): (_, Box<dyn Router>) = match baseline {
                    Some(baseline) => (baseline.name(), baseline.router()),
                    None => ("trama", Box::new(BenchEngine::new(policy.read()?))),
                };
                simulate(
                    &day,
                    &mut *router,
                    &format!("{name} on {}", trace.display()),
                    json,
                    log,
                )?;
            }
            Self::Generate { params, trace, seed } => {
                let text = read(&params)?;
                let mut day = DayParams::parse(&text).with_context(|| params.display().to_string())?;
                day.seed = seed.unwrap_or(day.seed);
                generator::generate(&day).write(&trace)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn simulate(
    day: &Trace,
    router: &mut dyn Router,
    title: &str,
    json: Option<PathBuf>,
    log: Option<PathBuf>,
) -> anyhow::Result<()> {
    let world = live(day, router).map_err(|problem| anyhow!(problem))?;
    let figures = kpi::kpi(&world);
    print!("{}", kpi::show(&figures, title));
    let perf = &figures.perf;
    println!(
        "perf: {} events, {} decisions, {} s in the router, {} us a decision, at most {} ms",
        perf.events, perf.decisions, perf.policy_cpu_s, perf.mean_us, perf.max_ms
    );
    if let Some(file) = json {
        write(&file, &(serde_json::to_string_pretty(&figures)? + "\n"))?;
    }
    if let Some(file) = log {
        write(&file, &kpi::log(&world))?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| file.display().to_string())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| file.display().to_string())
}
