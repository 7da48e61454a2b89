//! What leaves, which way, and in which order.

use trama_platform::bus::Stream;
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{CustomerMerged, Purpose},
    ids::{CustomerId, MergeId, MessageId},
    notification::v1::{
        CheckTextRequest, GetMessageRequest, MessageFailed, MessageRequested, MessageSent, MessageStatus,
        SendMessageRequest, notification_service_client::NotificationServiceClient,
    },
};
use trama_sandbox::{Fault, FaultRule, Provider, Raw};

use crate::world::{A_WHILE, NUMBER, World, code_to, message};

#[tokio::test]
async fn a_message_goes_the_preferred_way_in_the_persona_s_tone_and_once() {
    let world = World::new().await;
    let request = message("one", &world.anna());
    let id = world.app.publish("acme", &request.customer_id, &request).await;
    let sent = world.sent(&request.message_id).await;
    let outcome = sent.outcome.expect("an outcome");
    assert_eq!(sent.text, "Ciao Anna,\nLa difficoltà è risolta (one).");
    assert_eq!(sent.article_version, "drip@3");
    assert_eq!(
        (outcome.channel.as_str(), outcome.channel_kind()),
        ("wa", ChannelKind::Whatsapp)
    );
    assert!(outcome.provider_message_id.starts_with("wamid."));

    // The same again: as a redelivery, and as another event with the same content.
    world
        .app
        .deliver_again(id, "acme", &request.customer_id, &request)
        .await;
    world.ask(&request).await;
    let other = message("two", &request.customer_id);
    world.ask(&other).await;
    world.sent(&other.message_id).await;
    let taken = world.through(Provider::WhatsApp);
    assert_eq!(taken.len(), 2);
    let Raw::Json(raw) = &taken[0].raw else {
        panic!("a JSON body")
    };
    assert_eq!(raw["biz_opaque_callback_data"], request.message_id);
    assert_eq!(raw["to"], NUMBER);
    assert_eq!(world.app.events::<MessageSent>().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_provider_s_bad_moment_is_waited_out_and_order_stays() {
    let world = World::new().await;
    let anna = world.anna();
    world.refuses_once(Provider::WhatsApp, 500, None);
    world.refuses_once(Provider::WhatsApp, 429, Some(60));
    let names = ["a", "b", "c", "d"];
    for name in names {
        world.ask(&message(name, &anna)).await;
    }
    let first = message("a", &anna).message_id;
    world.failed_tries(&first, 1).await;
    world.app.clock.advance(std::time::Duration::from_secs(2));
    world.failed_tries(&first, 2).await;
    assert_eq!(world.sandbox.sent().len(), 0, "nobody overtakes");
    world.app.clock.advance(std::time::Duration::from_secs(61));
    world.sent(&message("d", &anna).message_id).await;
    let texts: Vec<String> = world
        .through(Provider::WhatsApp)
        .into_iter()
        .filter_map(|s| s.body_text)
        .collect();
    for (text, name) in texts.iter().zip(names) {
        assert!(text.ends_with(&format!("({name}).")), "{texts:?}");
    }
    assert_eq!(texts.len(), 4);
    let kept = world.get(&first).await.expect("a message");
    assert_eq!(kept.attempts.len(), 3);
    world.stop().await;
}

#[tokio::test]
async fn what_one_channel_refuses_goes_by_the_next() {
    let world = World::new().await;
    let anna = world.anna();
    world.sandbox.fail_next(FaultRule {
        provider: Some(Provider::WhatsApp),
        to: None,
        times: 1,
        fault: Fault::Refuse { code: 131_026 },
    });
    let request = MessageRequested {
        author: "assistant".into(),
        author_name: String::new(),
        subject: "Macchina del caffè".into(),
        in_reply_to: "abc@example.com".into(),
        ..message("mail", &anna)
    };
    world.ask(&request).await;
    let outcome = world.sent(&request.message_id).await.outcome.expect("an outcome");
    assert_eq!(outcome.channel, "mail");
    let taken = world.through(Provider::Smtp).pop().expect("a mail");
    let Raw::Mail(mail) = &taken.raw else {
        panic!("a mail")
    };
    assert_eq!(
        mail.message_id.as_deref(),
        Some(format!("{}@acme.example", request.message_id).as_str())
    );
    assert_eq!(mail.in_reply_to, ["abc@example.com"]);
    assert_eq!(mail.subject.as_deref(), Some("Re: Macchina del caffè"));
    assert!(
        mail.headers
            .iter()
            .any(|(n, v)| n == "Auto-Submitted" && v == "auto-replied"),
        "{:?}",
        mail.headers
    );
    assert!(taken.body_text.expect("a body").contains("A presto, Luce"));

    // Outside the window only a template passes; without one the next channel is taken.
    world.sandbox.set_window_closed(NUMBER, true);
    let plain = message("late", &anna);
    world.ask(&plain).await;
    assert_eq!(
        world
            .sent(&plain.message_id)
            .await
            .outcome
            .expect("an outcome")
            .channel,
        "mail"
    );
    let template = MessageRequested {
        text: String::new(),
        template: "case-update".into(),
        template_values: [("news".to_owned(), "è pronta".to_owned())].into(),
        greet: false,
        ..message("template", &anna)
    };
    world.ask(&template).await;
    assert_eq!(
        world
            .sent(&template.message_id)
            .await
            .outcome
            .expect("an outcome")
            .channel,
        "wa"
    );
    world.stop().await;
}

#[tokio::test]
async fn when_every_way_is_closed_the_message_fails_with_the_reason() {
    let world = World::new().await;
    let anna = world.anna();
    for provider in [Provider::WhatsApp, Provider::Smtp] {
        world.sandbox.fail_next(FaultRule {
            provider: Some(provider),
            to: None,
            times: 1,
            fault: Fault::Refuse { code: 550 },
        });
    }
    let request = message("nowhere", &anna);
    world.ask(&request).await;
    let failed: MessageFailed = world.app.wait_for("failed", |_| true).await;
    assert_eq!(failed.outcome.expect("an outcome").reason, "smtp 550");
    let kept = world.reaches(&request.message_id, MessageStatus::Failed).await;
    assert_eq!(kept.attempts.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_code_goes_only_to_its_address_and_is_forgotten() {
    let world = World::new().await;
    let request = code_to("phone", "+393331112222");
    world.ask(&request).await;
    let sent = world.sent(&request.message_id).await;
    assert_eq!(sent.text, "");
    let taken = world.through(Provider::Twilio).pop().expect("a short message");
    assert!(taken.body_text.expect("a body").contains("482913"));
    assert_eq!(
        taken.raw.field("StatusCallback"),
        Some("https://trama.example/webhooks/acme/sms#rc=5&rp=all")
    );
    let mut tx = world
        .app
        .db("notification")
        .system_tx()
        .await
        .expect("a transaction");
    let rows: Vec<String> = sqlx::query_scalar("SELECT m::text FROM messages m")
        .fetch_all(tx.conn())
        .await
        .expect("rows");
    let code = "482913";
    let hex: String = code.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(
        rows.iter().all(|r| !r.contains(code) && !r.contains(&hex)),
        "{rows:?}"
    );
    drop(tx);
    assert!(
        world.identity.questions.lock().expect("not poisoned").is_empty(),
        "identity was asked"
    );
    world.stop().await;
}

#[tokio::test]
async fn what_the_persona_forbids_and_what_nobody_consented_to_does_not_leave() {
    let world = World::new().await;
    let anna = world.anna();
    let rude = MessageRequested {
        text: "Non è colpa nostra.".into(),
        ..message("rude", &anna)
    };
    world.ask(&rude).await;
    let kept = world.reaches(&rude.message_id, MessageStatus::Failed).await;
    assert_eq!(kept.reason, "persona: forbidden_phrase");
    let advert = MessageRequested {
        purpose: Purpose::Marketing.into(),
        ..message("advert", &anna)
    };
    world.ask(&advert).await;
    let kept = world.reaches(&advert.message_id, MessageStatus::Suppressed).await;
    assert_eq!(kept.reason, "marketing without consent");
    let half = MessageRequested {
        text: String::new(),
        template: "case-update".into(),
        ..message("half", &anna)
    };
    world.ask(&half).await;
    assert!(
        world
            .reaches(&half.message_id, MessageStatus::Failed)
            .await
            .reason
            .starts_with("template:")
    );
    assert_eq!(world.app.events::<MessageFailed>().await.len(), 3);
    assert_eq!(world.sandbox.sent().len(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_bad_message_sinks_nobody() {
    let world = World::new().await;
    let good = message("good", &world.anna());
    let bad = MessageRequested {
        message_id: "not-an-id".into(),
        ..good.clone()
    };
    world.ask(&bad).await;
    world.ask(&good).await;
    world.sent(&good.message_id).await;
    world.app.settle().await;
    assert_eq!(world.app.count(Stream::DeadLetters).await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_merge_repoints_what_comes_before_and_after_it() {
    let world = World::new().await;
    let anna = world.anna();
    let old = CustomerId::derived(&[b"old"]).to_string();
    let merge = CustomerMerged {
        merge_id: MergeId::derived(&[b"m"]).to_string(),
        survivor: Some(trama_proto::common::v1::CustomerContext {
            customer_id: anna.clone(),
            ..Default::default()
        }),
        merged_customer_id: old.clone(),
        ..CustomerMerged::default()
    };
    world.app.publish("acme", &anna, &merge).await;
    world.app.settle().await;
    let request = message("late", &old);
    world.ask(&request).await;
    assert_eq!(
        world
            .sent(&request.message_id)
            .await
            .outcome
            .expect("an outcome")
            .customer_id,
        anna
    );
    world.stop().await;
}

#[tokio::test]
async fn the_door_checks_repeats_and_shows_nothing_to_other_tenants() {
    let world = World::new().await;
    let anna = world.anna();
    let mut client = NotificationServiceClient::new(world.app.grpc());
    let ask = SendMessageRequest {
        customer_id: anna,
        text: "La tua macchina è pronta.".into(),
        request_id: "r1".into(),
        ..SendMessageRequest::default()
    };
    let send = |message: SendMessageRequest| world.app.request("acme", "crm", message);
    let first = client
        .send_message(send(ask.clone()))
        .await
        .expect("taken")
        .into_inner()
        .message_id;
    let again = client
        .send_message(send(ask.clone()))
        .await
        .expect("taken")
        .into_inner()
        .message_id;
    assert_eq!(first, again);
    world.sent(&first).await;
    assert_eq!(world.sandbox.sent().len(), 1);
    let other = world.app.request(
        "other",
        "eve",
        GetMessageRequest {
            message_id: first.clone(),
        },
    );
    assert_eq!(
        client.get_message(other).await.expect_err("hidden").code(),
        tonic::Code::NotFound
    );
    let bad = client
        .send_message(send(SendMessageRequest {
            customer_id: "x".into(),
            ..ask
        }))
        .await
        .expect_err("refused");
    assert_eq!(bad.code(), tonic::Code::InvalidArgument);
    let check = CheckTextRequest {
        text: "Non è colpa nostra!!".into(),
        language: "it".into(),
        channel_kind: ChannelKind::Whatsapp.into(),
    };
    let checked = client
        .check_text(world.app.request("acme", "carla", check))
        .await
        .expect("checked")
        .into_inner();
    let rules: Vec<(String, bool)> = checked
        .findings
        .into_iter()
        .map(|f| (f.rule, f.blocking))
        .collect();
    assert_eq!(
        rules,
        [
            ("forbidden_phrase".to_owned(), true),
            ("exclamation_marks".to_owned(), false)
        ]
    );
    let unknown = MessageId::derived(&[b"unknown"]).to_string();
    assert!(world.get(&unknown).await.is_none());
    world.app.clock.advance(A_WHILE);
    world.stop().await;
}

#[tokio::test]
async fn a_withdrawal_stops_what_is_queued_already() {
    let world = World::new().await;
    let anna = world.anna();
    world.refuses_once(Provider::WhatsApp, 500, None);
    let request = MessageRequested {
        purpose: Purpose::Survey.into(),
        ..message("question", &anna)
    };
    world.ask(&request).await;
    world.failed_tries(&request.message_id, 1).await;
    // It waits for its next try; meanwhile she wants no more surveys.
    world.identity.reach(&anna, Vec::new());
    world.app.clock.advance(A_WHILE);
    let kept = world
        .reaches(&request.message_id, MessageStatus::Suppressed)
        .await;
    assert_eq!(kept.attempts.len(), 1, "nothing more was tried");
    assert!(world.sandbox.sent().is_empty());
    world.stop().await;
}
