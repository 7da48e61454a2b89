use std::sync::Arc;

use trama_platform::{bus::Stream, stage::DeadLetters};
use trama_proto::case::v1::{WorkRequested, WorkWithdrawn};
use trama_testkit::TestApp;

use crate::counter::{Counter, count, work};

#[tokio::test]
async fn a_second_delivery_changes_nothing() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let id = app.publish("acme", "a", &work("a")).await;
    app.settle().await;
    app.deliver_again(id, "acme", "a", &work("a")).await;
    app.deliver_again(id, "acme", "a", &work("a")).await;
    app.settle().await;
    assert_eq!(count(app.db("counter"), "a").await, 1);
    assert_eq!(app.events::<WorkWithdrawn>().await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_poison_message_sinks_only_itself() {
    let app = TestApp::builder(&[Arc::new(Counter)])
        .configure(|c| c.stage.backoff_ms = 1)
        .start()
        .await;
    for n in 0..40 {
        app.publish("acme", "one key, one partition", &work(&format!("k{n}")))
            .await;
        if n == 20 {
            app.publish("acme", "one key, one partition", &work("poison"))
                .await;
            app.publish("acme", "one key, one partition", &work("invalid"))
                .await;
        }
    }
    app.settle().await;
    for n in 0..40 {
        assert_eq!(count(app.db("counter"), &format!("k{n}")).await, 1, "k{n}");
    }
    let letters = DeadLetters::new(app.running.bus.clone())
        .list()
        .await
        .expect("letters");
    let mut seen: Vec<_> = letters
        .iter()
        .map(|l| (l.error.contains("never works"), l.attempts))
        .collect();
    seen.sort_unstable();
    // What is invalid for ever goes at once, what merely fails is tried five times.
    assert_eq!(seen, [(false, 1), (true, 5)]);
    app.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_set_aside_and_can_be_redriven() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let subject = app.running.bus.subject(
        Stream::Events,
        "work_requested",
        &trama_testkit::tenant("acme"),
        "k",
    );
    let id = app.clock.new_id();
    app.publish_raw(&subject, &id.to_string(), id, vec![0xff; 9])
        .await;
    app.settle().await;
    let letters = DeadLetters::new(app.running.bus.clone());
    let found = letters.list().await.expect("letters");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].stage.as_str(), found[0].id.as_str()),
        ("counter", id.to_string().as_str())
    );
    letters.redrive(found[0].sequence).await.expect("redriven");
    app.settle().await;
    let again = letters.list().await.expect("letters");
    assert_eq!(again.len(), 1, "it failed again and is back");
    letters.drop_letter(again[0].sequence).await.expect("dropped");
    assert_eq!(letters.list().await.expect("letters").len(), 0);
    assert!(letters.redrive(4711).await.is_err());
    app.stop().await;
}

#[tokio::test]
async fn a_redriven_message_is_worked_in_once_by_whoever_missed_it() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    // Worked in, then redriven as if another stage had refused it.
    let event: WorkRequested = work("a");
    let id = app.publish("acme", "a", &event).await;
    app.settle().await;
    app.deliver_again(id, "acme", "a", &event).await;
    app.settle().await;
    assert_eq!(count(app.db("counter"), "a").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_thousand_messages_of_many_keys_are_each_counted_once() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    for n in 0..1000 {
        app.publish("acme", &format!("k{n}"), &work(&format!("k{}", n % 50)))
            .await;
    }
    app.settle().await;
    for n in 0..50 {
        assert_eq!(count(app.db("counter"), &format!("k{n}")).await, 20);
    }
    assert_eq!(app.events::<WorkWithdrawn>().await.len(), 1000);
    app.stop().await;
}

#[tokio::test]
async fn two_replicas_share_the_partitions_and_count_once() {
    let one = TestApp::builder(&[Arc::new(Counter)])
        .configure(|c| c.bus.partitions = 4)
        .start()
        .await;
    let options = trama_platform::Options {
        migrate: false,
        clock: Some(one.clock.clone()),
        resources: Some(trama_platform::resources::ResourceStore::fixed(Default::default())),
        ..Default::default()
    };
    let two = trama_platform::start(&[Arc::new(Counter)], one.config.clone(), options)
        .await
        .expect("a second replica");
    for n in 0..300 {
        one.publish("acme", &format!("k{n}"), &work(&format!("k{n}")))
            .await;
    }
    one.settle().await;
    assert!(two.stop().await);
    for n in 300..400 {
        one.publish("acme", &format!("k{n}"), &work(&format!("k{n}")))
            .await;
    }
    one.settle().await;
    for n in 0..400 {
        assert_eq!(count(one.db("counter"), &format!("k{n}")).await, 1);
    }
    one.stop().await;
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let mut config = app.config.clone();
    config.bus.partitions += 1;
    let error = match trama_platform::start(&[Arc::new(Counter)], config, Default::default()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    };
    assert!(error.to_string().contains("partitions"), "{error}");
    app.stop().await;
}
