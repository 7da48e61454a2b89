//! The assistant answers, then hands over.

use trama_proto::{case::v1::CaseStatus, common::v1::ChannelKind, notification::v1::MessageRequested};

use super::story::*;

#[tokio::test]
async fn the_assistant_answers_from_knowledge_then_hands_over_with_everything() {
    let app = start().await;
    let hours = publish_hours(&app).await;
    says(
        &app,
        "carlo",
        "q",
        ChannelKind::WebChat,
        "Buongiorno, a che ora aprite?",
    )
    .heard(&app)
    .await;
    let case = only_case(&app, "carlo").await;
    assert_eq!(case.status(), CaseStatus::Waiting);
    assert_eq!(case.assigned_agent_id, "assistant");
    assert_eq!(last_work(&app, &case.case_id).await.1, 0, "nobody is disturbed");
    let message = app.wait_for::<MessageRequested>("the answer", |_| true).await;
    assert_eq!(
        (message.author.as_str(), message.text.as_str()),
        ("assistant", hours.body.as_str())
    );
    assert_eq!(message.article_version, "opening-hours@1");
    assert_eq!(message.channel_kind(), ChannelKind::WebChat);
    assert_eq!(message.in_reply_to, "provider-q");

    let asked = says(
        &app,
        "carlo",
        "person",
        ChannelKind::WebChat,
        "vorrei parlare con una persona",
    );
    asked.heard(&app).await;
    let case = only_case(&app, "carlo").await;
    assert_eq!(case.status(), CaseStatus::Open);
    assert_eq!(case.assigned_agent_id, "");
    assert_eq!(case.waiting_since, asked.interaction.occurred_at);
    assert_eq!(case.effort.expect("counted").transfers, 1);
    assert_eq!(case.understanding.expect("some").intent, "opening-hours");
    let work = last_work(&app, &case.case_id).await.0.expect("work");
    let snapshot = work.snapshot.expect("context");
    assert_eq!(snapshot.timeline.len(), 3);
    assert_eq!(snapshot.timeline[1].article_version, "opening-hours@1");
    assert_eq!(
        snapshot
            .suggested_article
            .expect("the same article")
            .article_version,
        "opening-hours@1"
    );
    app.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_asked_for_twice_is_sent_once() {
    let app = start().await;
    publish_hours(&app).await;
    let word = says(&app, "carlo", "q", ChannelKind::WebChat, "a che ora aprite?");
    word.heard(&app).await;
    word.heard(&app).await;
    assert_eq!(app.events::<MessageRequested>().await.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn an_angry_customer_and_a_caller_get_people() {
    let app = start().await;
    publish_hours(&app).await;
    says(
        &app,
        "dario",
        "angry",
        ChannelKind::WebChat,
        "vergogna, a che ora aprite? siete pessimi",
    )
    .heard(&app)
    .await;
    let case = only_case(&app, "dario").await;
    assert_eq!(last_work(&app, &case.case_id).await.1, 1);
    says(&app, "elena", "call", ChannelKind::Voice, "a che ora aprite?")
        .heard(&app)
        .await;
    let case = only_case(&app, "elena").await;
    assert_eq!(last_work(&app, &case.case_id).await.1, 1);
    assert!(app.events::<MessageRequested>().await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn thanks_wake_nobody() {
    let app = start().await;
    publish_hours(&app).await;
    says(&app, "carlo", "q", ChannelKind::WebChat, "a che ora aprite?")
        .heard(&app)
        .await;
    says(&app, "carlo", "t", ChannelKind::WebChat, "grazie mille!")
        .heard(&app)
        .await;
    let case = only_case(&app, "carlo").await;
    assert_eq!(case.status(), CaseStatus::Waiting);
    assert_eq!(last_work(&app, &case.case_id).await.1, 0);
    assert_eq!(timeline(&app, &case.case_id).await.len(), 3);
    app.stop().await;
}
