//! What waits, whatever order and however often messages come.

use std::{collections::BTreeMap, time::Duration};

use tonic::Code;
use trama_proto::{
    case::v1::{WithdrawReason, WorkRequested},
    common::v1::ChannelKind,
    routing::v1::{
        ListAgentsRequest, ListWorkItemsRequest, OfferMade, Presence, WorkItemState,
        routing_service_client::RoutingServiceClient,
    },
};

use crate::support::*;

#[tokio::test]
async fn a_channel_switch_keeps_the_place() {
    let app = app().await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    let before = item(&app, 1).await;
    app.clock.advance(Duration::from_secs(10));
    request(&app, &asked(&app, 2, 1, ChannelKind::Email)).await;
    request(&app, &asked(&app, 1, 2, ChannelKind::Whatsapp)).await;
    let found = get(&app, 1).await;
    let after = found.work_item.expect("the item");
    assert_eq!(
        (after.work_item_id, after.waiting_since),
        (before.work_item_id, before.waiting_since)
    );
    assert_eq!(after.channel_kind, i32::from(ChannelKind::Whatsapp));
    assert_eq!((found.position, get(&app, 2).await.position), (1, 2));
    app.stop().await;
}

#[tokio::test]
async fn second_delivery_changes_nothing() {
    let app = app().await;
    let event = asked(&app, 1, 1, ChannelKind::Email);
    let id = app.publish(ACME, &event.case_id, &event).await;
    app.settle().await;
    let before = item(&app, 1).await;
    // By the same id, and with the same content under another one.
    app.deliver_again(id, ACME, &event.case_id, &event).await;
    app.clock.advance(Duration::from_secs(3));
    request(&app, &event).await;
    assert_eq!(item(&app, 1).await, before);
    assert_eq!(dead(&app).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn an_older_request_that_comes_late_is_ignored() {
    let app = app().await;
    request(&app, &asked(&app, 1, 3, ChannelKind::WebChat)).await;
    request(&app, &asked(&app, 1, 2, ChannelKind::Email)).await;
    assert_eq!(item(&app, 1).await.channel_kind(), ChannelKind::WebChat);
    app.stop().await;
}

#[tokio::test]
async fn a_withdrawal_that_overtakes_its_request_wins_and_later_work_is_new() {
    let app = app().await;
    withdraw(&app, 1, 2, WithdrawReason::Resolved).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    assert_eq!(code(try_get(&app, ACME, 1).await), Code::NotFound);
    request(&app, &asked(&app, 1, 3, ChannelKind::Email)).await;
    let first = item(&app, 1).await;
    assert_eq!(first.state(), WorkItemState::Pending);
    withdraw(&app, 1, 4, WithdrawReason::Answered).await;
    assert_eq!(
        item(&app, 1).await.state(),
        WorkItemState::Completed,
        "answered without an offer"
    );
    request(&app, &asked(&app, 1, 5, ChannelKind::Email)).await;
    let second = item(&app, 1).await;
    assert_eq!(second.state(), WorkItemState::Pending);
    assert_ne!(second.work_item_id, first.work_item_id);
    app.stop().await;
}

#[tokio::test]
async fn requests_and_withdrawals_of_one_case_in_one_batch_end_in_the_last_word() {
    let app = app().await;
    for number in 1..=20 {
        let key = case(number).to_string();
        app.publish(ACME, &key, &asked(&app, number, 1, ChannelKind::Email))
            .await;
        app.publish(
            ACME,
            &key,
            &trama_proto::case::v1::WorkWithdrawn {
                case_id: key.clone(),
                revision: 2,
                reason: WithdrawReason::Answered.into(),
            },
        )
        .await;
        app.publish(ACME, &key, &asked(&app, number, 3, ChannelKind::WebChat))
            .await;
    }
    app.settle().await;
    for number in 1..=20 {
        let found = item(&app, number).await;
        assert_eq!(
            (found.state(), found.channel_kind()),
            (WorkItemState::Pending, ChannelKind::WebChat)
        );
    }
    assert_eq!(dead(&app).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_bad_request_goes_to_the_dead_letters_and_its_batch_goes_on() {
    let app = app().await;
    let good = asked(&app, 1, 1, ChannelKind::Email);
    let bad = [
        WorkRequested {
            case_id: "none".into(),
            ..good.clone()
        },
        WorkRequested {
            channel_kind: 0,
            ..good.clone()
        },
        WorkRequested {
            waiting_since: None,
            ..good.clone()
        },
        WorkRequested {
            revision: 0,
            ..good.clone()
        },
        WorkRequested {
            preferred_agent_id: "a b".into(),
            ..good.clone()
        },
    ];
    for event in &bad {
        app.publish(ACME, &good.case_id, event).await;
    }
    request(&app, &good).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    assert_eq!(dead(&app).await, 5);
    app.stop().await;
}

#[tokio::test]
async fn work_is_listed_in_the_order_of_offers_page_by_page() {
    let app = app().await;
    for number in 1..=5 {
        request(&app, &asked(&app, number, 1, ChannelKind::Email)).await;
        app.clock.advance(Duration::from_secs(1));
    }
    request(
        &app,
        &with_intent(asked(&app, 6, 1, ChannelKind::Email), "product-fault"),
    )
    .await;
    let mut client = RoutingServiceClient::new(app.grpc());
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListWorkItemsRequest {
            queue: String::new(),
            page_size: 2,
            page_token: token,
        };
        let page = client
            .list_work_items(app.request(ACME, "boss", request))
            .await
            .expect("a page")
            .into_inner();
        seen.extend(page.work_items.into_iter().map(|i| i.case_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let wanted: Vec<_> = [1, 2, 3, 4, 5, 6].map(|n| case(n).to_string()).to_vec();
    assert_eq!(seen, wanted, "what breaks its promise first comes first");
    let request = ListWorkItemsRequest {
        queue: "machines".into(),
        ..ListWorkItemsRequest::default()
    };
    let page = client
        .list_work_items(app.request(ACME, "boss", request))
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(page.work_items.len(), 1);
    let request = ListWorkItemsRequest {
        page_token: "junk".into(),
        ..ListWorkItemsRequest::default()
    };
    assert_eq!(
        code(client.list_work_items(app.request(ACME, "boss", request)).await),
        Code::InvalidArgument
    );
    app.stop().await;
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    let event = asked(&app, 1, 1, ChannelKind::Email);
    app.publish("other", &event.case_id, &event).await;
    app.settle().await;
    assert!(app.events::<OfferMade>().await.is_empty());
    assert_eq!(code(try_get(&app, ACME, 1).await), Code::NotFound);
    assert_eq!(try_get(&app, "other", 1).await.expect("their item").position, 1);
    upsert(&app, "other", human("carla")).await;
    request(&app, &event).await;
    let offer = carla.offer().await;
    let accept = trama_proto::routing::v1::AcceptOfferRequest {
        offer_id: offer.offer_id,
        request_id: String::new(),
    };
    let mut desk = trama_proto::routing::v1::desk_service_client::DeskServiceClient::new(app.grpc());
    assert_eq!(
        code(desk.accept_offer(app.request("other", "carla", accept)).await),
        Code::NotFound
    );
    let mut client = RoutingServiceClient::new(app.grpc());
    let agents = client
        .list_agents(app.request("third", "boss", ListAgentsRequest::default()))
        .await
        .expect("a page");
    assert!(agents.into_inner().agents.is_empty());
    app.stop().await;
}

/// Requests arrive on all partitions while agents come, go, accept and decline: nothing is offered twice, nobody is
/// overloaded, and nothing waits that somebody free could take.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_decisions_never_offer_twice_and_leave_nobody_waiting() {
    let app = app().await;
    for name in ["a", "b", "c", "d"] {
        upsert(&app, ACME, human(name)).await;
    }
    let mut bot = human("bot");
    bot.bot = true;
    bot.capacity_units = 40;
    upsert(&app, ACME, bot).await;
    let publish = async {
        for number in 1..=120 {
            app.publish(
                ACME,
                &case(number).to_string(),
                &asked(&app, number, 1, ChannelKind::WebChat),
            )
            .await;
        }
    };
    let come_and_go = |name: &'static str| {
        let app = &app;
        async move {
            let mut desk = trama_proto::routing::v1::desk_service_client::DeskServiceClient::new(app.grpc());
            for turn in 0..6 {
                let presence = if turn % 2 == 0 {
                    Presence::Offline
                } else {
                    Presence::Available
                };
                let request = trama_proto::routing::v1::SetPresenceRequest {
                    presence: presence.into(),
                    ..Default::default()
                };
                desk.set_presence(app.request(ACME, name, request))
                    .await
                    .expect("presence");
            }
        }
    };
    tokio::join!(
        publish,
        come_and_go("a"),
        come_and_go("b"),
        come_and_go("c"),
        come_and_go("d"),
        come_and_go("bot")
    );
    app.settle().await;
    assert_eq!(dead(&app).await, 0);
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    let twice: i64 = sqlx_count(&mut tx, "SELECT count(*) FROM (SELECT work_item_id FROM offers WHERE state IN ('pending', 'accepted') GROUP BY 1 HAVING count(*) > 1) t").await;
    assert_eq!(twice, 0);
    let wrong: i64 = sqlx_count(&mut tx, "SELECT count(*) FROM agents a WHERE used_units <> (SELECT coalesce(sum(held_units), 0) FROM work_items w WHERE w.agent_id = a.agent_id AND state IN ('offered', 'assigned', 'wrapping'))").await;
    assert_eq!(wrong, 0);
    let by_state = states(&mut tx).await;
    assert_eq!(
        by_state.get("offered"),
        Some(&24),
        "four humans with one each, the bot with twenty: {by_state:?}"
    );
    assert_eq!(by_state.get("pending"), Some(&96));
    drop(tx);
    app.stop().await;
}

async fn sqlx_count(tx: &mut trama_platform::Tx, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(tx.conn())
        .await
        .expect("a count")
}

async fn states(tx: &mut trama_platform::Tx) -> BTreeMap<String, i64> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM work_items GROUP BY 1")
        .fetch_all(tx.conn())
        .await
        .expect("counts");
    rows.into_iter().collect()
}
