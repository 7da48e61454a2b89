//! Work that rests, is wrapped up, or is left behind.

use std::time::Duration;

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        FinishWrapUpRequest, ParkWorkRequest, Presence, WorkCompleted, WorkItemState, WorkTransferred,
        desk_service_client::DeskServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::support::*;

async fn park(app: &TestApp, by: &str, item: &str) {
    let request = ParkWorkRequest {
        work_item_id: item.into(),
        request_id: String::new(),
    };
    let mut desk = DeskServiceClient::new(app.grpc());
    desk.park_work(app.request(ACME, by, request))
        .await
        .expect("parked");
    app.settle().await;
}

#[tokio::test]
async fn a_parked_conversation_frees_its_units_and_takes_them_back_when_the_customer_writes() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Whatsapp)).await;
    let work = carla.take().await.work_item.expect("the item").work_item_id;
    park(&app, "carla", &work).await;
    assert!(item(&app, 1).await.parked);
    assert_eq!(load(&app, "carla").await, 0);
    request(&app, &asked(&app, 1, 2, ChannelKind::Whatsapp)).await;
    let back = item(&app, 1).await;
    assert_eq!((back.parked, back.agent_id.as_str()), (false, "carla"));
    assert_eq!(load(&app, "carla").await, 2);
    app.stop().await;
}

#[tokio::test]
async fn who_comes_back_to_a_full_agent_waits_and_the_cap_holds() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Whatsapp)).await;
    let work = carla.take().await.work_item.expect("the item").work_item_id;
    park(&app, "carla", &work).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::Voice)).await;
    let offer = carla.next_offer().await;
    carla.accept(&offer.offer_id).await.expect("the call");
    request(&app, &asked(&app, 1, 2, ChannelKind::Whatsapp)).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Pending);
    assert_eq!(load(&app, "carla").await, 6);
    let call = item(&app, 2).await.work_item_id;
    carla.complete(&call).await.expect("done");
    let again = item(&app, 1).await;
    assert_eq!(
        (again.state(), again.agent_id.as_str()),
        (WorkItemState::Offered, "carla")
    );
    app.stop().await;
}

#[tokio::test]
async fn a_call_makes_an_email_rest_and_it_goes_on_afterwards() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Email)).await;
    carla.take().await;
    assert_eq!(load(&app, "carla").await, 4);
    request(&app, &asked(&app, 2, 1, ChannelKind::Voice)).await;
    assert!(item(&app, 1).await.paused, "the call is offered");
    assert_eq!(load(&app, "carla").await, 6);
    let call = item(&app, 2).await;
    assert_eq!(call.state(), WorkItemState::Offered);
    let offer = carla.next_offer().await;
    carla.accept(&offer.offer_id).await.expect("the call");
    carla.complete(&call.work_item_id).await.expect("done");
    let email = item(&app, 1).await;
    assert_eq!((email.paused, email.state()), (false, WorkItemState::Assigned));
    assert_eq!(load(&app, "carla").await, 4);
    app.stop().await;
}

#[tokio::test]
async fn wrap_up_holds_the_units_until_it_is_finished_or_over() {
    let app = app_with(
        "
apiVersion: trama.dev/v1alpha1
kind: Queue
metadata: { name: general, namespace: acme }
spec: { serviceLevel: { targetSeconds: 300, goal: 0.8 }, wrapUpSeconds: 30 }
---
apiVersion: trama.dev/v1alpha1
kind: RoutingPolicy
metadata: { name: main, namespace: acme }
spec: { rules: [], defaultQueue: general }
",
    )
    .await;
    let mut carla = Desk::available(&app, human("carla")).await;
    for number in [1, 2] {
        request(&app, &asked(&app, number, 1, ChannelKind::WebChat)).await;
        let offer = carla.next_offer().await;
        carla.accept(&offer.offer_id).await.expect("accepted");
        let work = offer.work_item.expect("the item").work_item_id;
        let wrapping = carla.complete(&work).await.expect("done");
        assert_eq!(wrapping.state(), WorkItemState::Wrapping);
        assert!(wrapping.wrap_up_until.is_some());
        assert_eq!(load(&app, "carla").await, 2);
        if number == 1 {
            app.advance(Duration::from_secs(30)).await;
        } else {
            let request = FinishWrapUpRequest {
                work_item_id: work,
                request_id: String::new(),
            };
            let mut desk = DeskServiceClient::new(app.grpc());
            desk.finish_wrap_up(app.request(ACME, "carla", request))
                .await
                .expect("finished");
            app.settle().await;
        }
        assert_eq!(item(&app, number).await.state(), WorkItemState::Completed);
        assert_eq!(load(&app, "carla").await, 0);
    }
    assert_eq!(app.events::<WorkCompleted>().await.len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn a_lost_desk_returns_live_work_at_once_and_the_rest_after_a_while() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    carla.take().await;
    request(&app, &asked(&app, 2, 1, ChannelKind::Email)).await;
    carla.take().await;
    let since = item(&app, 1).await.waiting_since;
    drop(carla);
    app.eventually("the chat waits again", || async {
        app.advance(Duration::from_secs(1)).await;
        item(&app, 1).await.state() == WorkItemState::Pending
    })
    .await;
    assert_eq!(item(&app, 1).await.waiting_since, since);
    assert_eq!(
        item(&app, 2).await.state(),
        WorkItemState::Assigned,
        "an email can wait"
    );
    let told = app.events::<WorkTransferred>().await;
    assert_eq!(told[0].event.reason, "agent lost");
    app.advance(Duration::from_secs(900)).await;
    assert_eq!(item(&app, 2).await.state(), WorkItemState::Pending);
    assert_eq!(load(&app, "carla").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_anybody_answers_has_abandoned() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::Voice)).await;
    carla.offer().await;
    let mut left = asked(&app, 1, 2, ChannelKind::Voice);
    left.customer_left = true;
    request(&app, &left).await;
    assert_eq!(item(&app, 1).await.state(), WorkItemState::Abandoned);
    carla.gone().await;
    assert_eq!(load(&app, "carla").await, 0);
    left.revision = 3;
    let before = item(&app, 1).await;
    request(&app, &left).await;
    assert_eq!(item(&app, 1).await, before, "told again, not counted again");
    app.stop().await;
}

#[tokio::test]
async fn two_missed_offers_in_ten_minutes_make_an_agent_away() {
    let app = app().await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    carla.offer().await;
    app.advance(Duration::from_secs(30)).await;
    app.advance(Duration::from_secs(60)).await;
    request(&app, &asked(&app, 2, 1, ChannelKind::WebChat)).await;
    app.advance(Duration::from_secs(30)).await;
    assert_eq!(agent(&app, "carla").await.presence(), Presence::Away);
    app.stop().await;
}

#[tokio::test]
async fn one_missed_offer_makes_an_agent_away_where_the_policy_says_so() {
    let rules = RESOURCES.replace(
        "  defaultQueue: general",
        "  defaultQueue: general\n  matching: { offers: { missedUntilAway: 1 } }",
    );
    let app = app_with(&rules).await;
    let mut carla = Desk::available(&app, human("carla")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    carla.offer().await;
    app.advance(Duration::from_secs(30)).await;
    assert_eq!(agent(&app, "carla").await.presence(), Presence::Away);
    app.stop().await;
}
