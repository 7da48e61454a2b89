//! One leader at a time, whatever happens to it.

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{OfferMade, Presence, WorkItemState},
};

use crate::support::*;

async fn execute(app: &trama_testkit::TestApp, sql: &'static str) {
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    sqlx::query(sql).execute(tx.conn()).await.expect("done");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn a_leader_whose_epoch_is_over_offers_nothing() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    // Somebody else has taken over, and the old leader does not know it yet.
    execute(
        &app,
        "UPDATE leases SET holder = 'another', epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 hour'",
    )
    .await;
    let event = asked(&app, 1, 1, ChannelKind::WebChat);
    app.publish(ACME, &event.case_id, &event).await;
    app.eventually("the request is worked in", || async {
        try_get(&app, ACME, 1).await.is_ok()
    })
    .await;
    app.eventually("the old leader has seen that it is none", || async {
        let mut tx = app.db("routing").system_tx().await.expect("a transaction");
        let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM changes")
            .fetch_one(tx.conn())
            .await
            .expect("a count");
        waiting > 0
    })
    .await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    assert!(app.events::<OfferMade>().await.is_empty());
    // The other one dies; the lease runs out, and this replica leads again, from what the database says.
    execute(
        &app,
        "UPDATE leases SET expires_at = clock_timestamp() - interval '1 second'",
    )
    .await;
    app.settle().await;
    assert_eq!(
        carla.offer().await.work_item.expect("the item").case_id,
        case(1).to_string()
    );
    app.stop().await;
}

#[tokio::test]
async fn another_replica_goes_on_with_standing_offers_when_the_leader_leaves() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = carla.offer().await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    let epoch = epoch(&app).await;
    execute(
        &app,
        "UPDATE leases SET holder = '', expires_at = clock_timestamp() - interval '1 second', epoch = epoch + 1",
    )
    .await;
    app.eventually("the lease is taken again", || async {
        self::epoch(&app).await > epoch + 1
    })
    .await;
    app.settle().await;
    carla.accept(&offer.offer_id).await.expect("the offer stands");
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Offered);
    assert_eq!(app.events::<OfferMade>().await.len(), 2);
    app.stop().await;
}

async fn epoch(app: &trama_testkit::TestApp) -> i64 {
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    sqlx::query_scalar("SELECT max(epoch) FROM leases")
        .fetch_one(tx.conn())
        .await
        .expect("an epoch")
}

/// Sixteen agents take and finish chats at the same moment: every command gets an answer, and the books balance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_desks_at_once_neither_block_each_other_nor_lose_anything() {
    let app = app().await;
    let names: Vec<String> = (0..16).map(|n| format!("agent-{n:02}")).collect();
    let mut desks = Vec::new();
    for name in &names {
        upsert(&app, ACME, human(name)).await;
        desks.push(Desk::open(&app, name).await);
    }
    for number in 1..=96 {
        let event = asked(&app, number, 1, ChannelKind::WebChat);
        app.publish(ACME, &event.case_id, &event).await;
    }
    app.settle().await;
    let work = desks.into_iter().map(|mut desk| async move {
        desk.set(Presence::Available).await;
        for _ in 0..6 {
            let offer = desk.next_offer().await;
            desk.accept_only(&offer.offer_id).await;
            desk.complete_only(&offer.work_item.expect("the item").work_item_id)
                .await;
        }
        // A seventh offer would stand with somebody who has gone home: the others need it.
        desk.set(Presence::Offline).await;
        desk
    });
    let desks = futures::future::join_all(work).await;
    app.settle().await;
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    let done: i64 = sqlx::query_scalar("SELECT count(*) FROM work_items WHERE state = 'completed'")
        .fetch_one(tx.conn())
        .await
        .expect("a count");
    let used: i64 = sqlx::query_scalar("SELECT sum(used_units) FROM agents")
        .fetch_one(tx.conn())
        .await
        .expect("a sum");
    assert_eq!((done, used), (96, 0));
    drop((tx, desks));
    app.stop().await;
}

#[tokio::test]
async fn a_desk_that_comes_back_learns_what_ended_meanwhile() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = carla.take().await;
    let token = carla.token.clone();
    let agent = carla.agent.clone();
    drop(carla);
    withdraw(&app, 1, 2, trama_proto::case::v1::WithdrawReason::Resolved).await;
    let mut back = Desk::resume(&app, &agent, &token).await;
    assert_eq!(back.gone().await.offer_id, offer.offer_id);
    app.stop().await;
}
