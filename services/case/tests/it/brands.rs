//! Who speaks for a brand says so: consent is given to brands.

use trama_proto::{
    case::v1::{CaseResolved, ReplyToCaseRequest, ResolveCaseRequest},
    common::v1::ChannelKind,
    ids::WorkItemId,
    notification::v1::MessageRequested,
    routing::v1::{OverflowAction, WorkOverflowed},
    time::to_wire,
};
use trama_testkit::TestApp;

use super::story::*;

/// Mail is one brand's, WhatsApp another's, the chat speaks for all.
const CHANNELS: &str = r#"
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {name: email, namespace: acme}
spec:
  brand: bottega
  provider: {email: {addresses: [a@b.c], from: a@b.c, relay: "127.0.0.1:25", relaySecurity: none}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {name: webchat, namespace: acme}
spec: {provider: {webChat: {allowedOrigins: ["*"]}}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {name: whatsapp, namespace: acme}
spec: {brand: outlet, provider: {api: {}}}
"#;

async fn spoken_for(app: &TestApp) -> Vec<(String, String)> {
    app.settle().await;
    let all = app.events::<MessageRequested>().await;
    all.into_iter().map(|m| (m.event.author, m.event.brand)).collect()
}

async fn reply(app: &TestApp, case_id: &str, request_id: &str) {
    let request = ReplyToCaseRequest {
        case_id: case_id.to_owned(),
        text: "Chiuda il rubinetto.".to_owned(),
        request_id: request_id.to_owned(),
        ..ReplyToCaseRequest::default()
    };
    cases(app)
        .reply_to_case(app.request(TENANT, "carla", request))
        .await
        .expect("replied");
}

#[tokio::test]
async fn answers_and_delays_speak_for_the_brand_of_the_channel_that_the_customer_spoke_on_last() {
    let app = TestApp::builder(&[trama_case::service()])
        .resources(&format!("{RESOURCES}{CHANNELS}"))
        .start()
        .await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    reply(&app, &case_id, "r1").await;
    let overflowed = WorkOverflowed {
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.clone(),
        action: OverflowAction::Defer.into(),
        queue: "care".into(),
        message_template: "we-answer-later".into(),
        expected_at: None,
        reason: String::new(),
        at: Some(to_wire(app.clock.now())),
    };
    app.publish(TENANT, &case_id, &overflowed).await;
    let bottega = |author: &str| (author.to_owned(), "bottega".to_owned());
    assert_eq!(spoken_for(&app).await, [bottega("carla"), bottega("assistant")]);

    let words = "la macchina perde ancora acqua";
    says(&app, "anna", "chat", ChannelKind::WebChat, words)
        .heard(&app)
        .await;
    assert_eq!(only_case(&app, "anna").await.case_id, case_id);
    reply(&app, &case_id, "r2").await;
    assert_eq!(
        spoken_for(&app).await.pop(),
        Some(("carla".to_owned(), String::new())),
        "the chat speaks for all"
    );
    let request = ResolveCaseRequest {
        case_id,
        ..ResolveCaseRequest::default()
    };
    cases(&app)
        .resolve_case(app.request(TENANT, "carla", request))
        .await
        .expect("resolved");

    publish_hours(&app).await;
    says(
        &app,
        "carlo",
        "q",
        ChannelKind::Whatsapp,
        "Buongiorno, a che ora aprite?",
    )
    .heard(&app)
    .await;
    assert_eq!(
        spoken_for(&app).await.pop(),
        Some(("assistant".to_owned(), "outlet".to_owned()))
    );
    let request = ResolveCaseRequest {
        case_id: only_case(&app, "carlo").await.case_id,
        ..ResolveCaseRequest::default()
    };
    cases(&app)
        .resolve_case(app.request(TENANT, "carla", request))
        .await
        .expect("resolved");
    app.settle().await;
    let resolved = app.events::<CaseResolved>().await;
    let brands: Vec<&str> = resolved.iter().map(|r| r.event.brand.as_str()).collect();
    assert_eq!(
        brands,
        ["", "outlet"],
        "whoever asks how it went speaks for it too"
    );
    app.stop().await;
}
