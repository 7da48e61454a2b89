use std::{sync::Arc, time::Duration};

use trama_proto::case::v1::WorkRequested;
use trama_testkit::TestApp;

use crate::counter::{Counter, count, work};

#[tokio::test]
async fn a_timer_fires_when_the_clock_reaches_it_and_once() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    app.publish(
        "acme",
        "a",
        &WorkRequested {
            revision: 60,
            ..work("a")
        },
    )
    .await;
    app.settle().await;
    app.advance(Duration::from_secs(59)).await;
    assert_eq!(count(app.db("counter"), "a").await, 1);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(count(app.db("counter"), "a").await, 101);
    app.advance(Duration::from_secs(3600)).await;
    assert_eq!(count(app.db("counter"), "a").await, 101);
    app.stop().await;
}

#[tokio::test]
async fn arming_again_replaces() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    app.publish(
        "acme",
        "a",
        &WorkRequested {
            revision: 60,
            ..work("a")
        },
    )
    .await;
    app.settle().await;
    app.publish(
        "acme",
        "a",
        &WorkRequested {
            revision: 600,
            ..work("a")
        },
    )
    .await;
    app.settle().await;
    app.advance(Duration::from_secs(61)).await;
    assert_eq!(count(app.db("counter"), "a").await, 2);
    app.advance(Duration::from_secs(600)).await;
    assert_eq!(count(app.db("counter"), "a").await, 102);
    app.stop().await;
}
