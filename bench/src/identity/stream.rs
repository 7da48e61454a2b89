//! Interactions from the bus.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use trama_proto::{
    common::v1::{Handle, Interaction, Trust},
    ids::derive,
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use super::people::Somebody;
use crate::{
    app::TENANT,
    machine::{Cpu, CpuUse},
};

/// How many wait.
const COUNT: u64 = 40_000;
/// Published at the same time.
const PUBLISHING: usize = 512;

/// What became of interactions that waited.
pub struct Drained {
    /// Identified a second.
    pub rate: f64,
    /// What it took.
    pub cpu: CpuUse,
}

/// Interactions that wait on the bus, until all are identified.
pub async fn in_batches(app: &TestApp, customers: u64) -> anyhow::Result<Drained> {
    // Faster than they are worked in: a stage that keeps up with whoever publishes works in small batches.
    futures::stream::iter(0..COUNT)
        .map(|number| publish(app, customers, number))
        .buffer_unordered(PUBLISHING)
        .collect::<()>()
        .await;
    let identified = || async {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM interaction_owner")
            .fetch_one(tx.conn())
            .await?;
        anyhow::Ok(u64::try_from(count)?)
    };
    // What was worked in while the others were published does not count.
    let (first, started, cpu) = (identified().await?, Instant::now(), Cpu::now());
    loop {
        let now = identified().await?;
        if now >= COUNT {
            return Ok(Drained {
                rate: (now - first) as f64 / started.elapsed().as_secs_f64(),
                cpu: cpu.since(now - first, 0.0),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn publish(app: &TestApp, customers: u64, number: u64) {
    let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
    let somebody = Somebody::of(whom);
    let email = if number.is_multiple_of(2) {
        somebody.email
    } else {
        format!("batch{number}@mail.test")
    };
    let interaction = Interaction {
        interaction_id: derive(&[b"bench interaction", &number.to_be_bytes()]).to_string(),
        revision: 1,
        channel: "bench".into(),
        party: Some(Handle {
            kind: "email".into(),
            value: email.clone(),
            trust: Trust::Observed as i32,
        }),
        display_name: format!("{} {}", somebody.given_name, somebody.surname),
        text: "hello".into(),
        ..Interaction::default()
    };
    let event = InteractionReceived {
        interaction: Some(interaction),
    };
    app.publish(TENANT, &email, &event).await;
}
