//! What a tenant keeps no longer.

use std::time::Duration;

use trama_testkit::TestApp;

use crate::{
    similar::{anna, id, record, resolve},
    world::{count, interaction, logged_in, who},
};

const DAY: u64 = 24 * 3600;

fn policy(keep_days: &str) -> String {
    format!(
        "
apiVersion: trama.dev/v1alpha1
kind: RetentionPolicy
metadata: {{name: default, namespace: acme}}
spec: {{keepDays: {keep_days}}}
"
    )
}

async fn start(keep_days: &str) -> TestApp {
    TestApp::builder(&[trama_identity_resolution::service()])
        .resources(&policy(keep_days))
        .configure(|config| config.privacy.secret = "a secret of the test, long enough".into())
        .start()
        .await
}

async fn expire(app: &TestApp) -> u64 {
    let gone = app.running.expire().await.expect("looked");
    app.settle().await;
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_whom_nobody_has_heard_for_too_long_are_erased_and_all_others_stay() {
    let app = start("{customers: 400}").await;
    who(&app, &interaction("hello", "email:silent@example.com")).await;
    let faithful = who(&app, &interaction("hi", "email:faithful@example.com")).await;
    app.advance(Duration::from_secs(399 * DAY)).await;
    assert_eq!(expire(&app).await, 0, "not yet");
    assert_eq!(
        who(&app, &interaction("again", "email:faithful@example.com")).await,
        faithful
    );
    app.advance(Duration::from_secs(2 * DAY)).await;
    assert_eq!(expire(&app).await, 1);
    assert_eq!(count(&app, "customers").await, 1);
    assert_eq!(
        who(&app, &interaction("still", "email:faithful@example.com")).await,
        faithful
    );
    assert_eq!(expire(&app).await, 0, "once");
    let by: Vec<String> = {
        let mut tx = app
            .db("identity-resolution")
            .system_tx()
            .await
            .expect("a transaction");
        sqlx::query_scalar("SELECT requested_by FROM privacy_requests")
            .fetch_all(tx.conn())
            .await
            .expect("requests")
    };
    assert_eq!(by, ["retention"], "it is asked of all services, and reported");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_erased_for_silence_where_the_tenant_has_not_said_so() {
    let app = start("{audit: 30}").await;
    who(&app, &interaction("hello", "email:silent@example.com")).await;
    app.advance(Duration::from_secs(4_000 * DAY)).await;
    expire(&app).await;
    assert_eq!(count(&app, "customers").await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_goes_by_age_and_the_customer_is_known_as_before() {
    let app = start("{sayings: 30}").await;
    let first = id(&resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await);
    assert_eq!(count(&app, "observations").await, 1);
    app.advance(Duration::from_secs(29 * DAY)).await;
    assert_eq!(expire(&app).await, 0);
    app.advance(Duration::from_secs(2 * DAY)).await;
    assert_eq!(expire(&app).await, 1);
    assert_eq!(count(&app, "observations").await, 0);
    let again = resolve(
        &app,
        record("shop", "a", &["phone:+393331234567"], anna("Milano")),
    )
    .await;
    assert_eq!(id(&again), first, "she is recognised by what is known of her");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_proofs_goes_by_age() {
    let app = start("{proofLog: 30}").await;
    who(&app, &logged_in("in", "s1", "1001", "anna@example.com")).await;
    assert!(count(&app, "verification_log").await > 0);
    app.advance(Duration::from_secs(29 * DAY)).await;
    assert_eq!(expire(&app).await, 0);
    app.advance(Duration::from_secs(2 * DAY)).await;
    assert!(expire(&app).await > 0);
    assert_eq!(count(&app, "verification_log").await, 0);
    app.stop().await;
}
