//! Whose record is this? Resolutions against many customers in PostgreSQL, one by one and in batches.

mod bare;
mod online;
mod people;
mod seeding;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use trama_platform::Service;
use trama_testkit::TestApp;

use self::{
    bare::{CONNECTIONS, bare, database_of},
    online::{Pace, ask},
    people::Mix,
    seeding::seed,
    stream::in_batches,
};
use crate::{
    Arguments, app,
    machine::{Cpu, Machine},
    report::Report,
    servers::Servers,
};

const BARE: &str = "bare sql, lookup + insert, 8 connections";
/// Partitions when it is not said how many: of each, one transaction at a time is worked in, and no other stage runs here that would keep the cores busy
/// meanwhile.
const PARTITIONS: u32 = 4;
/// How many times as long as a measurement the warm-up takes.
const WARM_UP: u32 = 4;

/// What is measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Contacts as channels bring them, over gRPC.
    Contacts,
    /// Whole records, half of them known by their handle.
    Records,
    /// Whole records, everybody known by their handle.
    Known,
    /// Whole records, nobody known by their handle.
    Unknown,
    /// Contacts that wait on the bus.
    Bus,
}

impl Part {
    /// Whose records are asked about; `None` where nobody asks.
    const fn mix(self) -> Option<Mix> {
        match self {
            Self::Contacts => Some(Mix::Contacts),
            Self::Records => Some(Mix::Records),
            Self::Known => Some(Mix::Known),
            Self::Unknown => Some(Mix::Unknown),
            Self::Bus => None,
        }
    }
}

/// The bench `identity`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = Report {
        name: "identity",
        unit: "resolutions per second",
        machine: machine.clone(),
        ..Report::default()
    };
    let service: Arc<dyn Service> = trama_identity_resolution::service();
    let app = app::start(&[service], arguments.partitions.unwrap_or(PARTITIONS)).await;
    let result = measure(arguments, servers, &app, &mut report).await;
    app.stop().await;
    result?;
    report.compare_to(BARE);
    Ok(report)
}

async fn measure(
    arguments: &Arguments,
    servers: &Servers,
    app: &TestApp,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (customers, seconds) = (arguments.customers, arguments.duration());
    let started = Instant::now();
    seed(app, customers, arguments.handles).await?;
    servers.settle(&database_of(app).await?, "identity").await?;
    report.also.insert(
        "customers seeded per second".into(),
        customers as f64 / started.elapsed().as_secs_f64(),
    );
    // The first to change a page after a checkpoint logs all of it.
    let callers = arguments.callers;
    let pace = Pace::AsAnswered { callers };
    ask(app, customers, 0, Mix::Records, pace, seconds * WARM_UP).await?;
    caught_up(app).await?;
    if let Some(part) = arguments.only {
        match part.mix() {
            Some(mix) => {
                alone(app, arguments, servers, mix, report).await?;
            }
            None => from_the_bus(app, customers, report).await?,
        }
        return Ok(());
    }
    let as_answered = Pace::AsAnswered { callers: CONNECTIONS };
    let before = bare(app, servers, customers, as_answered, seconds).await?;
    let contacts = alone(app, arguments, servers, Mix::Contacts, report).await?;
    for mix in [Mix::Records, Mix::Known, Mix::Unknown] {
        alone(app, arguments, servers, mix, report).await?;
    }
    from_the_bus(app, customers, report).await?;
    let after = bare(app, servers, customers, as_answered, seconds).await?;
    report.ours = Some(contacts.rate);
    report.p50_ms = contacts.p50_ms;
    report.p99_ms = contacts.p99_ms;
    let limit = f64::midpoint(before.rate(), after.rate());
    report.limits.insert(BARE, limit);
    for mut bare in [before, after] {
        let worst = report.also.entry("p99 ms of bare sql".into()).or_default();
        *worst = worst.max(bare.latencies.percentile(0.99).unwrap_or(0.0));
    }
    report.note = format!(
        "{customers} customers with names, birth, address, mail and telephone. ResolveRecord over gRPC, each record durable when \
         answered. Contacts, as channels bring them: a handle and, of four in five, a name; half of the handles are known. Records \
         say all of the above. As many as {callers} callers get answered; CPU is of the services, the callers, PostgreSQL and the \
         bus, looking again included. Latencies at half of that rate (or at --pace), from when each call was due."
    );
    Ok(())
}

