//! What routing is told, and what it tells: answers, callers who left, transfers, overflow.

use std::time::Duration;

use trama_proto::{
    case::v1::{ReplyToCaseRequest, WithdrawReason},
    common::v1::{Call, CallState, ChannelKind, InteractionKind},
    ids::{OfferId, WorkItemId},
    notification::v1::MessageRequested,
    routing::v1::{OfferAccepted, OverflowAction, WorkOverflowed, WorkTransferred},
    time::to_wire,
};
use trama_testkit::TestApp;

use super::story::*;

fn call(app: &TestApp, revision: i32, state: CallState) -> Word {
    let mut word = says(app, "anna", "call", ChannelKind::Voice, "");
    word.interaction.kind = InteractionKind::Call.into();
    word.interaction.revision = revision;
    word.interaction.call = Some(Call {
        state: state.into(),
        duration_seconds: 0,
    });
    word
}

async fn accepted(app: &TestApp, case_id: &str, agent: &str) {
    let event = OfferAccepted {
        offer_id: OfferId::derived(&[agent.as_bytes()]).to_string(),
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.to_owned(),
        agent_id: agent.to_owned(),
        accepted_at: Some(to_wire(app.clock.now())),
        channel_kind: ChannelKind::Email.into(),
        waited_seconds: 60,
    };
    app.publish(TENANT, case_id, &event).await;
    app.settle().await;
    app.clock.advance(Duration::from_secs(60));
}

#[tokio::test]
async fn an_answer_withdraws_the_work_once_however_often_the_agent_writes() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    for text in ["Chiuda il rubinetto.", "E stacchi la spina."] {
        let request = ReplyToCaseRequest {
            case_id: case_id.clone(),
            text: text.into(),
            ..ReplyToCaseRequest::default()
        };
        cases(&app)
            .reply_to_case(app.request(TENANT, "carla", request))
            .await
            .expect("replied");
    }
    let withdrawn = withdrawals(&app, &case_id).await;
    let (work, _) = last_work(&app, &case_id).await;
    assert_eq!(withdrawn.len(), 1, "{withdrawn:?}");
    assert_eq!(withdrawn[0].reason(), WithdrawReason::Answered);
    assert!(withdrawn[0].revision > work.expect("requested").revision);
    app.stop().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_while_waiting_has_left() {
    let app = start().await;
    call(&app, 1, CallState::Ringing).heard(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let (work, _) = last_work(&app, &case_id).await;
    assert!(!work.expect("requested").customer_left);
    call(&app, 2, CallState::NoAnswer).heard(&app).await;
    let (work, count) = last_work(&app, &case_id).await;
    assert!(work.expect("requested").customer_left);
    // The same state once more, and an older one that comes late, say nothing new.
    call(&app, 2, CallState::NoAnswer).heard(&app).await;
    call(&app, 1, CallState::Ringing).heard(&app).await;
    assert_eq!(last_work(&app, &case_id).await.1, count);
    app.stop().await;
}

#[tokio::test]
async fn a_caller_who_leaves_a_message_has_not_left_whichever_is_told_last() {
    for message_first in [true, false] {
        let app = start().await;
        call(&app, 1, CallState::Ringing).heard(&app).await;
        let case_id = only_case(&app, "anna").await.case_id;
        for message in [message_first, !message_first] {
            app.clock.advance(Duration::from_secs(20));
            let word = if message {
                says(&app, "anna", "message", ChannelKind::Voice, "")
            } else {
                call(&app, 2, CallState::Completed)
            };
            word.heard(&app).await;
        }
        let (work, _) = last_work(&app, &case_id).await;
        assert!(
            !work.expect("requested").customer_left,
            "message first: {message_first}"
        );
        app.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_somebody_took_ends_without_anybody_having_left() {
    let app = start().await;
    call(&app, 1, CallState::Ringing).heard(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    accepted(&app, &case_id, "bruno").await;
    call(&app, 2, CallState::Completed).heard(&app).await;
    let (work, _) = last_work(&app, &case_id).await;
    assert!(!work.expect("requested").customer_left);
    app.stop().await;
}

#[tokio::test]
async fn a_caller_who_writes_afterwards_has_not_left() {
    let app = start().await;
    call(&app, 1, CallState::NoAnswer).heard(&app).await;
    says(
        &app,
        "anna",
        "wa",
        ChannelKind::Whatsapp,
        "la macchina perde acqua",
    )
    .heard(&app)
    .await;
    let case_id = only_case(&app, "anna").await.case_id;
    let (work, _) = last_work(&app, &case_id).await;
    let work = work.expect("requested");
    assert!(!work.customer_left);
    assert_eq!(work.channel_kind(), ChannelKind::Whatsapp);
    app.stop().await;
}

#[tokio::test]
async fn a_transfer_is_a_step_and_effort_and_nobody_is_in_charge_meanwhile() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    accepted(&app, &case_id, "bruno").await;
    let event = WorkTransferred {
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.clone(),
        from_agent_id: "bruno".into(),
        to_agent_id: String::new(),
        queue: "machines".into(),
        reason: "transfer".into(),
        transferred_at: Some(to_wire(app.clock.now())),
    };
    for _ in 0..2 {
        app.publish(TENANT, &case_id, &event).await;
        app.settle().await;
    }
    let waiting = case(&app, &case_id).await;
    assert_eq!(waiting.assigned_agent_id, "");
    app.clock.advance(Duration::from_secs(10));
    accepted(&app, &case_id, "carla").await;
    let taken = case(&app, &case_id).await;
    assert_eq!(taken.assigned_agent_id, "carla");
    assert_eq!(taken.effort.expect("counted").transfers, 1);
    let steps = journey(&app, "anna").await.steps;
    let transfers: Vec<_> = steps.iter().filter(|s| s.what == "transferred").collect();
    assert_eq!(transfers.len(), 1);
    assert_eq!(transfers[0].summary, "transfer");
    app.stop().await;
}

#[tokio::test]
async fn overflow_tells_the_customer_once() {
    let app = start().await;
    report_a_fault(&app).await;
    let case_id = only_case(&app, "anna").await.case_id;
    let event = WorkOverflowed {
        work_item_id: WorkItemId::derived(&[b"item"]).to_string(),
        case_id: case_id.clone(),
        action: OverflowAction::Defer.into(),
        queue: "care".into(),
        message_template: "we-answer-later".into(),
        expected_at: Some(to_wire(app.clock.now() + chrono::Duration::minutes(90))),
        reason: "predicted wait 5400 s".into(),
        at: Some(to_wire(app.clock.now())),
    };
    for _ in 0..2 {
        app.publish(TENANT, &case_id, &event).await;
        app.settle().await;
    }
    let told: Vec<MessageRequested> = app
        .events::<MessageRequested>()
        .await
        .into_iter()
        .map(|p| p.event)
        .filter(|m| m.template == "we-answer-later")
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].interaction_id,
        interaction_id("mail").to_string(),
        "it follows what she said, whoever she turns out to be"
    );
    assert_eq!(
        told[0].template_values.get("minutes").map(String::as_str),
        Some("90")
    );
    let steps = journey(&app, "anna").await.steps;
    assert_eq!(steps.iter().filter(|s| s.what == "overflowed").count(), 1);
    app.stop().await;
}
