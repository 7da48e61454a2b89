use serde_json::json;
use trama_platform::bus::Stream;
use trama_proto::{
    common::v1::{CallState, Trust},
    ingest::v1::{
        ListQuarantinedDeliveriesRequest, ReceiptReceived, ReceiptStatus, RedriveQuarantinedDeliveryRequest,
    },
};

use crate::support::{APP_SECRET, World, text_message, whatsapp};

#[tokio::test]
async fn a_message_becomes_an_interaction() {
    let world = World::start().await;
    let answer = world
        .post_whatsapp(&whatsapp(
            json!({"messages": [text_message("wamid.1", "il caffè è freddo ☕")]}),
        ))
        .await;
    assert_eq!(answer.status(), 200);
    let said = world.interactions().await;
    assert_eq!(said.len(), 1);
    assert_eq!(
        (said[0].text.as_str(), said[0].channel.as_str()),
        ("il caffè è freddo ☕", "whatsapp")
    );
    let party = said[0].party.clone().expect("a party");
    assert_eq!(
        (party.kind.as_str(), party.trust()),
        ("whatsapp", Trust::Observed)
    );
    world.stop().await;
}

#[tokio::test]
async fn a_delivery_that_comes_again_changes_nothing() {
    let world = World::start().await;
    let first = whatsapp(json!({"messages": [text_message("wamid.1", "ciao")]}));
    let regrouped =
        whatsapp(json!({"messages": [text_message("wamid.2", "ancora"), text_message("wamid.1", "ciao")]}));
    for body in [&first, &first, &regrouped, &first] {
        assert_eq!(world.post_whatsapp(body).await.status(), 200);
    }
    let said = world.interactions().await;
    let mut texts: Vec<_> = said.iter().map(|i| i.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["ancora", "ciao"]);
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_is_not_let_in() {
    let world = World::start().await;
    let body = whatsapp(json!({"messages": [text_message("wamid.1", "ciao")]}))
        .to_string()
        .into_bytes();
    let forged = world
        .post_meta("/webhooks/acme/whatsapp", "wrong", body.clone())
        .await;
    assert_eq!(forged.status(), 403);
    assert_eq!(forged.headers()["content-type"], "application/problem+json");
    assert_eq!(
        world
            .post_unsigned("/webhooks/acme/whatsapp", "{}")
            .await
            .status(),
        401
    );
    assert_eq!(
        world
            .post_unsigned("/webhooks/acme/voice", "CallSid=CA1")
            .await
            .status(),
        401
    );
    for path in [
        "/webhooks/acme/nothing",
        "/webhooks/nobody/whatsapp",
        "/webhooks/acme/mail",
        "/webhooks/A%20B/whatsapp",
    ] {
        assert_eq!(
            world.post_meta(path, APP_SECRET, body.clone()).await.status(),
            404,
            "{path}"
        );
    }
    assert_eq!(world.app.count(Stream::Ingress).await, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::start_with("http://127.0.0.1:9", json!({"max_body_bytes": 1000})).await;
    assert_eq!(
        world
            .post_meta("/webhooks/acme/whatsapp", APP_SECRET, vec![b'x'; 1001])
            .await
            .status(),
        413
    );
    world.stop().await;
}

#[tokio::test]
async fn metas_handshake_needs_the_token() {
    let world = World::start().await;
    let path = |token: &str| {
        format!("/webhooks/acme/whatsapp?hub.mode=subscribe&hub.challenge=4711&hub.verify_token={token}")
    };
    let good = world.get(&path("verify-me")).await;
    assert_eq!(
        (good.status().as_u16(), good.text().await.expect("text").as_str()),
        (200, "4711")
    );
    assert_eq!(world.get(&path("wrong")).await.status(), 403);
    assert_eq!(world.get("/webhooks/acme/voice").await.status(), 404);
    world.stop().await;
}

#[tokio::test]
async fn a_call_is_one_interaction_with_a_revision_for_each_state() {
    let world = World::start().await;
    for _ in 0..2 {
        for (status, path) in [
            ("completed", "/webhooks/acme/voice?leg=1"),
            ("ringing", "/webhooks/acme/voice"),
            ("in-progress", "/webhooks/acme/voice"),
        ] {
            let fields = [
                ("CallSid", "CA1"),
                ("CallStatus", status),
                ("From", "+393331234567"),
                ("To", "+390212345678"),
                ("Direction", "inbound"),
            ];
            let answer = world.post_twilio(path, &fields).await;
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["content-type"], "text/xml");
            assert_eq!(answer.text().await.expect("text"), "<Response/>");
        }
    }
    let mut calls = world.interactions().await;
    calls.sort_by_key(|c| c.revision);
    let states: Vec<_> = calls.iter().map(|c| c.call.expect("a call").state()).collect();
    assert_eq!(
        states,
        [CallState::Ringing, CallState::InProgress, CallState::Completed]
    );
    assert!(calls.iter().all(|c| c.interaction_id == calls[0].interaction_id));
    world.stop().await;
}

#[tokio::test]
async fn statuses_become_receipts_once() {
    let world = World::start().await;
    let ours = "018f3c1e-7d2a-7000-8000-000000000001";
    let status = |s: &str| {
        whatsapp(
            json!({"statuses": [{"id": "wamid.9", "status": s, "timestamp": "1780300000", "biz_opaque_callback_data": ours}]}),
        )
    };
    for body in [status("read"), status("delivered"), status("read")] {
        assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    }
    world.app.settle().await;
    let receipts = world.app.events::<ReceiptReceived>().await;
    let mut reached: Vec<_> = receipts.iter().map(|r| r.event.status()).collect();
    reached.sort_unstable();
    assert_eq!(reached, [ReceiptStatus::Delivered, ReceiptStatus::Read]);
    assert!(
        receipts
            .iter()
            .all(|r| r.event.message_id == ours && r.event.provider_message_id == "wamid.9")
    );
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_understood_waits_in_quarantine_and_the_rest_goes_on() {
    let world = World::start().await;
    let body = whatsapp(
        json!({"messages": [{"id": "wamid.0", "type": "hologram", "from": "39"}, text_message("wamid.1", "ciao")]}),
    );
    assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    assert_eq!(
        world
            .post_meta("/webhooks/acme/whatsapp", APP_SECRET, b"not json".to_vec())
            .await
            .status(),
        200
    );
    assert_eq!(world.interactions().await.len(), 1);

    let list = |page_size, page_token: &str| {
        let message = ListQuarantinedDeliveriesRequest {
            page_size,
            page_token: page_token.into(),
        };
        let request = world.app.request("acme", "op", message);
        async {
            world
                .ingest()
                .list_quarantined_deliveries(request)
                .await
                .expect("a list")
                .into_inner()
        }
    };
    let first = list(1, "").await;
    assert_eq!(first.deliveries.len(), 1);
    let second = list(1, &first.next_page_token).await;
    assert_eq!(second.next_page_token, "");
    let mut reasons = [
        first.deliveries[0].reason.clone(),
        second.deliveries[0].reason.clone(),
    ];
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "message 0: a message of unknown type `hologram`",
            "not a webhook of Meta: line 1 column 2"
        ]
    );

    // Another tenant sees nothing of it.
    let request = world
        .app
        .request("beta", "op", ListQuarantinedDeliveriesRequest::default());
    assert!(
        world
            .ingest()
            .list_quarantined_deliveries(request)
            .await
            .expect("a list")
            .into_inner()
            .deliveries
            .is_empty()
    );

    // Sent through again it fails again and stays; the good part of it is not doubled.
    let again = RedriveQuarantinedDeliveryRequest {
        delivery_id: first.deliveries[0].delivery_id.clone(),
        request_id: "r1".into(),
    };
    let foreign = world.app.request("beta", "op", again.clone());
    assert_eq!(
        world
            .ingest()
            .redrive_quarantined_delivery(foreign)
            .await
            .expect_err("foreign")
            .code(),
        tonic::Code::NotFound
    );
    for _ in 0..2 {
        let request = world.app.request("acme", "op", again.clone());
        world
            .ingest()
            .redrive_quarantined_delivery(request)
            .await
            .expect("redriven");
    }
    assert_eq!(world.interactions().await.len(), 1);
    assert_eq!(list(0, "").await.deliveries.len(), 2);
    assert_eq!(world.app.count(Stream::Ingress).await, 3);
    world.stop().await;
}

