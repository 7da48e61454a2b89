//! Whoever was erased does not come back by what other systems still have: files, records, changes of a CRM, late deliveries.

use std::{collections::BTreeMap, time::Duration};

use tonic::Code;
use trama_proto::{
    common::v1::Handle,
    identity_resolution::v1::{
        FindCustomersRequest, ImportState, PersonFacts, RecordFormat, ResolveRecordRequest,
        StartImportRequest, UpsertCustomerRequest,
    },
    time::to_wire,
};
use trama_testkit::TestApp;

use crate::{
    import::{open, send},
    profile_world::profiles,
    similar::{anna as facts, id, record, resolve},
    world::{TENANT, client, count, erase, handle, interaction, receive, who},
};

const DEVICE: &str = "device:0f9c-aa31-77de";
const FILE: &str = "external_id,handle:email,handle:device,display_name\r\n\
    7001,vera@example.com,0F9C-AA31-77DE,Vera Lodi\r\n\
    7002,ugo@example.com,,Ugo Lodi\r\n";

async fn import(app: &TestApp, recorded_at: Option<prost_types::Timestamp>) -> (i64, i64, i64) {
    let request = StartImportRequest {
        format: RecordFormat::Csv as i32,
        source: "crm".into(),
        recorded_at,
        ..Default::default()
    };
    let import = open(app, request).await.expect("open");
    let done = send(app, &import, FILE.as_bytes(), 1000).await;
    assert_eq!(done.state(), ImportState::Done, "{:?}", done.errors);
    (done.created, done.unchanged, done.failed)
}

async fn found(app: &TestApp, whose: &str) -> Vec<String> {
    let request = FindCustomersRequest {
        handle: Some(handle(whose)),
    };
    let answer = client(app)
        .find_customers(app.request(TENANT, "bruno", request))
        .await;
    let customers = answer.expect("looked").into_inner().customers;
    customers.into_iter().map(|c| c.customer_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_records_and_changes_of_a_crm_do_not_bring_back_who_was_erased() {
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .configure(|config| config.privacy.secret = "a secret of the test, long enough".into())
        .start()
        .await;
    assert_eq!(import(&app, None).await, (2, 0, 0));
    let mail = interaction("before", "email:vera@example.com");
    let vera = who(&app, &mail).await;
    assert_eq!(found(&app, DEVICE).await, std::slice::from_ref(&vera));
    let before = app.clock.now();
    app.advance(Duration::from_secs(3600)).await;

    erase(&app, &vera).await;
    assert_eq!(count(&app, "customers").await, 1, "Ugo stays");

    // The same file, once as it was and once dated before the erasure.
    for recorded_at in [None, Some(to_wire(before))] {
        assert_eq!(import(&app, recorded_at).await, (0, 2, 0));
    }
    // A record and a change of the CRM, by any one of her addresses.
    for known_by in [
        handle("email:vera@example.com"),
        handle(DEVICE),
        handle("crm:7001"),
    ] {
        let known = format!("{}:{}", known_by.kind, known_by.value);
        let old = record("shop", "77", &[known.as_str()], facts("Milano"));
        assert_eq!(
            refused_record(&app, old).await,
            Code::FailedPrecondition,
            "{known}"
        );
        for recorded_at in [None, Some(to_wire(before))] {
            let upsert = upsert(known_by.clone(), recorded_at);
            let refused = profiles(&app)
                .upsert_customer(app.request(TENANT, "salesforce", upsert))
                .await
                .expect_err("refused");
            assert_eq!(refused.code(), Code::FailedPrecondition, "{known}");
        }
    }
    // What she had written before arrives once more, and something that she wrote before arrives late.
    let mut late = interaction("late", "email:vera@example.com");
    late.occurred_at = Some(to_wire(before));
    for words in [&mail, &late] {
        let mut words = words.clone();
        words.occurred_at = Some(to_wire(before));
        receive(&app, TENANT, &words).await;
    }
    app.settle().await;
    assert_eq!(count(&app, "customers").await, 1);
    for address in ["email:vera@example.com", DEVICE, "crm:7001"] {
        assert_eq!(found(&app, address).await, Vec::<String>::new(), "{address}");
    }

    // Who says that they heard of her since brings somebody new.
    app.advance(Duration::from_secs(3600)).await;
    let since = Some(to_wire(app.clock.now()));
    assert_eq!(import(&app, since).await, (1, 1, 0));
    let anew = found(&app, DEVICE).await;
    assert!(anew.len() == 1 && anew[0] != vera);
    app.stop().await;
}

/// How many customers know each value, with what is still to be added up; without the values that count records at home, which are
/// nobody's.
async fn frequencies(app: &TestApp) -> BTreeMap<i64, i64> {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT value, sum(customers)::bigint FROM (
             SELECT value, customers FROM value_stats
             UNION ALL SELECT n.value, n.delta FROM value_batches b CROSS JOIN LATERAL unnest(b.valued, b.deltas) AS n (value, delta)
         ) s WHERE value NOT IN (1, 2) GROUP BY value HAVING sum(customers) <> 0",
    )
    .fetch_all(tx.conn())
    .await
    .expect("frequencies");
    rows.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_is_not_counted_any_more_in_how_frequent_names_are() {
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .configure(|config| config.privacy.secret = "a secret of the test, long enough".into())
        .start()
        .await;
    let other = PersonFacts {
        given_name: "Ugo".into(),
        surname: "Quattrocchi".into(),
        birth_date: "1951-01-02".into(),
        ..PersonFacts::default()
    };
    resolve(&app, record("crm", "9", &["email:ugo@shop.test"], other)).await;
    app.settle().await;
    let before = frequencies(&app).await;
    assert_eq!(before[&0], 1, "one customer of whom something is known");

    // Two records of hers: counted once, whatever both say.
    let first = resolve(
        &app,
        record("crm", "1", &["email:annalisa@shop.test"], facts("Milano")),
    )
    .await;
    let second = resolve(
        &app,
        record("shop", "a", &["phone:+393331234567"], facts("Milano")),
    )
    .await;
    assert_eq!(id(&first), id(&second));
    app.settle().await;
    assert_eq!(frequencies(&app).await[&0], 2);

    erase(&app, &id(&first)).await;
    assert_eq!(frequencies(&app).await, before);
    app.advance(Duration::from_secs(3600)).await;
    assert_eq!(frequencies(&app).await, before, "added up, too");
    app.stop().await;
}

async fn refused_record(app: &TestApp, request: ResolveRecordRequest) -> Code {
    let answer = client(app)
        .resolve_record(app.request(TENANT, "shop", request))
        .await;
    answer.expect_err("refused").code()
}

fn upsert(known_by: Handle, recorded_at: Option<prost_types::Timestamp>) -> UpsertCustomerRequest {
    let external_id = match known_by.kind.as_str() {
        "crm" => known_by.value.clone(),
        _ => "elsewhere-9".to_owned(),
    };
    UpsertCustomerRequest {
        source: "salesforce".into(),
        external_id,
        handles: vec![known_by],
        display_name: "Vera Lodi".into(),
        recorded_at,
        ..Default::default()
    }
}
