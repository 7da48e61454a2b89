//! Many writers at once on the same few customers: nobody waits for ever, and nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use futures::future::join_all;
use tonic::Code;
use trama_proto::{
    common::v1::Trust,
    identity_resolution::v1::{
        CustomerMerged, CustomerSplit, FindCustomersRequest, MergeCustomersRequest, Record,
        ResolveRecordRequest, SplitCustomersRequest,
    },
};
use trama_testkit::TestApp;
use uuid::Uuid;

use crate::world::{client, handle, start, with_trust};

const TENANT: &str = "hot";
const WRITERS: usize = 16;
const CUSTOMERS: usize = 12;

/// The merges of the tenant, in force or not: id → who remained, who became an alias, whether it was undone.
async fn log(app: &TestApp) -> BTreeMap<Uuid, (Uuid, Uuid, bool)> {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<(Uuid, Uuid, Uuid, bool)> = sqlx::query_as(
        "SELECT merge_id, survivor, merged, undone_at IS NOT NULL FROM merges WHERE tenant = $1 ORDER BY merge_id",
    )
    .bind(TENANT)
    .fetch_all(tx.conn())
    .await
    .expect("rows");
    rows.into_iter()
        .map(|(id, a, b, undone)| (id, (a, b, undone)))
        .collect()
}

/// Those in force.
async fn open_merges(app: &TestApp) -> Vec<Uuid> {
    let log = log(app).await.into_iter();
    log.filter(|(_, (.., undone))| !undone)
        .map(|(id, _)| id)
        .collect()
}

/// One customer per mail address.
async fn customers(app: &TestApp) -> Vec<Uuid> {
    let mut made = Vec::new();
    for number in 0..CUSTOMERS {
        let record = Record {
            source: "crm".into(),
            external_id: number.to_string(),
            handles: vec![handle(&format!("email:p{number}@shop.test"))],
            ..Record::default()
        };
        let request = ResolveRecordRequest {
            record: Some(record),
            dry_run: false,
        };
        let answer = client(app)
            .resolve_record(app.request(TENANT, "crm", request))
            .await;
        let customer = answer
            .expect("resolved")
            .into_inner()
            .customer
            .expect("a customer");
        made.push(customer.customer_id.parse().expect("an id"));
    }
    made
}

/// Who holds each of the addresses now.
async fn owners(app: &TestApp) -> Vec<Uuid> {
    let mut owners = Vec::new();
    for number in 0..CUSTOMERS {
        let request = FindCustomersRequest {
            handle: Some(handle(&format!("email:p{number}@shop.test"))),
        };
        let answer = client(app)
            .find_customers(app.request(TENANT, "bruno", request))
            .await;
        let found = answer.expect("allowed").into_inner().customers;
        owners.push(found[0].customer_id.parse().expect("an id"));
    }
    owners
}

/// What callers were told.
#[derive(Clone, Default)]
struct Told {
    merged: BTreeSet<Uuid>,
    undone: BTreeSet<Uuid>,
}

/// An answer that a caller may get when others are at work: done, or settled otherwise already. Whoever was overtaken asks
/// again, as every caller does; a deadlock that the database had to break would tell another thing.
fn is_settled(answer: Result<(), &tonic::Status>, already: &[&str]) -> bool {
    match answer {
        Ok(()) => true,
        Err(status) if status.code() == Code::Aborted => {
            assert_eq!(status.message(), "the customer changed meanwhile; try again");
            false
        }
        Err(status) => {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
            assert!(already.contains(&status.message()), "{status:?}");
            true
        }
    }
}

async fn merge(app: &TestApp, told: &Mutex<Told>, survivor: Uuid, merged: Uuid) {
    loop {
        let request = MergeCustomersRequest {
            survivor_customer_id: survivor.to_string(),
            merged_customer_id: merged.to_string(),
            reason: "test".into(),
            request_id: String::new(),
        };
        let answer = client(app)
            .merge_customers(app.request(TENANT, "bruno", request))
            .await;
        let settled = is_settled(
            answer.as_ref().map(|_| ()),
            &["both ids are already the same customer"],
        );
        if let Ok(merged) = answer {
            let id = merged.into_inner().merge_id.parse().expect("an id");
            assert!(told.lock().expect("nobody panicked").merged.insert(id));
        }
        if settled {
            return;
        }
    }
}

