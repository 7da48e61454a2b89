//! Asking, answering, and what becomes of it.

use std::time::Duration;

use trama_platform::bus::Stream;
use trama_proto::{
    case::v1::{CaseKind, CaseRequested, CaseResolved},
    common::v1::{ChannelKind, CustomerContext},
    identity_resolution::v1::{CustomerMerged, CustomerSplit, Purpose},
    ids::MergeId,
    notification::v1::{MessageFailed, MessageOutcome},
    survey::v1::{
        InvitationStatus, ListInvitationsRequest, QuestionKind, SubmitResponseRequest, SurveyResponded,
        survey_service_client::SurveyServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::world::{
    answer, app, asked, case, customer, invitations, messages, resolve, resolved, say, scores,
};

#[tokio::test]
async fn a_resolved_case_is_asked_about_question_by_question() {
    let app = app().await;
    let anna = customer("anna");
    resolve(&app, "acme", "one", &anna).await;
    let question = asked(&app).await.pop().expect("a question");
    assert_eq!(
        (question.min_score, question.max_score, question.kind()),
        (0, 10, QuestionKind::Nps)
    );
    let message = messages(&app).await.pop().expect("a message");
    assert_eq!(message.message_id, question.message_id);
    assert_eq!(message.purpose(), Purpose::Survey);
    assert_eq!(
        (message.fallback(), message.need.as_str()),
        (ChannelKind::WebChat, "product-fault")
    );
    assert_eq!(message.text, "Da 0 a 10, ci consiglieresti?");

    say(&app, &question, 9).await;
    let second = asked(&app).await.pop().expect("a question");
    assert_eq!(second.question_id, "satisfied");
    assert_eq!(
        messages(&app).await.pop().expect("a message").channel_kind(),
        ChannelKind::Whatsapp
    );
    say(&app, &second, 5).await;
    let list = invitations(&app, "acme", &anna).await;
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].status(), list[0].reason.as_str()),
        (InvitationStatus::Completed, "sampled")
    );
    assert_eq!(
        list[0].scores,
        [("recommend".to_owned(), 9), ("satisfied".to_owned(), 5)].into()
    );
    let scores = scores(&app, "acme").await;
    assert_eq!(scores.len(), 2);
    assert!(
        scores
            .iter()
            .all(|s| s.responses == 1 && s.asked == 1 && s.interval_low < s.value)
    );
    assert_eq!(app.events::<CaseRequested>().await.len(), 0);
    app.stop().await;
}

