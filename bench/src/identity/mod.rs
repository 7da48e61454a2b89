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

pub use self::people::Mix;
use self::{
    bare::bare,
    online::{Pace, ask},
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
/// Callers at the same time, when it is measured how many can be answered.
const CALLERS: usize = 64;
/// Calls per second, when more are asked than can be answered.
const OFFERED: f64 = 5_000.0;

/// The bench `identity`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = Report {
        name: "identity",
        unit: "resolutions per second",
        machine: machine.clone(),
        ..Report::default()
    };
    let service: Arc<dyn Service> = trama_identity_resolution::service();
    let app = app::start(&[service], arguments.partitions).await;
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
    report.also.insert(
        "customers seeded per second",
        customers as f64 / started.elapsed().as_secs_f64(),
    );
    let before = bare(app, servers, customers, seconds / 2).await?;
    let callers = Pace::AsAnswered { callers: CALLERS };
    ask(app, customers, 0, Mix::All, callers, seconds / 5).await?;
    caught_up(app).await?;

    if let Some(mix) = arguments.only {
        return alone(app, customers, mix, seconds, report).await;
    }
    let pages = pages_looked_at(app).await?;
    let cpu = Cpu::now();
    let most = ask(app, customers, 10_000_000, Mix::All, callers, seconds).await?;
    // Looking again at whom that left open is part of what it takes.
    caught_up(app).await?;
    let cpu = cpu.since(most.count, 0.0);
    let pages = pages_looked_at(app).await? - pages;
    report.ours = Some(most.rate());
    report.also.insert(
        "µs CPU per resolution, looking again included",
        cpu.per_message_us(),
    );
    report
        .also
        .insert("pages looked at per resolution", pages / most.count as f64);

    for mix in [Mix::Known, Mix::Unknown] {
        alone(app, customers, mix, seconds / 2, report).await?;
    }

    let offered = Pace::PerSecond(OFFERED);
    let flooded = ask(app, customers, 20_000_000, Mix::All, offered, seconds).await?;
    caught_up(app).await?;
    report
        .also
        .insert("answered per second of 5,000 asked", flooded.rate());
    // At a rate that can be kept, or the latency is that of a queue that grows.
    let rate = (most.rate() / 2.0).min(OFFERED);
    let mut steady = ask(
        app,
        customers,
        50_000_000,
        Mix::All,
        Pace::PerSecond(rate),
        seconds,
    )
    .await?;
    caught_up(app).await?;
    report
        .also
        .insert("p99.9 ms", steady.latencies.percentile(0.999).unwrap_or(0.0));
    report.with_latencies(&mut steady.latencies);

    let batches = in_batches(app, customers).await?;
    report
        .also
        .insert("interactions per second, in batches from the bus", batches);
    let after = bare(app, servers, customers, seconds / 2).await?;
    report.limits.insert(BARE, f64::midpoint(before, after));
    report.note = format!(
        "{customers} customers with names, birth, address, mail and telephone. ResolveRecord over gRPC, each record durable when \
         answered: 50 % by a handle that is known, 30 % the same person under a new handle, 20 % somebody new. As many as \
         {CALLERS} callers get answered: {cpu}, callers and looking again included. Latencies at {rate:.0} per second, half of that, from \
         when each call was due."
    );
    Ok(())
}

/// One kind of call: as many as are answered, and how fast at half of that.
async fn alone(
    app: &TestApp,
    customers: u64,
    mix: Mix,
    seconds: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (salt, [per_second, ours, postgres, half, most]) = match mix {
        Mix::All => (
            25_000_000,
            [
                "mix, per second",
                "mix, µs of our CPU",
                "mix, µs of PostgreSQL's",
                "mix, p50 ms at half of that",
                "mix, p99 ms at half of that",
            ],
        ),
        Mix::Known => (
            30_000_000,
            [
                "known by the handle, per second",
                "known by the handle, µs of our CPU",
                "known by the handle, µs of PostgreSQL's",
                "known by the handle, p50 ms at half of that",
                "known by the handle, p99 ms at half of that",
            ],
        ),
        Mix::Unknown => (
            40_000_000,
            [
                "to be matched, per second",
                "to be matched, µs of our CPU",
                "to be matched, µs of PostgreSQL's",
                "to be matched, p50 ms at half of that",
                "to be matched, p99 ms at half of that",
            ],
        ),
    };
    let cpu = Cpu::now();
    let answered = ask(
        app,
        customers,
        salt,
        mix,
        Pace::AsAnswered { callers: CALLERS },
        seconds,
    )
    .await?;
    caught_up(app).await?;
    let cpu = cpu.since(answered.count, 0.0);
    let pace = Pace::PerSecond(answered.rate() / 2.0);
    let mut steady = ask(app, customers, salt + 2_500_000, mix, pace, seconds).await?;
    caught_up(app).await?;
    report.also.insert(per_second, answered.rate());
    report.also.insert(ours, cpu.ourselves_us + cpu.load_us);
    report.also.insert(postgres, cpu.postgres_us);
    for (name, share) in [(half, 0.5), (most, 0.99)] {
        let latency = steady.latencies.percentile(share).unwrap_or(0.0);
        report.also.insert(name, latency);
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

/// Pages of the database that were looked at so far: what a resolution costs, whatever else the machine does.
async fn pages_looked_at(app: &TestApp) -> anyhow::Result<f64> {
    let mut tx = app.db("identity-resolution").system_tx().await?;
    // The server counts what is under way when it is done with it, after a second at most.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let pages: i64 = sqlx::query_scalar(
        "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(pages as f64)
}
