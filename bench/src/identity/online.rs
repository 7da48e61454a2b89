//! Callers who ask one by one.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::try_join_all;
use trama_proto::identity_resolution::v1::identity_service_client::IdentityServiceClient;
use trama_testkit::TestApp;

use super::people::{Mix, request};
use crate::{app::TENANT, report::Latencies};

/// How fast the callers ask.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many at the same time, each as soon as the one before is answered.
    AsAnswered {
        /// How many.
        callers: usize,
    },
    /// So many per second, whether the ones before are answered or not.
    PerSecond(f64),
}

/// Callers at the same time at most, when they do not wait for each other.
const MOST_CALLERS: usize = 512;

/// What was answered.
#[derive(Default)]
pub struct Answered {
    /// How many.
    pub count: u64,
    /// In how long.
    pub elapsed: Duration,
    /// From when each was due.
    pub latencies: Latencies,
}

impl Answered {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

/// Asks for some seconds. What different `salt`s ask is different.
pub async fn ask(
    app: &TestApp,
    customers: u64,
    salt: u64,
    mix: Mix,
    pace: Pace,
    seconds: Duration,
) -> anyhow::Result<Answered> {
    let token = app.token(TENANT, "bench", "*");
    let next = AtomicU64::new(0);
    let answered = RefCell::new(Answered::default());
    let began = Instant::now();
    let callers = match pace {
        Pace::AsAnswered { callers } => callers,
        Pace::PerSecond(_) => MOST_CALLERS,
    };
    let caller = |_| async {
        let mut client = IdentityServiceClient::new(app.grpc());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let left_at = departure(pace, number, began).await;
            if left_at - began >= seconds {
                return anyhow::Ok(());
            }
            let request = app.request_with(&token, request(number, salt, customers, mix));
            client.resolve_record(request).await.context("ResolveRecord")?;
            let mut answered = answered.borrow_mut();
            answered.count += 1;
            answered.elapsed = began.elapsed();
            answered.latencies.push(left_at.elapsed());
        }
    };
    try_join_all((0..callers).map(caller)).await?;
    Ok(answered.into_inner())
}

/// Waits until a call is due. One that is late because every caller was busy counts from when it was due; what the
/// timer oversleeps is not the service's fault and does not count.
pub async fn departure(pace: Pace, number: u64, began: Instant) -> Instant {
    let Pace::PerSecond(rate) = pace else {
        return Instant::now();
    };
    let due = began + Duration::from_secs_f64(number as f64 / rate);
    if due <= Instant::now() {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}