#[tokio::test]
async fn second_delivery_changes_nothing() {
    let app = app().await;
    let anna = customer("anna");
    let event = resolved("one", &anna);
    let id = app.publish("acme", &anna, &event).await;
    app.settle().await;
    app.deliver_again(id, "acme", &anna, &event).await;
    // The same content under another id, as after a crash of the sender.
    resolve(&app, "acme", "one", &anna).await;
    assert_eq!(asked(&app).await.len(), 1);
    let question = asked(&app).await.pop().expect("a question");
    say(&app, &question, 9).await;
    say(&app, &question, 2).await;
    say(&app, &question, 9).await;
    let responded = app.events::<SurveyResponded>().await;
    assert_eq!(responded.len(), 1, "the first answer counts");
    assert_eq!(responded[0].event.score, 9);
    assert_eq!(asked(&app).await.len(), 2);
    assert_eq!(app.count(Stream::DeadLetters).await, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_bad_answer_opens_one_follow_up() {
    let app = app().await;
    let anna = customer("anna");
    resolve(&app, "acme", "one", &anna).await;
    let question = asked(&app).await.pop().expect("a question");
    say(&app, &question, 3).await;
    let second = asked(&app).await.pop().expect("a question");
    say(&app, &second, 1).await;
    let requested = app.events::<CaseRequested>().await;
    assert_eq!(requested.len(), 1);
    let request = &requested[0].event;
    assert_eq!(request.kind(), CaseKind::Recovery);
    assert_eq!(
        (request.related_case_id.as_str(), request.channel_kind()),
        (case("one").as_str(), ChannelKind::Whatsapp)
    );
    assert_eq!(request.subject, "Da ricontattare: NPS 3/10 · Macchina del caffè");
    assert_eq!(
        request.customer.as_ref().map(|c| c.customer_id.as_str()),
        Some(anna.as_str())
    );

    let mut follow_up = resolved("follow-up", &anna);
    follow_up.case.as_mut().expect("a case").kind = CaseKind::Recovery.into();
    app.advance(Duration::from_secs(1)).await;
    app.publish("acme", &anna, &follow_up).await;
    app.settle().await;
    let list = invitations(&app, "acme", &anna).await;
    assert_eq!(
        (list[0].status(), list[0].reason.as_str()),
        (InvitationStatus::Suppressed, "the case follows up an answer")
    );
    app.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_twice_within_quarantine_even_under_another_id() {
    let app = app().await;
    let (anna, old) = (customer("anna"), customer("old"));
    resolve(&app, "acme", "one", &old).await;
    let person = |id: &str| {
        Some(CustomerContext {
            customer_id: id.to_owned(),
            ..CustomerContext::default()
        })
    };
    let merge_id = MergeId::derived(&[b"m"]).to_string();
    let merge = CustomerMerged {
        merge_id: merge_id.clone(),
        survivor: person(&anna),
        merged_customer_id: old.clone(),
        ..CustomerMerged::default()
    };
    app.publish("acme", &anna, &merge).await;
    app.settle().await;
    let question = asked(&app).await.pop().expect("a question");
    say(&app, &question, 9).await;
    say(&app, &asked(&app).await.pop().expect("a question"), 5).await;
    resolve(&app, "acme", "two", &anna).await;
    let list = invitations(&app, "acme", &old).await;
    assert_eq!(list.len(), 2, "the old id leads to the survivor");
    assert!(
        list.iter()
            .any(|i| i.reason.starts_with("quarantine until 2026-")),
        "{list:?}"
    );
    assert!(list.iter().all(|i| i.customer_id == anna));

    let split = CustomerSplit {
        merge_id,
        survivor: person(&anna),
        restored: person(&old),
        ..CustomerSplit::default()
    };
    app.publish("acme", &anna, &split).await;
    app.publish("acme", &anna, &merge).await;
    app.settle().await;
    assert_eq!(
        invitations(&app, "acme", &old).await.len(),
        1,
        "a late repeat of the merge does not bring it back"
    );
    app.advance(Duration::from_secs(31 * 24 * 3600)).await;
    resolve(&app, "acme", "three", &old).await;
    assert_eq!(asked(&app).await.len(), 3);
    app.stop().await;
}

#[tokio::test]
async fn what_is_not_answered_in_time_lapses() {
    let app = app().await;
    let anna = customer("anna");
    resolve(&app, "acme", "one", &anna).await;
    let question = asked(&app).await.pop().expect("a question");
    let in_time = answer(&app, &question, 9);
    // Answered in time, worked in a moment after the end.
    app.advance(Duration::from_secs(2 * 3600 + 60)).await;
    app.publish("acme", &anna, &in_time).await;
    app.settle().await;
    assert_eq!(app.events::<SurveyResponded>().await.len(), 1);
    app.advance(Duration::from_secs(3 * 3600)).await;
    assert_eq!(
        invitations(&app, "acme", &anna).await[0].status(),
        InvitationStatus::Lapsed
    );
    let second = asked(&app).await.pop().expect("a question");
    say(&app, &second, 5).await;
    assert_eq!(app.events::<SurveyResponded>().await.len(), 1, "too late");
    app.stop().await;
}

#[tokio::test]
async fn a_question_that_does_not_arrive_was_not_asked() {
    let app = app().await;
    let anna = customer("anna");
    resolve(&app, "acme", "one", &anna).await;
    let question = asked(&app).await.pop().expect("a question");
    let failed = MessageFailed {
        outcome: Some(MessageOutcome {
            message_id: question.message_id,
            customer_id: anna.clone(),
            purpose: Purpose::Survey.into(),
            reason: "no allowed way to ask".into(),
            ..MessageOutcome::default()
        }),
    };
    app.publish("acme", &anna, &failed).await;
    app.publish("acme", &anna, &failed).await;
    app.settle().await;
    let list = invitations(&app, "acme", &anna).await;
    assert_eq!(list[0].status(), InvitationStatus::Suppressed);
    assert!(list[0].reason.contains("no allowed way to ask"));
    assert_eq!(scores(&app, "acme").await.len(), 0);
    // And does not count as an asking: the next case is asked about.
    resolve(&app, "acme", "two", &anna).await;
    assert_eq!(
        asked(&app).await.len(),
        2,
        "{:?}",
        invitations(&app, "acme", &anna).await
    );
    app.stop().await;
}

#[tokio::test]
async fn the_door_checks_answers_and_shows_nothing_to_other_tenants() {
    let app = app().await;
    let bob = customer("bob");
    app.publish("other", &bob, &resolved("one", &bob)).await;
    app.settle().await;
    assert_eq!(
        invitations(&app, "other", "").await[0].status(),
        InvitationStatus::Scheduled
    );
    assert_eq!(invitations(&app, "acme", "").await.len(), 0);
    let id = invitations(&app, "other", &bob).await[0].invitation_id.clone();
    let mut client = SurveyServiceClient::new(app.grpc());
    let hand_in = |score: i32, request_id: &str| SubmitResponseRequest {
        invitation_id: id.clone(),
        question_id: "easy".into(),
        score,
        channel_kind: ChannelKind::Voice.into(),
        request_id: request_id.into(),
    };
    let early = client
        .submit_response(app.request("other", "ivr", hand_in(5, "r0")))
        .await
        .expect_err("refused");
    assert_eq!(early.code(), tonic::Code::FailedPrecondition);
    app.advance(Duration::from_secs(600)).await;
    let hidden = client
        .submit_response(app.request("acme", "eve", hand_in(5, "r1")))
        .await
        .expect_err("hidden");
    assert_eq!(hidden.code(), tonic::Code::NotFound);
    let outside = client
        .submit_response(app.request("other", "ivr", hand_in(8, "r2")))
        .await
        .expect_err("refused");
    assert_eq!(outside.code(), tonic::Code::InvalidArgument);
    let first = client
        .submit_response(app.request("other", "ivr", hand_in(6, "r3")))
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(
        first.invitation.as_ref().map(|i| i.status()),
        Some(InvitationStatus::Completed)
    );
    let again = client
        .submit_response(app.request("other", "ivr", hand_in(6, "r3")))
        .await
        .expect("taken")
        .into_inner();
    assert_eq!(first, again);
    let second = client
        .submit_response(app.request("other", "ivr", hand_in(6, "r4")))
        .await
        .expect_err("refused");
    assert_eq!(second.code(), tonic::Code::AlreadyExists);
    app.settle().await;
    assert_eq!(app.events::<SurveyResponded>().await.len(), 1);
    let scores = scores(&app, "other").await;
    assert_eq!(
        (scores[0].kind(), scores[0].value, scores[0].asked),
        (QuestionKind::Ces, 6.0, 1)
    );
    let junk = ListInvitationsRequest {
        page_token: "junk".into(),
        ..Default::default()
    };
    let refused = client
        .list_invitations(app.request("other", "lead", junk))
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    app.stop().await;
}

#[tokio::test]
async fn a_bad_event_sinks_nobody() {
    let app = app().await;
    let anna = customer("anna");
    app.publish("acme", &anna, &CaseResolved::default()).await;
    resolve(&app, "acme", "one", &anna).await;
    assert_eq!(asked(&app).await.len(), 1);
    assert_eq!(app.count(Stream::DeadLetters).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_survey_of_no_brand_asks_for_the_brand_that_the_customer_spoke_with() {
    const BRANDED: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: after-case, namespace: acme}
spec: {trigger: caseResolved, questions: [{id: easy, measures: ces, text: {it: "Facile?"}}]}
---
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: after-case, namespace: other}
spec: {trigger: caseResolved, brand: outlet, questions: [{id: easy, measures: ces, text: {it: "Facile?"}}]}
"#;
    let app = TestApp::builder(&[trama_survey::service()])
        .resources(BRANDED)
        .start()
        .await;
    for tenant in ["acme", "other"] {
        let anna = customer("anna");
        let event = CaseResolved {
            brand: "bottega".into(),
            ..resolved("one", &anna)
        };
        app.publish(tenant, &anna, &event).await;
        app.settle().await;
        let message = messages(&app).await.pop().expect("a question");
        let expected = if tenant == "acme" { "bottega" } else { "outlet" };
        assert_eq!(message.brand, expected, "{tenant}");
    }
    app.stop().await;
}
