//! Figures are exact.

use std::time::Duration;

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{
        GetKpisRequest, Interval, Kpi, ListIntervalsRequest, routing_service_client::RoutingServiceClient,
    },
    time::to_wire,
};

use crate::support::*;

async fn kpis(app: &trama_testkit::TestApp, since: Option<prost_types::Timestamp>) -> Vec<Kpi> {
    let mut client = RoutingServiceClient::new(app.grpc());
    client
        .get_kpis(app.request(ACME, "boss", GetKpisRequest { since }))
        .await
        .expect("figures")
        .into_inner()
        .kpis
}

#[tokio::test]
async fn figures_count_what_happened() {
    let app = app().await;
    assert_eq!(
        kpis(&app, None).await,
        [Kpi {
            service_level: 1.0,
            ..Kpi::default()
        }]
    );

    // A chat answered after 10 s by the second agent asked, and done 20 s later.
    let mut first = Desk::available(&app, human("a")).await;
    app.clock.advance(Duration::from_secs(1));
    let mut second = Desk::available(&app, human("b")).await;
    request(&app, &asked(&app, 1, 1, ChannelKind::WebChat)).await;
    let offer = first.offer().await;
    first.decline(&offer.offer_id).await.expect("declined");
    first.gone().await;
    app.clock.advance(Duration::from_secs(10));
    let taken = second.take().await;
    app.clock.advance(Duration::from_secs(20));
    second
        .complete(&taken.work_item.expect("the item").work_item_id)
        .await
        .expect("done");

    // A WhatsApp message whose customer has waited 400 s: beyond the target of 300 s.
    let mut late = asked(&app, 2, 1, ChannelKind::Whatsapp);
    late.waiting_since = Some(to_wire(app.clock.now() - Duration::from_secs(400)));
    request(&app, &late).await;
    first.take().await;

    // Two emails that nobody can take: one overdue.
    let mut overdue = with_intent(asked(&app, 3, 1, ChannelKind::Email), "product-fault");
    overdue.waiting_since = Some(to_wire(app.clock.now() - Duration::from_secs(1_000)));
    request(&app, &overdue).await;
    request(
        &app,
        &with_intent(asked(&app, 4, 1, ChannelKind::Email), "product-fault"),
    )
    .await;

    let found = kpis(&app, None).await;
    let total = &found[0];
    assert_eq!(total.channel_kind(), ChannelKind::Unspecified);
    assert_eq!(
        (
            total.answered,
            total.answered_in_target,
            total.waiting,
            total.reoffered
        ),
        (2, 1, 2, 1)
    );
    assert_eq!(
        (total.oldest_waiting_seconds, total.asa_seconds, total.aht_seconds),
        (1_000, 205.0, 20.0)
    );
    assert!((total.service_level - 1.0 / 3.0).abs() < 1e-9);
    let of = |kind| found.iter().find(|k| k.channel_kind() == kind).expect("a kind");
    let chat = of(ChannelKind::WebChat);
    assert_eq!(
        (
            chat.answered,
            chat.asa_seconds,
            chat.aht_seconds,
            chat.service_level
        ),
        (1, 10.0, 20.0, 1.0)
    );
    let whatsapp = of(ChannelKind::Whatsapp);
    assert_eq!(
        (
            whatsapp.answered,
            whatsapp.answered_in_target,
            whatsapp.service_level
        ),
        (1, 0, 0.0)
    );
    let email = of(ChannelKind::Email);
    assert_eq!(
        (email.waiting, email.oldest_waiting_seconds, email.service_level),
        (2, 1_000, 0.0)
    );
    assert_eq!(found.len(), 4);

    let later = kpis(&app, Some(to_wire(app.clock.now() + Duration::from_secs(900)))).await;
    assert_eq!((later[0].answered, later[0].waiting), (0, 2));
    app.stop().await;
}

/// A page of the history and the token of the next.
async fn intervals(app: &trama_testkit::TestApp, request: ListIntervalsRequest) -> (Vec<Interval>, String) {
    let mut client = RoutingServiceClient::new(app.grpc());
    let answer = client
        .list_intervals(app.request(ACME, "boss", request))
        .await
        .expect("the history")
        .into_inner();
    (answer.intervals, answer.next_page_token)
}

