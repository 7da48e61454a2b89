//! What a bench found out: a table for people, a file for comparisons.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::machine::Machine;

/// The result of one bench.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Name of the bench.
    pub name: &'static str,
    /// Our figure.
    pub ours: Option<f64>,
    /// What it counts.
    pub unit: &'static str,
    /// What the same machine can do at most, measured just before or after.
    pub limits: BTreeMap<&'static str, f64>,
    /// Our figure as a share of one of the limits …
    pub ratio: Option<f64>,
    /// … namely this one.
    pub ratio_to: Option<&'static str>,
    /// Latency of every second one, at most.
    pub p50_ms: Option<f64>,
    /// Latency of 99 in 100, at most.
    pub p99_ms: Option<f64>,
    /// What else was seen.
    pub also: BTreeMap<Cow<'static, str>, f64>,
    /// Where.
    pub machine: Machine,
    /// How to read it.
    pub note: String,
}

impl Report {
    /// States the ratio to one of the limits.
    pub fn compare_to(&mut self, limit: &'static str) {
        self.ratio_to = Some(limit);
        self.ratio = match (self.ours, self.limits.get(limit)) {
            (Some(ours), Some(limit)) if *limit > 0.0 => Some(ours / limit),
            _ => None,
        };
    }

    /// Takes the latencies over.
    pub fn with_latencies(&mut self, latencies: &mut Latencies) {
        self.p50_ms = latencies.percentile(0.50);
        self.p99_ms = latencies.percentile(0.99);
    }

    /// Prints the table.
    pub fn print(&self) {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header([self.name, self.unit, "ours / this"]);
        let mut row = |name: &str, value: String, ratio: String| {
            let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(name), right(value), right(ratio)]);
        };
        if let Some(ours) = self.ours {
            row("ours", figure(ours), String::new());
        }
        for (name, limit) in &self.limits {
            let ratio = self
                .ours
                .map(|ours| format!("{:.3}", ours / limit))
                .unwrap_or_default();
            row(name, figure(*limit), ratio);
        }
        for (name, latency) in [("p50 ms", self.p50_ms), ("p99 ms", self.p99_ms)] {
            if let Some(latency) = latency {
                row(name, figure(latency), String::new());
            }
        }
        for (name, value) in &self.also {
            row(name, figure(*value), String::new());
        }
        println!("\n{table}\n{}", self.note);
    }

    /// Writes `target/bench/<name>.json`.
    pub fn write(&self) -> anyhow::Result<PathBuf> {
        let dir = target_dir().join("bench");
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let file = dir.join(format!("{}.json", self.name));
        std::fs::write(&file, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| file.display().to_string())?;
        Ok(file)
    }
}

/// Where cargo put this program: `<target>/<profile>/trama-bench`.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().ok();
    let target = program.as_deref().and_then(|p| p.parent()?.parent());
    target.map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn figure(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Latencies of a run.
#[derive(Debug, Default)]
pub struct Latencies {
    seen: Vec<Duration>,
    sorted: bool,
}

impl Latencies {
    /// Takes one in.
    pub fn push(&mut self, latency: Duration) {
        self.seen.push(latency);
        self.sorted = false;
    }

    /// Takes the latencies of another run in.
    pub fn extend(&mut self, other: Latencies) {
        self.seen.extend(other.seen);
        self.sorted = false;
    }

    /// Nearest rank, in milliseconds.
    pub fn percentile(&mut self, share: f64) -> Option<f64> {
        if !self.sorted {
            self.seen.sort_unstable();
            self.sorted = true;
        }
        let rank = (share * self.seen.len() as f64).ceil() as usize;
        self.seen
            .get(rank.max(1) - 1)
            .map(|latency| latency.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.5), None);
        for ms in (1..=100).rev() {
            latencies.push(Duration::from_millis(ms));
        }
        assert_eq!(latencies.percentile(0.5), Some(50.0));
        assert_eq!(latencies.percentile(0.99), Some(99.0));
        assert_eq!(latencies.percentile(1.0), Some(100.0));
    }
}