#[tokio::test]
async fn a_redrive_that_succeeds_leaves_the_quarantine() {
    let world = World::start().await;
    // The number belongs to no channel, until somebody configures one.
    let mut body = whatsapp(json!({"messages": [text_message("wamid.1", "ciao")]}));
    body["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = json!("107");
    assert_eq!(world.post_whatsapp(&body).await.status(), 200);
    assert!(world.interactions().await.is_empty());
    let request = world
        .app
        .request("acme", "op", ListQuarantinedDeliveriesRequest::default());
    let waiting = world
        .ingest()
        .list_quarantined_deliveries(request)
        .await
        .expect("a list")
        .into_inner()
        .deliveries;
    assert_eq!(waiting.len(), 1);

    let secret = |key: &str| json!({"name": "meta", "key": key});
    let channel = |name: &str, number: &str| trama_proto::resources::Document {
        origin: "test".into(),
        content: json!({
            "apiVersion": "trama.dev/v1alpha1", "kind": "Channel", "metadata": {"name": name, "namespace": "acme"},
            "spec": {"provider": {"whatsappCloud": {"phoneNumberId": number, "appSecret": secret("app"), "verifyToken": secret("verify"), "accessToken": secret("access")}}},
        }),
    };
    let problems = world
        .app
        .running
        .resources
        .apply(&[channel("whatsapp", "106"), channel("second", "107")]);
    assert_eq!(problems, []);
    let again = RedriveQuarantinedDeliveryRequest {
        delivery_id: waiting[0].delivery_id.clone(),
        request_id: String::new(),
    };
    world
        .ingest()
        .redrive_quarantined_delivery(world.app.request("acme", "op", again))
        .await
        .expect("redriven");
    let said = world.interactions().await;
    assert_eq!((said.len(), said[0].channel.as_str()), (1, "second"));
    let request = world
        .app
        .request("acme", "op", ListQuarantinedDeliveriesRequest::default());
    assert!(
        world
            .ingest()
            .list_quarantined_deliveries(request)
            .await
            .expect("a list")
            .into_inner()
            .deliveries
            .is_empty()
    );
    world.stop().await;
}

#[tokio::test]
async fn nobody_gets_a_good_answer_while_the_journal_is_away() {
    let world = World::start().await;
    let bus = &world.app.running.bus;
    let jetstream = async_nats::jetstream::new(bus.client().clone());
    jetstream
        .delete_stream(bus.stream_name(Stream::Ingress))
        .await
        .expect("deleted");

    let answer = world
        .post_whatsapp(&whatsapp(json!({"messages": [text_message("wamid.1", "ciao")]})))
        .await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let mut mail = crate::mail::Line::open(world.smtp).await;
    for command in [
        "EHLO mx.example",
        "MAIL FROM:<anna@example.com>",
        "RCPT TO:<care@acme.example>",
        "DATA",
    ] {
        mail.say(command).await;
    }
    assert!(
        mail.say("Subject: x\r\n\r\nciao\r\n.")
            .await
            .starts_with("451 4.3.0")
    );
    let (mut browser, _) = crate::chat::Browser::hello(&world, json!({"type": "hello"})).await;
    browser
        .say(json!({"type": "message", "client_msg_id": "1", "text": "ciao"}))
        .await;
    let refused = browser.hear().await;
    assert_eq!(
        (&refused["type"], &refused["retry"]),
        (&json!("error"), &json!(true))
    );
    world.stop().await;
}