async fn facts(app: &trama_testkit::TestApp) -> i64 {
    let mut tx = app.db("routing").system_tx().await.expect("a transaction");
    sqlx::query_scalar("SELECT count(*) FROM figure_facts")
        .fetch_one(tx.conn())
        .await
        .expect("a count")
}

#[tokio::test]
async fn who_hangs_up_at_once_is_not_lost_and_who_waited_is() {
    let app = app().await;
    for (case, waits) in [(1, 4), (2, 5), (3, 60)] {
        request(&app, &asked(&app, case, 1, ChannelKind::Voice)).await;
        let mut left = asked(&app, case, 2, ChannelKind::Voice);
        left.customer_left = true;
        app.clock.advance(Duration::from_secs(waits));
        request(&app, &left).await;
        // The case says it again with every change of its context.
        left.revision = 3;
        request(&app, &left).await;
    }
    let found = kpis(&app, None).await;
    assert_eq!(
        (found[0].arrived, found[0].abandoned, found[0].abandonment),
        (3, 2, 1.0)
    );
    assert_eq!(found[0].waiting, 0);
    app.stop().await;
}

#[tokio::test]
async fn the_history_is_the_same_before_and_after_folding_and_in_pages() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    for case in 1..=3 {
        request(&app, &asked(&app, case, 1, ChannelKind::WebChat)).await;
        let work = anna.take().await.work_item.expect("the item").work_item_id;
        app.clock.advance(Duration::from_secs(600));
        anna.complete(&work).await.expect("done");
        anna.gone().await;
    }
    let quarter = ListIntervalsRequest {
        interval_minutes: 15,
        ..ListIntervalsRequest::default()
    };
    let (before, _) = intervals(&app, quarter.clone()).await;
    let (kpis_before, _) = (kpis(&app, None).await, ());
    app.eventually("the leader folds", async || facts(&app).await == 0)
        .await;
    let (after, _) = intervals(&app, quarter.clone()).await;
    assert_eq!((&before, &kpis_before), (&after, &kpis(&app, None).await));
    let kpi = |interval: &Interval| interval.kpi.clone().expect("figures");
    let sum = |of: fn(&Kpi) -> i64| after.iter().map(|i| of(&kpi(i))).sum::<i64>();
    assert_eq!((sum(|k| k.arrived), sum(|k| k.answered)), (3, 3));
    assert!(after.len() >= 2 && after.is_sorted_by_key(|i| i.start.map(|at| at.seconds)));
    assert!(
        after
            .iter()
            .all(|i| kpi(i).queue == "general" && kpi(i).goal == 0.8)
    );

    let mut paged = Vec::new();
    let mut token = String::new();
    loop {
        let request = ListIntervalsRequest {
            page_size: 1,
            page_token: token,
            ..quarter.clone()
        };
        let (page, next) = intervals(&app, request).await;
        assert!(page.len() <= 1);
        paged.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, after);

    let day = ListIntervalsRequest {
        interval_minutes: 1_440,
        queue: "general".into(),
        ..ListIntervalsRequest::default()
    };
    let (days, _) = intervals(&app, day).await;
    let of_days: i64 = days.iter().map(|i| kpi(i).arrived).sum();
    assert_eq!(of_days, 3);
    let other = ListIntervalsRequest {
        queue: "machines".into(),
        ..quarter.clone()
    };
    assert_eq!(intervals(&app, other).await.0, []);
    let odd = ListIntervalsRequest {
        interval_minutes: 20,
        ..quarter
    };
    let mut client = RoutingServiceClient::new(app.grpc());
    let refused = client.list_intervals(app.request(ACME, "boss", odd)).await;
    assert_eq!(code(refused), tonic::Code::InvalidArgument);
    app.stop().await;
}

#[tokio::test]
async fn a_wait_is_compared_with_its_promise() {
    let app = app().await;
    let mut anna = Desk::available(&app, human("anna")).await;
    // 150 s of the 300 s that the queue promises.
    let mut half = asked(&app, 1, 1, ChannelKind::WebChat);
    half.waiting_since = Some(to_wire(app.clock.now() - Duration::from_secs(150)));
    request(&app, &half).await;
    anna.take().await;
    let found = kpis(&app, None).await;
    assert_eq!((found[0].normalised_wait, found[0].goal), (0.5, 0.8));
    app.stop().await;
}
