//! Figures are exact.

use std::time::Duration;

use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{GetKpisRequest, Kpi, routing_service_client::RoutingServiceClient},
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
    let mut overdue = with_intent(asked(&app, 3, 1, ChannelKind::Email), "product_fault");
    overdue.waiting_since = Some(to_wire(app.clock.now() - Duration::from_secs(1_000)));
    request(&app, &overdue).await;
    request(
        &app,
        &with_intent(asked(&app, 4, 1, ChannelKind::Email), "product_fault"),
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

    let later = kpis(&app, Some(to_wire(app.clock.now() + Duration::from_secs(1)))).await;
    assert_eq!((later[0].answered, later[0].waiting), (0, 2));
    app.stop().await;
}
