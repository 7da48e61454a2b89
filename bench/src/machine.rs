//! Where a figure comes from: the machine, the versions, and who used how much CPU.

use std::{process::Command, time::Instant};

use serde::Serialize;

use crate::{app::DESK_THREAD, servers::Servers};

/// The machine and what runs on it.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Machine {
    /// CPUs that the program may use.
    pub cores: usize,
    /// Model of the CPU.
    pub cpu: String,
    /// Compiler.
    pub rustc: String,
    /// Version of PostgreSQL.
    pub postgres: String,
    /// Version of nats-server.
    pub nats: String,
    /// `debug` figures say nothing.
    pub profile: &'static str,
    /// Load of the last minute before the first bench: above 0.3, somebody else was at work.
    pub load_before: f64,
}

impl Machine {
    /// Looks around.
    pub async fn look(servers: &Servers) -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo");
        let model = cpu_info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let rustc = Command::new("rustc").arg("--version").output();
        let (postgres, nats) = servers.versions().await?;
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.map_or_else(
                || std::env::consts::ARCH.to_owned(),
                |(_, name)| name.trim().to_owned(),
            ),
            rustc: rustc.map_or_else(
                |_| "unknown".to_owned(),
                |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ),
            postgres,
            nats,
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.0),
        })
    }
}

/// CPU seconds so far, by who used them.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    at: Instant,
    ourselves: f64,
    desk: f64,
    postgres: f64,
    nats: f64,
}

/// The kernel counts CPU time in hundredths of a second, on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Cpu {
    /// The state now. Zero where there is no `/proc`.
    pub fn now() -> Self {
        let mut cpu = Self {
            at: Instant::now(),
            ourselves: 0.0,
            desk: desk_seconds(),
            postgres: 0.0,
            nats: 0.0,
        };
        let own = std::process::id().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            let Some((name, seconds, of_ended)) = parse(&stat) else {
                continue;
            };
            if entry.file_name().to_str() == Some(&own) {
                cpu.ourselves += seconds;
            } else if name.starts_with("postgres") {
                // Connections come and go; what those used who went stands with the one who started them.
                cpu.postgres += seconds + of_ended;
            } else if name.starts_with("nats-server") {
                cpu.nats += seconds;
            }
        }
        cpu
    }

    /// What was used since, for so many messages; `load_seconds` of it by the load generator's thread.
    pub fn since(&self, messages: u64, load_seconds: f64) -> CpuUse {
        let now = Self::now();
        let per_message = |used: f64| used * 1e6 / messages.max(1) as f64;
        let load_seconds = load_seconds + now.desk - self.desk;
        let ourselves = (now.ourselves - self.ourselves - load_seconds).max(0.0);
        let postgres = now.postgres - self.postgres;
        let nats = now.nats - self.nats;
        let elapsed = (now.at - self.at).as_secs_f64();
        CpuUse {
            cores: (ourselves + load_seconds + postgres + nats) / elapsed.max(f64::EPSILON),
            own_cores: ourselves / elapsed.max(f64::EPSILON),
            ourselves_us: per_message(ourselves),
            load_us: per_message(load_seconds),
            postgres_us: per_message(postgres),
            nats_us: per_message(nats),
        }
    }
}

/// CPU that a run used.
#[derive(Debug, Clone, Copy)]
pub struct CpuUse {
    /// Cores in use, on average.
    pub cores: f64,
    /// Of these, by this process.
    pub own_cores: f64,
    /// This process without load generator and desk, per message.
    pub ourselves_us: f64,
    /// Load generator and desk, per message.
    pub load_us: f64,
    /// PostgreSQL, per message.
    pub postgres_us: f64,
    /// nats-server, per message.
    pub nats_us: f64,
}

impl CpuUse {
    /// All of it per message, in microseconds.
    pub fn per_message_us(&self) -> f64 {
        self.ourselves_us + self.load_us + self.postgres_us + self.nats_us
    }
}

impl std::fmt::Display for CpuUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} µs CPU per message (services {:.0}, load {:.0}, postgres {:.0}, nats-server {:.0}), {:.2} cores",
            self.per_message_us(),
            self.ourselves_us,
            self.load_us,
            self.postgres_us,
            self.nats_us,
            self.cores
        )
    }
}

/// Name and CPU seconds from `/proc/<pid>/stat`: its own, and those of children that have ended. The name stands in brackets
/// and may hold spaces and brackets.
fn parse(stat: &str) -> Option<(&str, f64, f64)> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split(' ').skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    let own = seconds()? + seconds()?;
    let of_ended = seconds()? + seconds()?;
    Some((name, own, of_ended))
}

/// CPU seconds of the desk's thread so far; 0 when there is none.
fn desk_seconds() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            parse(&stat)
                .filter(|(name, ..)| *name == DESK_THREAD)
                .map(|(_, seconds, _)| seconds)
        })
        .sum()
}

/// CPU seconds of this thread so far.
pub fn thread_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    parse(&stat).map_or(0.0, |(_, seconds, _)| seconds)
}

/// Resident memory of this process in bytes; 0 where there is no `/proc`.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 30 20 0";
        assert_eq!(super::parse(stat), Some(("a) b", 2.0, 0.5)));
    }
}
