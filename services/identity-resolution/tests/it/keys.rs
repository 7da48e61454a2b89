//! Which keys somebody has is known in two places, that must say the same; and what a record leaves in the audit log.

use trama_proto::{audit::v1::AuditOutcome, common::v1::Trust, identity_resolution::v1::PersonFacts};
use trama_testkit::TestApp;

use crate::{
    pains::extract,
    similar::{anna, id, record, resolve},
    world::{count, erase, start},
};

/// Rows of keys that only one of the two places knows.
async fn differences(app: &TestApp) -> i64 {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query_scalar(
        "WITH listed AS (SELECT tenant, unnest(keys) AS key, customer_id FROM keys_of),
         rows AS (SELECT tenant, key, customer_id FROM block_keys)
         SELECT (SELECT count(*) FROM (TABLE listed EXCEPT ALL TABLE rows) a)
              + (SELECT count(*) FROM (TABLE rows EXCEPT ALL TABLE listed) b)",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count")
}

fn ugo() -> PersonFacts {
    PersonFacts {
        given_name: "Ugo".into(),
        surname: "Lodi".into(),
        birth_date: "1951-01-30".into(),
        city: "Torino".into(),
        ..PersonFacts::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_keys_are_which_is_known_through_joining_taking_apart_and_erasing() {
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .configure(|config| config.privacy.secret = "a secret of the test, long enough".into())
        .start()
        .await;
    let first = resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], anna("Milano")),
    )
    .await;
    let again = record(
        "shop",
        "2",
        &["email:other@shop.test", "phone:+393331234567"],
        anna("Milano"),
    );
    let second = resolve(&app, again).await;
    assert_eq!(id(&first), id(&second), "the same person under a new address");
    resolve(&app, record("crm", "3", &["email:ugo@shop.test"], ugo())).await;
    app.settle().await;
    assert!(count(&app, "block_keys").await > 20);
    assert_eq!(differences(&app).await, 0, "joined");

    extract(&app, &id(&first), "phone:+393331234567").await;
    app.settle().await;
    assert_eq!(differences(&app).await, 0, "taken apart");

    erase(&app, &id(&first)).await;
    assert_eq!(differences(&app).await, 0, "erased");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_leaves_an_entry_in_the_audit_log_if_it_says_something_new() {
    let app = start().await;
    let from_crm = |number: &str| record("crm", number, &["email:annalisa@shop.test"], anna("Milano"));
    resolve(&app, from_crm("1")).await;
    let first = app.audited("/ResolveRecord").await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].outcome(), AuditOutcome::Committed);
    assert_eq!(first[0].subject, "crm");

    resolve(&app, from_crm("2")).await;
    assert_eq!(
        app.audited("/ResolveRecord").await.len(),
        1,
        "nothing became otherwise"
    );
    assert_eq!(count(&app, "observations").await, 2, "that it came is kept");

    resolve(
        &app,
        record("crm", "3", &["email:annalisa@shop.test"], anna("Lodi")),
    )
    .await;
    assert_eq!(app.audited("/ResolveRecord").await.len(), 2);

    let mut believed = record("crm", "4", &["email:annalisa@shop.test"], anna("Lodi"));
    let handles = believed.record.iter_mut().flat_map(|record| &mut record.handles);
    handles.for_each(|handle| handle.set_trust(Trust::Verified));
    resolve(&app, believed.clone()).await;
    assert_eq!(
        app.audited("/ResolveRecord").await.len(),
        3,
        "an address is believed more than before"
    );
    resolve(&app, believed).await;
    assert_eq!(app.audited("/ResolveRecord").await.len(), 3);
    app.stop().await;
}