/// How many are answered, and how fast at half of that.
struct Found {
    rate: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// One kind of call: as many as are answered, and how fast at half of that.
async fn alone(
    app: &TestApp,
    arguments: &Arguments,
    servers: &Servers,
    mix: Mix,
    report: &mut Report,
) -> anyhow::Result<Found> {
    let (customers, seconds) = (arguments.customers, arguments.duration());
    let (salt, name) = match mix {
        Mix::Contacts => (10_000_000, "contacts"),
        Mix::Records => (20_000_000, "records"),
        Mix::Known => (30_000_000, "records, known by the handle"),
        Mix::Unknown => (40_000_000, "records, to be matched"),
    };
    eprintln!("measuring {name}");
    let callers = Pace::AsAnswered {
        callers: arguments.callers,
    };
    let (cpu, pages) = (Cpu::now(), Pages::now(app).await?);
    let mut answered = ask(app, customers, salt, mix, callers, seconds).await?;
    // Looking again at whom that left open is part of what it takes.
    caught_up(app).await?;
    let cpu = cpu.since(answered.count, 0.0);
    let pages = Pages::now(app).await?.since(&pages, answered.count);
    // At a rate that can be kept, or the latency is that of a queue that grows.
    let pace = Pace::PerSecond(arguments.pace.unwrap_or(answered.rate() / 2.0));
    let mut steady = ask(app, customers, salt + 5_000_000, mix, pace, seconds).await?;
    caught_up(app).await?;
    // Who is asked at a rate pays for each stall of the disk with all that come meanwhile, whatever answers.
    let mut least = bare(app, servers, customers, pace, seconds).await?;
    let found = Found {
        rate: answered.rate(),
        p50_ms: steady.latencies.percentile(0.5),
        p99_ms: steady.latencies.percentile(0.99),
    };
    let figures = [
        ("per second", Some(found.rate)),
        (
            "p50 ms, as many as are answered",
            answered.latencies.percentile(0.5),
        ),
        (
            "p99 ms, as many as are answered",
            answered.latencies.percentile(0.99),
        ),
        ("p50 ms", found.p50_ms),
        ("p99 ms", found.p99_ms),
        ("p50 ms of bare sql at that rate", least.latencies.percentile(0.5)),
        (
            "p99 ms of bare sql at that rate",
            least.latencies.percentile(0.99),
        ),
        ("µs CPU", Some(cpu.per_message_us())),
        ("µs CPU of PostgreSQL", Some(cpu.postgres_us)),
        ("pages looked at", Some(pages.looked_at)),
        ("pages read", Some(pages.read)),
        ("pages logged whole", Some(pages.logged)),
    ];
    for (what, figure) in figures {
        let row = format!("{name}: {what}");
        report.also.insert(row.into(), figure.unwrap_or(0.0));
    }
    Ok(found)
}

/// As many as are worked in when they wait on the bus.
async fn from_the_bus(app: &TestApp, customers: u64, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("measuring contacts from the bus");
    let drained = in_batches(app, customers).await?;
    let figures = [
        ("per second", drained.rate),
        ("µs CPU", drained.cpu.per_message_us()),
        ("µs CPU of PostgreSQL", drained.cpu.postgres_us),
        ("cores in use", drained.cpu.cores),
    ];
    for (what, figure) in figures {
        report.also.insert(format!("from the bus: {what}").into(), figure);
    }
    Ok(())
}

/// Waits until whoever grew was looked at again.
async fn caught_up(app: &TestApp) -> anyhow::Result<()> {
    loop {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        let waiting: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM reevaluations)")
            .fetch_one(tx.conn())
            .await?;
        drop(tx);
        if !waiting {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Pages of the database: what a resolution costs, whatever else the machine does.
struct Pages {
    /// Those that were looked at.
    looked_at: f64,
    /// Of them, those that PostgreSQL had to ask the kernel for.
    read: f64,
    /// Those that went to the log as a whole, because of a checkpoint.
    logged: f64,
}

impl Pages {
    async fn now(app: &TestApp) -> anyhow::Result<Self> {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        // The server counts what is under way when it is done with it, after a second at most.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let (hit, read, logged): (i64, i64, i64) = sqlx::query_as(
            "SELECT blks_hit, blks_read, wal_fpi FROM pg_stat_database, pg_stat_wal WHERE datname = current_database()",
        )
        .fetch_one(tx.conn())
        .await?;
        Ok(Self {
            looked_at: (hit + read) as f64,
            read: read as f64,
            logged: logged as f64,
        })
    }

    fn since(&self, before: &Self, count: u64) -> Self {
        let each = |after: f64, before: f64| (after - before) / count as f64;
        Self {
            looked_at: each(self.looked_at, before.looked_at),
            read: each(self.read, before.read),
            logged: each(self.logged, before.logged),
        }
    }
}
