//! A cold start of all six services, and what they take when nobody comes. Measured in a process of its own.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use trama_platform::{Config, Options, resources::ResourceStore};

use crate::{
    Arguments, app,
    machine::{self, Machine},
    report::Report,
};

/// What the process of its own saw.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    ready_ms: f64,
    resident_bytes: u64,
    cpu_percent: f64,
}

/// The bench `idle`.
pub async fn run(arguments: &Arguments, machine: &Machine) -> anyhow::Result<Report> {
    let app = app::start(&app::services(), arguments.partitions()).await;
    // The schemas are there now; the services must go, or the start would be that of a second replica.
    app.running.lifecycle.stop();
    let result = async {
        anyhow::ensure!(
            app.running.lifecycle.finished(Duration::from_secs(30)).await,
            "the services did not stop"
        );
        let file = std::env::temp_dir().join(format!("{}.json", app.running.bus.prefix()));
        std::fs::write(&file, serde_json::to_string(&app.config)?)?;
        let began = Instant::now();
        let output = tokio::process::Command::new(std::env::current_exe()?)
            .arg(format!("--seconds={}", arguments.seconds))
            .arg(format!("--stay-idle={}", file.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await;
        let _ = std::fs::remove_file(&file);
        let output = output?;
        anyhow::ensure!(
            output.status.success(),
            "the idle process failed after {:?}",
            began.elapsed()
        );
        Ok(serde_json::from_slice::<Seen>(&output.stdout)?)
    }
    .await;
    app.stop().await;
    let seen = result?;
    let mut report = Report {
        name: "idle",
        unit: "ms to ready",
        machine: machine.clone(),
        ..Report::default()
    };
    report.ours = Some(seen.ready_ms);
    report.also.insert(
        "resident memory, MiB".into(),
        seen.resident_bytes as f64 / 1_048_576.0,
    );
    report
        .also
        .insert("resident memory, bytes".into(), seen.resident_bytes as f64);
    report
        .also
        .insert("cpu while idle, percent of one core".into(), seen.cpu_percent);
    report.note = format!(
        "All six services in one process on migrated schemas: from start() until /readyz says ok. \
         Memory and CPU: idle for {} s.",
        arguments.seconds
    );
    Ok(report)
}

/// The process of its own: start, be idle, say what it took.
pub async fn stay_idle(arguments: &Arguments, file: &Path) -> anyhow::Result<()> {
    let config: Config = serde_json::from_slice(&std::fs::read(file)?)?;
    let resources = ResourceStore::fixed(trama_testkit::resources(app::RESOURCES));
    let options = Options {
        resources: Some(resources),
        ..Options::default()
    };
    let began = Instant::now();
    let running = trama_platform::start(&app::services(), config, options).await;
    let running = running.map_err(|e| anyhow::anyhow!(e.detail()))?;
    while trama_platform::is_ready(running.addresses.admin).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ready_ms = began.elapsed().as_secs_f64() * 1e3;
    let cpu = machine::Cpu::now();
    tokio::time::sleep(arguments.duration()).await;
    let cpu_percent = cpu.since(1, 0.0).own_cores * 100.0;
    let seen = Seen {
        ready_ms,
        resident_bytes: machine::resident_bytes(),
        cpu_percent,
    };
    println!("{}", serde_json::to_string(&seen)?);
    running.stop().await;
    Ok(())
}
