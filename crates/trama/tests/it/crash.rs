//! Nothing lost, nothing doubled: real processes, really killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _};

use crate::platform::{Platform, Provider};

/// Sends `count` webhooks over some connections; each is repeated until it is acknowledged.
async fn send_all(provider: Arc<Provider>, count: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (provider, next) = (Arc::clone(&provider), Arc::clone(&next));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                while !provider.send(number).await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    while senders.join_next().await.is_some() {}
}

#[expect(
    clippy::disallowed_methods,
    reason = "the provider goes on while the platform dies"
)]
fn in_background(provider: &Arc<Provider>, count: usize) -> tokio::task::JoinHandle<()> {
    tokio::spawn(send_all(Arc::clone(provider), count))
}

fn exactly_once(found: &std::collections::HashMap<String, i64>, count: usize) {
    assert_eq!(found.len(), count, "webhooks in the timelines");
    for (id, times) in found {
        assert_eq!(*times, 1, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_points_every_acknowledged_webhook_is_in_one_timeline_once() {
    const COUNT: usize = 2_000;
    let seed: u64 = std::env::var("TRAMA_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(4711);
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let platform = Platform::new().await;
    let provider = Arc::new(Provider::new(&platform));
    let mut child = platform.start(None).await;
    let mut sending = in_background(&provider, COUNT);
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(random.random_range(50..900));
        if tokio::time::timeout(pause, &mut sending).await.is_ok() {
            break;
        }
        child.kill().expect("kill -9");
        child.wait().expect("gone");
        kills += 1;
        child = platform.start(None).await;
    }
    // Once more while the stages are still at work on what was acknowledged last.
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    child = platform.start(None).await;
    let found = platform.wait_for_timeline(COUNT).await;
    println!("killed {} times, seed {seed}", kills + 1);
    exactly_once(&found, COUNT);
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    platform.remove().await;
}

async fn dies_at(point: &str) {
    const COUNT: usize = 60;
    let platform = Platform::new().await;
    let provider = Arc::new(Provider::new(&platform));
    let mut child = platform.start(Some(point)).await;
    let mut sending = in_background(&provider, COUNT);
    // It dies by itself at the point; the provider keeps trying.
    let mut died = false;
    for _ in 0..4_500 {
        if child.try_wait().expect("a child").is_some() {
            died = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(died, "it never came to {point}");
    let mut child = platform.start(None).await;
    (&mut sending).await.expect("all are sent");
    let found = platform.wait_for_timeline(COUNT).await;
    exactly_once(&found, COUNT);
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    platform.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commit_and_publish_loses_nothing() {
    dies_at("outbox.before_publish:3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_publish_and_ack_doubles_nothing() {
    dies_at("stage.before_ack:3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_right_after_a_commit_changes_nothing() {
    dies_at("tx.committed:11").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_exits_cleanly() {
    const COUNT: usize = 400;
    let platform = Platform::new().await;
    let provider = Arc::new(Provider::new(&platform));
    let mut child = platform.start(None).await;
    let sending = in_background(&provider, COUNT);
    while platform.timeline().await.len() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let terminated = std::process::Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .expect("kill runs");
    assert!(terminated.success());
    let status = child.wait().expect("it ends");
    assert!(status.success(), "it ended with {status}");
    let mut child = platform.start(None).await;
    sending.await.expect("all are sent");
    exactly_once(&platform.wait_for_timeline(COUNT).await, COUNT);
    child.kill().expect("kill -9");
    child.wait().expect("gone");
    platform.remove().await;
}
