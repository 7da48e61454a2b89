//! Our door: a signed webhook is answered when the journal has it.

use std::{sync::Arc, time::Duration};

use trama_platform::Service;

use crate::{
    Arguments,
    app::{self, DoorsOnly},
    bare::Bare,
    limits,
    load::{self, Answered, Load, Pace},
    machine::{Cpu, CpuUse, Machine},
    report::{Latencies, Report},
    servers::Servers,
};

const JETSTREAM: &str = "jetstream publish, 64 tasks";
const BARE: &str = "bare http + hmac + publish";

/// The bench `webhook`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let seconds = arguments.duration();
    let mut report = Report {
        name: "webhook",
        unit: "requests per second",
        machine: machine.clone(),
        ..Report::default()
    };
    // The machine's speed drifts: the ceilings are measured before and after, half as long each.
    let before = ceilings(servers, seconds / 2).await?;
    let doors: Arc<dyn Service> = Arc::new(DoorsOnly(trama_ingest::service()));
    let (ours, cpu) = knock(doors, arguments.partitions(), seconds).await?;
    let (whole, _) = knock(trama_ingest::service(), arguments.partitions(), seconds).await?;
    let after = ceilings(servers, seconds / 2).await?;

    report.ours = Some(ours.rate());
    report
        .limits
        .insert(JETSTREAM, f64::midpoint(before.jetstream, after.jetstream));
    report.limits.insert(BARE, f64::midpoint(before.bare, after.bare));
    let mut bare_latencies = before.latencies;
    bare_latencies.extend(after.latencies);
    report.also.insert(
        "bare http p50 ms".into(),
        bare_latencies.percentile(0.5).unwrap_or(0.0),
    );
    report.also.insert(
        "bare http p99 ms".into(),
        bare_latencies.percentile(0.99).unwrap_or(0.0),
    );
    report.also.insert(
        "ours, while the normaliser works behind the door".into(),
        whole.rate(),
    );
    report.also.insert(
        "refused and tried again".into(),
        (ours.refused + whole.refused) as f64,
    );
    report.note =
        format!("64 keep-alive connections, signed webhooks of 2048 B, 2xx after the PubAck. Ours: {cpu}.");
    let mut latencies = ours.latencies;
    report.with_latencies(&mut latencies);
    report.compare_to(JETSTREAM);
    Ok(report)
}

struct Ceilings {
    jetstream: f64,
    bare: f64,
    latencies: Latencies,
}

async fn ceilings(servers: &Servers, seconds: Duration) -> anyhow::Result<Ceilings> {
    let jetstream = limits::jetstream_tasks(servers, 64, seconds).await?.rate;
    let mut bare = Bare::start(servers, 0).await?;
    let result = async {
        bare.knock(seconds / 5).await?;
        bare.knock(seconds).await
    }
    .await;
    bare.stop().await?;
    let answered = result?;
    Ok(Ceilings {
        jetstream,
        bare: answered.rate(),
        latencies: answered.latencies,
    })
}

async fn knock(
    service: Arc<dyn Service>,
    partitions: u32,
    seconds: Duration,
) -> anyhow::Result<(Answered, CpuUse)> {
    let app = app::start(&[service], partitions).await;
    let load = |first: u64, at_most| Load {
        address: app.running.addresses.http,
        webhooks: app::webhooks(&app),
        pace: Pace::AsAnswered,
        senders: first..first + 10_000_000,
        at_most,
    };
    let (warm_up, measured) = (load(0, seconds / 5), load(10_000_000, seconds));
    let result = async {
        load::aside(move || async move { load::send(&warm_up, None).await }).await?;
        let cpu = Cpu::now();
        let (answered, load_seconds) =
            load::aside(move || async move { load::send(&measured, None).await }).await?;
        let cpu = cpu.since(answered.count, load_seconds);
        anyhow::Ok((answered, cpu))
    }
    .await;
    app.stop().await;
    result
}
