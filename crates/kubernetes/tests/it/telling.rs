//! What authors are told, and by whom.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    api_server::ApiServer,
    harness::{Setup, clock, queue, queues},
};

const GOOD: [&str; 3] = [
    "Accepted=True Valid",
    "ResolvedRefs=True Resolved",
    "Ready=True InForce",
];

#[tokio::test]
async fn authors_are_told_what_became_of_their_resources() {
    let api = ApiServer::start().await;
    api.apply("Queue", "acme", "care", queue(60));
    api.apply("Queue", "acme", "bare", Value::Null);
    let mut late = queue(20);
    late["hours"] = json!("weekdays");
    api.apply("Queue", "acme", "late", late);
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();

    told(&api, "care", GOOD).await;
    let refused = [
        "Accepted=False Invalid",
        "ResolvedRefs=Unknown NotAccepted",
        "Ready=False Refused",
    ];
    told(&api, "bare", refused).await;
    let dangling = [
        "Accepted=True Valid",
        "ResolvedRefs=False RefNotFound",
        "Ready=False RefsNotResolved",
    ];
    told(&api, "late", dangling).await;
    let status = &api.object("Queue", "acme", "late")["status"];
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(
        status["conditions"][1]["message"],
        "spec.hours: business hours `weekdays` does not exist"
    );

    let hours = json!({"timeZone": "Europe/Rome", "weekly": {"monday": ["09:00-18:00"]}});
    api.apply("BusinessHours", "acme", "weekdays", hours);
    told(&api, "late", GOOD).await;

    api.apply("Queue", "acme", "care", queue(-1));
    let kept = [
        "Accepted=False Invalid",
        "ResolvedRefs=Unknown NotAccepted",
        "Ready=False LastGoodInForce",
    ];
    told(&api, "care", kept).await;
    let status = &api.object("Queue", "acme", "care")["status"];
    assert_eq!(status["observedGeneration"], 2);
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("targetSeconds") && message.contains("last good"),
        "{message}"
    );
    replica.stop().await;
}

#[tokio::test]
async fn what_is_told_is_not_told_again() {
    let (api, clock) = (ApiServer::start().await, clock());
    for name in ["care", "sales"] {
        api.apply("Queue", "acme", name, queue(60));
    }
    api.apply("Queue", "acme", "bare", Value::Null);
    let replica = Setup::new("a", &clock).start(&api).await.unwrap();
    api.until("all are told", |api| api.calls("status").len() == 3)
        .await;
    let call = &api.calls("status")[0];
    assert!(call.body["spec"].is_null() && call.body["metadata"]["resourceVersion"].is_string());
    assert!(
        call.query.contains("fieldManager=trama") && call.query.contains("force=true"),
        "{call:?}"
    );

    for beat in 1..=5 {
        clock.advance(Duration::from_secs(4));
        api.until("the lease is renewed", |api| api.calls("PUT lease").len() >= beat)
            .await;
    }
    // The last of these is told after all beats: nothing else was written before it.
    api.apply("Queue", "acme", "care", queue(90));
    api.until("a new generation", |api| {
        api.object("Queue", "acme", "care")["status"]["observedGeneration"] == 2
    })
    .await;
    assert_eq!(api.calls("status").len(), 4);
    replica.stop().await;
}

#[tokio::test]
async fn who_is_overtaken_looks_again() {
    let api = ApiServer::start().await;
    api.overtake_the_next_status();
    api.apply("Queue", "acme", "care", queue(60));
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();
    told(&api, "care", GOOD).await;
    assert_eq!(api.calls("status").len(), 2, "refused, and then not");
    assert!(!replica.lifecycle.failed());
    replica.stop().await;
}

#[tokio::test]
async fn only_one_of_two_replicas_tells() {
    let (api, clock) = (ApiServer::start().await, clock());
    api.apply("Queue", "acme", "care", queue(60));
    let a = Setup::new("a", &clock).start(&api).await.unwrap();
    api.until("a tells", |api| api.calls("status").len() == 1).await;
    let b = Setup::new("b", &clock).start(&api).await.unwrap();
    api.until("b has looked at the lease", |api| has_looked(api, "b"))
        .await;

    api.apply("Queue", "acme", "care", queue(90));
    for replica in [&a, &b] {
        replica.until("both have it", |r| queues(r) == ["care 90"]).await;
    }
    api.until("a tells again", |api| api.calls("status").len() == 2)
        .await;
    a.stop().await;
    assert_eq!(
        api.lease("trama-resources")["spec"]["holderIdentity"],
        Value::Null,
        "let go of"
    );

    clock.advance(Duration::from_secs(4));
    api.apply("Queue", "acme", "care", queue(30));
    api.until("b has taken over", |api| api.calls("status").len() == 3)
        .await;
    let writers: Vec<_> = api.calls("status").into_iter().map(|c| c.replica).collect();
    assert_eq!(writers, ["a", "a", "b"]);
    b.stop().await;
}

#[tokio::test]
async fn of_two_that_start_at_once_one_tells() {
    let (api, clock) = (ApiServer::start().await, clock());
    api.apply("Queue", "acme", "care", queue(60));
    let (a, b) = (Setup::new("a", &clock), Setup::new("b", &clock));
    let (a, b) = tokio::join!(a.start(&api), b.start(&api));
    let (a, b) = (a.unwrap(), b.unwrap());
    api.until("both have looked at the lease", |api| {
        has_looked(api, "a") && has_looked(api, "b")
    })
    .await;
    told(&api, "care", GOOD).await;
    clock.advance(Duration::from_secs(4));
    let beats = |api: &ApiServer, replica| {
        api.calls("GET lease")
            .iter()
            .filter(|c| c.replica == replica)
            .count()
    };
    api.until("another beat of both", |api| {
        beats(api, "a") >= 2 && beats(api, "b") >= 2
    })
    .await;

    api.apply("Queue", "acme", "care", queue(90));
    api.until("told again", |api| api.calls("status").len() == 2)
        .await;
    let writers: Vec<_> = api.calls("status").into_iter().map(|c| c.replica).collect();
    assert_eq!(writers[0], writers[1]);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_writer_that_vanishes_is_followed_by_another() {
    let (api, clock) = (ApiServer::start().await, clock());
    api.apply("Queue", "acme", "care", queue(60));
    let a = Setup::new("a", &clock).start(&api).await.unwrap();
    api.until("a tells", |api| api.calls("status").len() == 1).await;
    let b = Setup::new("b", &clock).start(&api).await.unwrap();
    api.until("b has looked at the lease", |api| has_looked(api, "b"))
        .await;

    // a still runs, but nothing of it gets through.
    api.refuse("a");
    clock.advance(Duration::from_secs(16));
    api.apply("Queue", "acme", "care", queue(90));
    api.until("b tells", |api| {
        api.calls("status").iter().any(|c| c.replica == "b")
    })
    .await;
    assert_eq!(api.lease("trama-resources")["spec"]["leaseTransitions"], 2);
    a.stop().await;
    b.stop().await;
}

/// Waits until the author of a queue is told this.
async fn told(api: &ApiServer, queue: &str, conditions: [&str; 3]) {
    let what = format!("{queue}: {conditions:?}");
    api.until(&what, |api| api.conditions("Queue", "acme", queue) == conditions)
        .await;
}

fn has_looked(api: &ApiServer, replica: &str) -> bool {
    api.calls("GET lease").iter().any(|c| c.replica == replica)
}
