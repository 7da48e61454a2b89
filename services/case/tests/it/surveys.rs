//! Survey answers and follow-ups.

use trama_proto::{
    case::v1::{CaseKind, CaseRequested, CaseStatus, ResolveCaseRequest, SurveyAnswerReceived},
    common::v1::ChannelKind,
    ids::{CaseId, InvitationId, MessageId},
    survey::v1::{QuestionKind, SurveyQuestionAsked, SurveyResponded},
    time::to_wire,
};
use trama_testkit::TestApp;

use super::story::*;

async fn resolved_case(app: &TestApp, who: &str) -> String {
    says(
        app,
        who,
        &format!("need of {who}"),
        ChannelKind::Whatsapp,
        "la macchina del caffè perde acqua",
    )
    .heard(app)
    .await;
    let id = only_case(app, who).await.case_id;
    let request = ResolveCaseRequest {
        case_id: id.clone(),
        ..ResolveCaseRequest::default()
    };
    cases(app)
        .resolve_case(app.request(TENANT, "carla", request))
        .await
        .expect("resolved");
    app.settle().await;
    id
}

fn question(app: &TestApp, who: &str, case_id: &str, id: &str, scale: (i32, i32)) -> SurveyQuestionAsked {
    SurveyQuestionAsked {
        invitation_id: InvitationId::derived(&[who.as_bytes()]).to_string(),
        question_id: id.to_owned(),
        kind: QuestionKind::Nps.into(),
        customer_id: customer(who).to_string(),
        case_id: case_id.to_owned(),
        min_score: scale.0,
        max_score: scale.1,
        closes_at: Some(to_wire(app.clock.now() + chrono::Duration::hours(72))),
        message_id: MessageId::derived(&[id.as_bytes()]).to_string(),
    }
}

#[tokio::test]
async fn a_number_answers_the_open_question_and_opens_no_case() {
    let app = start().await;
    let case_id = resolved_case(&app, "anna").await;
    let nps = question(&app, "anna", &case_id, "nps", (0, 10));
    app.publish(TENANT, &nps.customer_id, &nps).await;
    app.settle().await;
    let nine = says(&app, "anna", "nine", ChannelKind::Whatsapp, "9");
    nine.heard(&app).await;
    nine.heard(&app).await;
    let answers = app.events::<SurveyAnswerReceived>().await;
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (answers[0].event.score, answers[0].event.question_id.as_str()),
        (9, "nps")
    );
    assert_eq!(cases_of(&app, "anna").await.len(), 1);

    // A late repeat of the question does not swallow the next message.
    app.publish(TENANT, &nps.customer_id, &nps).await;
    let csat = question(&app, "anna", &case_id, "csat", (1, 5));
    app.publish(TENANT, &nps.customer_id, &csat).await;
    app.settle().await;
    says(&app, "anna", "five", ChannelKind::Whatsapp, "5!")
        .heard(&app)
        .await;
    let answers = app.events::<SurveyAnswerReceived>().await;
    assert_eq!(answers.len(), 2);
    assert_eq!(
        (answers[1].event.score, answers[1].event.question_id.as_str()),
        (5, "csat")
    );

    let responded = SurveyResponded {
        invitation_id: nps.invitation_id.clone(),
        question_id: "nps".into(),
        kind: QuestionKind::Nps.into(),
        customer: Some(context("anna")),
        case_id: case_id.clone(),
        score: 9,
        channel_kind: ChannelKind::Whatsapp.into(),
        responded_at: Some(to_wire(app.clock.now())),
    };
    app.publish(TENANT, &nps.customer_id, &responded).await;
    app.publish(TENANT, &nps.customer_id, &responded).await;
    app.settle().await;
    let steps = journey(&app, "anna").await.steps;
    assert_eq!(
        steps.iter().filter(|s| s.what == "survey answer 9").count(),
        1,
        "{steps:#?}"
    );
    assert!(steps.iter().any(|s| s.what == "resolved" && s.actor == "carla"));
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_answer_is_an_ordinary_message() {
    let app = start().await;
    let case_id = resolved_case(&app, "anna").await;
    let asked = question(&app, "anna", &case_id, "nps", (0, 10));
    app.publish(TENANT, &asked.customer_id, &asked).await;
    app.settle().await;
    says(
        &app,
        "anna",
        "again",
        ChannelKind::Whatsapp,
        "la macchina perde ancora acqua, ordine 4711",
    )
    .heard(&app)
    .await;
    assert_eq!(cases_of(&app, "anna").await.len(), 2);
    app.clock.advance(std::time::Duration::from_secs(80 * 3600));
    says(&app, "anna", "late", ChannelKind::Whatsapp, "9")
        .heard(&app)
        .await;
    assert!(app.events::<SurveyAnswerReceived>().await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_bad_answer_opens_one_follow_up_that_knows_what_went_wrong() {
    let app = start().await;
    let case_id = resolved_case(&app, "anna").await;
    let request = CaseRequested {
        case_id: CaseId::derived(&[b"recovery"]).to_string(),
        kind: CaseKind::Recovery.into(),
        customer: Some(context("anna")),
        subject: "Punteggio 3".into(),
        related_case_id: case_id.clone(),
        channel_kind: ChannelKind::WebChat.into(),
        requested_at: Some(to_wire(app.clock.now())),
    };
    for _ in 0..2 {
        app.publish(TENANT, &customer("anna").to_string(), &request).await;
        app.settle().await;
    }
    let follow_up = case(&app, &request.case_id).await;
    assert_eq!(
        (follow_up.kind(), follow_up.status()),
        (CaseKind::Recovery, CaseStatus::Open)
    );
    assert_eq!(follow_up.related_case_id, case_id);
    let (work, count) = last_work(&app, &request.case_id).await;
    assert_eq!(count, 1);
    let work = work.expect("work");
    assert_eq!(work.channel_kind(), ChannelKind::WebChat);
    assert_eq!(
        work.snapshot.expect("context").timeline.len(),
        1,
        "the story before it travels along"
    );
    app.stop().await;
}
