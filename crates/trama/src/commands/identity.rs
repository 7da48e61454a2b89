//! `trama identity train|eval`: the matching engine on files. It is the engine that the service asks about whoever no handle
//! names: the service decides by handles and their trust first.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use trama_identity_resolution::matching::{
    Facts, Policy,
    eval::{
        Mapping,
        metrics::Truth,
        pairs::pairs,
        records::{Rows, open, read_truth},
        report::{Trial, numbered, report},
        run::{Mode, run},
    },
    train::{Training, train},
};

/// Learn and try who is who.
#[derive(Subcommand)]
pub enum IdentityCommand {
    /// Learn weights from records; writes a policy.
    // Its `--version` is the policy's.
    #[command(disable_version_flag = true)]
    Train(Train),
    /// Resolve records, compare with the truth, print figures as JSON.
    Eval(Eval),
}

#[derive(Args)]
struct Source {
    /// Records, CSV, perhaps gzipped. Twice for two files that are linked, see `--link`.
    #[arg(long, required = true)]
    records: Vec<PathBuf>,
    /// Which column is which attribute (YAML), see `examples/identity/mappings`.
    #[arg(long)]
    mapping: PathBuf,
    /// Whose each record is: CSV with `record_id`, `entity_id` and perhaps `thin`.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// The policy; the one that ships when absent.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The two files are linked: only pairs across them count.
    #[arg(long)]
    link: bool,
}

#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    source: Source,
    /// Where the policy goes; standard output when absent.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Its version.
    #[arg(long, default_value = "trained-1")]
    version: String,
    /// Of the random pairs: the same seed gives the same weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds of expectation and maximisation.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

#[derive(Args)]
pub struct Eval {
    #[command(flatten)]
    source: Source,
    /// Online: one by one, nothing known beforehand. Batch: names and homes are counted first.
    #[arg(long, value_enum, default_value_t = Arrival::Online)]
    mode: Arrival,
    /// Rounds of testing everybody again after the last record, as every night.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Where `record_id,cluster_id` goes.
    #[arg(long)]
    clusters: Option<PathBuf>,
    /// Where `id_l,id_r,score,alone` goes: from a score of 0 on the engine says that the two are one person; `alone` is
    /// what the two records come to without the others of their profiles.
    #[arg(long)]
    pairs: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Arrival {
    Online,
    Batch,
}

/// What was read.
struct Loaded {
    ids: Vec<String>,
    source: Vec<u8>,
    facts: Vec<Facts>,
    truth: Vec<Option<Truth>>,
    policy: Policy,
    policy_from: String,
    tables: Vec<trama_identity_resolution::matching::eval::records::Table>,
}

impl IdentityCommand {
    /// Does it.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Train(train) => train.execute(),
            Self::Eval(eval) => eval.execute(),
        }
    }
}

impl Source {
    fn load(&self) -> anyhow::Result<Loaded> {
        if self.link && self.records.len() != 2 {
            bail!("--link needs two files of records");
        }
        let (policy, policy_from) = match &self.policy {
            None => (Policy::shipped(), "shipped".to_owned()),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                (
                    Policy::parse(&text).with_context(|| path.display().to_string())?,
                    path.display().to_string(),
                )
            }
        };
        let text =
            std::fs::read_to_string(&self.mapping).with_context(|| self.mapping.display().to_string())?;
        let mapping = Mapping::parse(&text).with_context(|| self.mapping.display().to_string())?;
        let files = &self.records;
        if files.len() > 2 {
            bail!("at most two files of records, got {}", files.len());
        }
        let mut loaded = Loaded {
            ids: Vec::new(),
            source: Vec::new(),
            facts: Vec::new(),
            truth: Vec::new(),
            policy,
            policy_from,
            tables: Vec::new(),
        };
        let mut seen = HashSet::new();
        for (number, path) in files.iter().enumerate() {
            let read =
                || -> anyhow::Result<_> { Ok(Rows::open(open(path)?, &mapping, &loaded.policy)?.read()?) };
            let table = read().with_context(|| path.display().to_string())?;
            for (at, id) in table.ids().enumerate() {
                if !seen.insert(id.to_owned()) {
                    bail!("{}: the id {id:?} is in both files", path.display());
                }
                loaded.ids.push(id.to_owned());
                loaded.source.push(u8::from(number > 0));
                loaded.facts.push(table.facts(at, &loaded.policy));
            }
            loaded.tables.push(table);
        }
        let mut truth: HashMap<String, Truth> = match &self.truth {
            None => HashMap::new(),
            Some(path) => {
                let read = || -> anyhow::Result<_> { Ok(read_truth(open(path)?)?) };
                read().with_context(|| path.display().to_string())?
            }
        };
        loaded.truth = loaded.ids.iter().map(|id| truth.remove(id)).collect();
        Ok(loaded)
    }
}

impl Train {
    fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.source.load()?;
        let labels = numbered(&loaded.truth, false);
        let how = Training {
            seed: self.seed,
            rounds: self.rounds,
            linked: self.source.link.then(|| loaded.source.clone()),
            ..Training::default()
        };
        let (policy, learnt) = train(&loaded.facts, &labels, &loaded.policy, &self.version, &how)?;
        let json = serde_json::to_string_pretty(&policy)?;
        match &self.out {
            None => println!("{json}"),
            Some(path) => {
                std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
                println!("{}", serde_json::to_string_pretty(&learnt)?);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Eval {
    fn execute(self) -> anyhow::Result<ExitCode> {
        let loaded = self.source.load()?;
        let mode = match self.mode {
            Arrival::Online => Mode::Online,
            Arrival::Batch => Mode::Batch,
        };
        // Rows are normalised again inside, so that the time is that of the whole way of a record.
        let first = loaded
            .tables
            .first()
            .map_or(0, trama_identity_resolution::matching::eval::records::Table::len);
        let facts_of = |at: usize| {
            let (table, at) = if at < first { (0, at) } else { (1, at - first) };
            loaded
                .tables
                .get(table)
                .map_or_else(Facts::default, |t| t.facts(at, &loaded.policy))
        };
        let clustering = run(mode, loaded.facts.len(), facts_of, &loaded.policy, self.rounds);
        if let Some(path) = &self.clusters {
            write(
                path,
                "record_id,cluster_id",
                loaded
                    .ids
                    .iter()
                    .zip(&clustering.profile_of)
                    .map(|(id, profile)| format!("{},{}", quoted(id), profile.0)),
            )?;
        }
        if let Some(path) = &self.pairs {
            let name = |at: usize| loaded.ids.get(at).map(|id| quoted(id)).unwrap_or_default();
            let pairs = pairs(&clustering, &loaded.facts, &loaded.policy);
            write(
                path,
                "id_l,id_r,score,alone",
                pairs
                    .into_iter()
                    .map(|p| format!("{},{},{:.3},{:.3}", name(p.left), name(p.right), p.score, p.alone)),
            )?;
        }
        let report = report(Trial {
            mode,
            policy_from: &loaded.policy_from,
            policy: &loaded.policy,
            rounds: self.rounds,
            clustering: &clustering,
            facts: &loaded.facts,
            truth: &loaded.truth,
            source: &loaded.source,
            link: self.source.link,
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, header: &str, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    writeln!(file, "{header}")?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

/// An id as CSV wants it.
fn quoted(id: &str) -> String {
    if id.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", id.replace('"', "\"\""))
    } else {
        id.to_owned()
    }
}
