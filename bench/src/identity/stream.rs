//! Interactions from the bus.

use std::time::{Duration, Instant};

use trama_proto::{
    common::v1::{Handle, Interaction, Trust},
    ids::derive,
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

use super::people::Somebody;
use crate::app::TENANT;

/// Interactions that wait on the bus, until all are identified.
pub async fn in_batches(app: &TestApp, customers: u64) -> anyhow::Result<f64> {
    const COUNT: u64 = 20_000;
    for number in 0..COUNT {
        let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
        let somebody = Somebody::of(whom);
        let email = if number % 2 == 0 {
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
    // What was published while the stage ran already counts: the clock starts with the first publish of the second half.
    let identified = || async {
        let mut tx = app.db("identity-resolution").system_tx().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM interaction_owner")
            .fetch_one(tx.conn())
            .await?;
        anyhow::Ok(u64::try_from(count)?)
    };
    let (first, started) = (identified().await?, Instant::now());
    loop {
        let now = identified().await?;
        if now >= COUNT {
            let rate = (now - first) as f64 / started.elapsed().as_secs_f64();
            return Ok(rate);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
