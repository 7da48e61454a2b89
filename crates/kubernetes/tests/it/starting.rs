//! Starts: without an API server, without rights, after a bad change.

use std::{fs, time::Duration};

use crate::{
    api_server::ApiServer,
    harness::{Setup, clock, folder, queue, queues},
};

#[tokio::test]
async fn without_the_api_server_the_last_good_resources_are_in_force() {
    let (api, dir, clock) = (ApiServer::start().await, folder(), clock());
    api.apply("Queue", "acme", "care", queue(60));
    let mut setup = Setup::new("a", &clock);
    setup.config.snapshot_dir = Some(dir.clone());
    let first = setup.start(&api).await.unwrap();
    wait_for_snapshot(&dir, "60").await;
    first.stop().await;

    api.go_away();
    api.apply("Queue", "acme", "care", queue(90));
    setup.pace.start_timeout = Duration::from_millis(20);
    let second = setup.start(&api).await.unwrap();
    assert_eq!(queues(&second.resources.snapshot()), ["care 60"]);
    clock.advance(Duration::from_secs(600));
    assert_eq!(second.cluster.watch_age().num_seconds(), 600, "and it shows");

    api.come_back();
    second
        .until("what the API server has", |r| queues(r) == ["care 90"])
        .await;
    second.stop().await;
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn without_both_it_does_not_start() {
    let api = ApiServer::start().await;
    api.go_away();
    let mut setup = Setup::new("a", &clock());
    setup.pace.start_timeout = Duration::from_millis(20);
    let error = setup.start(&api).await.err().unwrap();
    assert!(error.detail().contains("no last good ones"), "{}", error.detail());
}

#[tokio::test]
async fn a_kind_that_the_cluster_does_not_know_is_named_with_the_fix() {
    let api = ApiServer::start().await;
    api.forget_kind("surveys");
    let mut setup = Setup::new("a", &clock());
    setup.pace.start_timeout = Duration::from_secs(1);
    let detail = setup.start(&api).await.err().unwrap().detail();
    assert!(
        detail.contains("/surveys") && detail.contains("trama-crds"),
        "{detail}"
    );
}

#[tokio::test]
async fn what_became_bad_before_a_restart_stays_as_it_was() {
    let (api, dir, clock) = (ApiServer::start().await, folder(), clock());
    api.apply("Queue", "acme", "care", queue(60));
    let mut setup = Setup::new("a", &clock);
    setup.config.snapshot_dir = Some(dir.clone());
    let first = setup.start(&api).await.unwrap();
    api.apply("Queue", "acme", "care", queue(-1));
    api.apply("Queue", "acme", "sales", queue(20));
    first
        .until("the last good one", |r| queues(r) == ["care 60", "sales 20"])
        .await;
    wait_for_snapshot(&dir, "sales").await;
    first.stop().await;

    let second = setup.start(&api).await.unwrap();
    assert_eq!(queues(&second.resources.snapshot()), ["care 60", "sales 20"]);
    second.stop().await;
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_broken_snapshot_is_none() {
    let (api, dir) = (ApiServer::start().await, folder());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("resources.json"), "{\"version\":1,\"docu").unwrap();
    api.apply("Queue", "acme", "care", queue(60));
    let mut setup = Setup::new("a", &clock());
    setup.config.snapshot_dir = Some(dir.clone());
    let replica = setup.start(&api).await.unwrap();
    assert_eq!(queues(&replica.resources.snapshot()), ["care 60"]);
    wait_for_snapshot(&dir, "60").await;
    replica.stop().await;
    fs::remove_dir_all(dir).unwrap();
}

/// The file is written beside the work; nobody tells when.
async fn wait_for_snapshot(dir: &std::path::Path, text: &str) {
    let there =
        || fs::read_to_string(dir.join("resources.json")).is_ok_and(|t| t.contains(text) && t.ends_with('}'));
    let waited = tokio::time::timeout(crate::PATIENCE, async {
        while !there() {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "no snapshot with {text}");
}