async fn split(app: &TestApp, told: &Mutex<Told>, merge: Uuid) {
    loop {
        let request = SplitCustomersRequest {
            merge_id: merge.to_string(),
            request_id: String::new(),
        };
        let answer = client(app)
            .split_customers(app.request(TENANT, "bruno", request))
            .await;
        let settled = is_settled(answer.as_ref().map(|_| ()), &["this merge was undone before"]);
        if answer.is_ok() {
            assert!(
                told.lock().expect("nobody panicked").undone.insert(merge),
                "undone twice"
            );
        }
        if settled {
            return;
        }
    }
}

fn so_far(told: &Mutex<Told>) -> Told {
    told.lock().expect("nobody panicked").clone()
}

/// The merge log says what callers were told, and explains who is one with whom.
async fn log_explains(app: &TestApp, all: &[Uuid], told: &Told) {
    let log = log(app).await;
    assert_eq!(log.keys().copied().collect::<BTreeSet<_>>(), told.merged);
    let undone = log.iter().filter(|(_, (.., undone))| *undone).map(|(id, _)| *id);
    assert_eq!(undone.collect::<BTreeSet<_>>(), told.undone);
    let in_force = || log.values().filter(|(.., undone)| !undone);
    let into: BTreeMap<Uuid, Uuid> = in_force().map(|(a, b, _)| (*b, *a)).collect();
    assert_eq!(into.len(), in_force().count(), "an alias of two");
    let root = |id: &Uuid| std::iter::successors(Some(*id), |id| into.get(id).copied()).last();
    let explained: Vec<Uuid> = all.iter().filter_map(root).collect();
    assert_eq!(owners(app).await, explained);
    app.settle().await;
    let published = |ids: Vec<String>| -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = ids.iter().map(|id| id.parse().expect("an id")).collect();
        ids.sort_unstable();
        ids
    };
    let merged = app.events::<CustomerMerged>().await;
    let merged = published(merged.into_iter().map(|p| p.event.merge_id).collect());
    assert_eq!(merged, told.merged.iter().copied().collect::<Vec<_>>());
    let split = app.events::<CustomerSplit>().await;
    let split = published(split.into_iter().map(|p| p.event.merge_id).collect());
    assert_eq!(split, told.undone.iter().copied().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_people_who_merge_and_split_the_same_customers_never_deadlock_and_lose_nothing() {
    let app = start().await;
    let all = customers(&app).await;
    let told = Mutex::new(Told::default());
    let at_once = async {
        // Overlapping pairs in both directions: a ring, and chords across it.
        let joining = (0..WRITERS).map(|writer| {
            let (app, all, told) = (&app, &all, &told);
            async move {
                for step in 0..4 {
                    let one = (writer + step * 5) % CUSTOMERS;
                    let other = (one + 1 + (writer / CUSTOMERS) * 4) % CUSTOMERS;
                    let (a, b) = if (writer + step) % 2 == 0 {
                        (one, other)
                    } else {
                        (other, one)
                    };
                    merge(app, told, all[a], all[b]).await;
                }
            }
        });
        join_all(joining).await;
        let holders = owners(&app).await;
        assert!(
            holders.iter().all(|o| *o == holders[0]),
            "every merge was made: {holders:?}"
        );
        log_explains(&app, &all, &so_far(&told)).await;

        // Half of them undo what the other half goes on to join.
        let mixed = (0..WRITERS).map(|writer| {
            let (app, all, told) = (&app, &all, &told);
            async move {
                for step in 0..6 {
                    if writer % 2 == 0 {
                        let open = open_merges(app).await;
                        if let Some(place) = (writer / 2 + step).checked_rem(open.len()) {
                            split(app, told, open[place]).await;
                        }
                    } else {
                        let a = (writer + step * 7) % CUSTOMERS;
                        let b = (a + 1 + (writer + step) % 5) % CUSTOMERS;
                        merge(app, told, all[a], all[b]).await;
                    }
                }
            }
        });
        join_all(mixed).await;
        log_explains(&app, &all, &so_far(&told)).await;

        // All at once take everything apart, most of it twice.
        let open = open_merges(&app).await;
        let parting = (0..WRITERS).map(|writer| {
            let (app, open, told) = (&app, &open, &told);
            async move {
                for merge in open.iter().cycle().skip(writer).take(open.len().min(4)) {
                    split(app, told, *merge).await;
                }
            }
        });
        join_all(parting).await;
        log_explains(&app, &all, &so_far(&told)).await;
        assert_eq!(owners(&app).await, all, "everybody is who they were");
    };
    tokio::time::timeout(Duration::from_secs(60), at_once)
        .await
        .expect("nobody waits for ever");
    app.stop().await;
}

/// A record that shows the addresses of several customers: matching makes them one.
async fn show(app: &TestApp, writer: usize, number: usize, shown: &[usize]) {
    let handles = shown.iter().map(|n| handle(&format!("email:p{n}@shop.test")));
    let record = Record {
        source: format!("writer{writer}"),
        external_id: number.to_string(),
        handles: handles.collect(),
        ..Record::default()
    };
    loop {
        let request = ResolveRecordRequest {
            record: Some(record.clone()),
            dry_run: false,
        };
        let answer = client(app)
            .resolve_record(app.request(TENANT, "crm", request))
            .await;
        if is_settled(answer.as_ref().map(|_| ()), &[]) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_join_customers_never_deadlock_with_people_who_merge_and_split_the_same_ones() {
    let app = start().await;
    let all = customers(&app).await;
    let told = Mutex::new(Told::default());
    let at_once = (0..WRITERS).map(|writer| {
        let (app, all, told) = (&app, &all, &told);
        async move {
            for step in 0..8 {
                let a = (writer * 5 + step * 7) % CUSTOMERS;
                let b = (a + 1 + (writer + step) % 5) % CUSTOMERS;
                match writer % 4 {
                    0 | 1 => show(app, writer, step, &[a, b, (b + 3) % CUSTOMERS]).await,
                    2 => merge(app, told, all[a], all[b]).await,
                    _ => {
                        let open = open_merges(app).await;
                        if let Some(place) = (writer + step).checked_rem(open.len()) {
                            split(app, told, open[place]).await;
                        }
                    }
                }
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(60), join_all(at_once))
        .await
        .expect("nobody waits for ever");
    let in_log: BTreeSet<Uuid> = log(&app).await.into_keys().collect();
    assert!(
        in_log.is_superset(&so_far(&told).merged),
        "what a person was told of is kept"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_on_a_few_handles_never_deadlock_and_leave_no_orphan() {
    let app = start().await;
    let writer = |writer: usize| {
        let app = &app;
        async move {
            for number in 0..20_usize {
                let mut handles = vec![
                    with_trust(&format!("cookie:hot{}", (writer + number) % 5), Trust::Observed),
                    with_trust(
                        &format!("email:p{}@shop.test", (writer * 7 + number) % 40),
                        Trust::Observed,
                    ),
                ];
                if number.is_multiple_of(3) {
                    handles.reverse();
                }
                let request = ResolveRecordRequest {
                    record: Some(Record {
                        source: format!("writer{writer}"),
                        external_id: number.to_string(),
                        handles,
                        ..Record::default()
                    }),
                    dry_run: false,
                };
                let answer = client(app)
                    .resolve_record(app.request(TENANT, "crm", request))
                    .await;
                match answer {
                    Ok(_) => {}
                    Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
                }
                if writer < 4 && number.is_multiple_of(5) {
                    let open = open_merges(app).await;
                    if let Some(id) = open.get(writer) {
                        let request = SplitCustomersRequest {
                            merge_id: id.to_string(),
                            request_id: String::new(),
                        };
                        let split = client(app)
                            .split_customers(app.request(TENANT, "bruno", request))
                            .await;
                        if let Err(status) = split {
                            assert!(
                                matches!(status.code(), Code::Aborted | Code::FailedPrecondition),
                                "{status:?}"
                            );
                        }
                    }
                }
            }
        }
    };
    join_all((0..WRITERS).map(writer)).await;
    app.settle().await;
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let astray: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM handles h
         LEFT JOIN customers c USING (tenant, customer_id)
         LEFT JOIN customers r ON r.tenant = c.tenant AND r.customer_id = c.merged_into
         WHERE c.customer_id IS NULL OR (c.merged_into IS NOT NULL AND (r.customer_id IS NULL OR r.merged_into IS NOT NULL))",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count");
    assert_eq!(astray, 0, "every handle leads to somebody who is nobody's alias");
    let aliases: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM customers c WHERE (c.merged_into IS NOT NULL)
         <> EXISTS (SELECT FROM merges m WHERE m.tenant = c.tenant AND m.merged = c.customer_id AND m.undone_at IS NULL)",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count");
    assert_eq!(
        aliases, 0,
        "an alias has exactly one merge in force, and nobody else has one"
    );
    drop(tx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_when_the_id_that_led_to_them_leads_elsewhere_by_now() {
    let app = start().await;
    let all = customers(&app).await;
    merge(&app, &Mutex::new(Told::default()), all[0], all[1]).await;
    let db = app.db("identity-resolution");
    let mut tx = db.system_tx().await.expect("a transaction");
    let hold = "SELECT hold_alone($1, $2, $3)";
    let elsewhere: Option<Uuid> = sqlx::query_scalar(hold)
        .bind(TENANT)
        .bind([all[2]])
        .bind([all[1]])
        .fetch_one(tx.conn())
        .await
        .expect("an answer");
    assert_eq!(
        elsewhere,
        Some(all[1]),
        "as if a split had given it to all[2] before"
    );
    let mut other = db.system_tx().await.expect("a transaction");
    sqlx::query("SELECT FROM customers WHERE tenant = $1 AND customer_id = $2 FOR UPDATE NOWAIT")
        .bind(TENANT)
        .bind(all[2])
        .execute(other.conn())
        .await
        .expect("let go of");
    let elsewhere: Option<Uuid> = sqlx::query_scalar(hold)
        .bind(TENANT)
        .bind([all[0]])
        .bind([all[0], all[1], Uuid::nil()])
        .fetch_one(tx.conn())
        .await
        .expect("an answer");
    assert_eq!(elsewhere, None, "held; who was erased leads nowhere");
    drop((tx, other));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_holds_no_alias_that_leads_elsewhere_and_nothing_that_somebody_else_wrote() {
    let app = start().await;
    let all = customers(&app).await;
    merge(&app, &Mutex::new(Told::default()), all[0], all[1]).await;
    let db = app.db("identity-resolution");
    let mut tx = db.system_tx().await.expect("a transaction");
    let version: i32 =
        sqlx::query_scalar("SELECT version FROM customers WHERE tenant = $1 AND customer_id = $2")
            .bind(TENANT)
            .bind(all[1])
            .fetch_one(tx.conn())
            .await
            .expect("a version");
    let mut held = Vec::new();
    for (root, read) in [(all[2], version), (all[0], version + 1), (all[0], version)] {
        let mut tx = db.system_tx().await.expect("a transaction");
        let answer: bool = sqlx::query_scalar("SELECT hold_weakly($1, $2, $3, $4)")
            .bind([TENANT, TENANT])
            .bind([root, all[1]])
            .bind([None, Some(root)])
            .bind([None, Some(read)])
            .fetch_one(tx.conn())
            .await
            .expect("an answer");
        let mut other = db.system_tx().await.expect("a transaction");
        let free =
            sqlx::query("SELECT FROM customers WHERE tenant = $1 AND customer_id = $2 FOR UPDATE NOWAIT")
                .bind(TENANT)
                .bind(all[1])
                .execute(other.conn())
                .await;
        held.push((answer, free.is_err()));
    }
    assert_eq!(
        held,
        [(false, false), (false, true), (true, true)],
        "led elsewhere: not even locked; written since: no; as it was read: held"
    );
    drop(tx);
    app.stop().await;
}
