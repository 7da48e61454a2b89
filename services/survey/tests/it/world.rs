//! App and events of one test.

use trama_proto::{
    case::v1::{Case, CaseKind, CaseResolved, SurveyAnswerReceived, Understanding},
    common::v1::{ChannelKind, CustomerContext, Interaction},
    ids::{CaseId, CustomerId},
    notification::v1::MessageRequested,
    survey::v1::{
        GetScoresRequest, Invitation, ListInvitationsRequest, Score, SurveyQuestionAsked,
        survey_service_client::SurveyServiceClient,
    },
    time::to_wire,
};
use trama_testkit::{Builder, TestApp};

const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: after-case, namespace: acme}
spec:
  trigger: caseResolved
  quarantineDays: 30
  answerWithinHours: 2
  questions:
    - {id: recommend, measures: nps, text: {it: "Da 0 a 10, ci consiglieresti?", en: "0 to 10?"}, followUpAtMost: 6}
    - {id: satisfied, measures: csat, text: {it: "Da 1 a 5, quanto sei soddisfatto?", en: "1 to 5?"}, followUpAtMost: 2}
---
apiVersion: trama.dev/v1alpha1
kind: Survey
metadata: {name: later, namespace: other}
spec:
  trigger: caseResolved
  delaySeconds: 600
  quarantineDays: 0
  questions: [{id: easy, measures: ces, text: {en: "How easy was it, 1 to 7?"}}]
"#;

pub fn builder() -> Builder {
    TestApp::builder(&[trama_survey::service()]).resources(RESOURCES)
}

pub async fn app() -> TestApp {
    builder().start().await
}

pub fn customer(name: &str) -> String {
    CustomerId::derived(&[name.as_bytes()]).to_string()
}

pub fn case(name: &str) -> String {
    CaseId::derived(&[name.as_bytes()]).to_string()
}

pub fn resolved(case_name: &str, customer_id: &str) -> CaseResolved {
    CaseResolved {
        case: Some(Case {
            case_id: case(case_name),
            kind: CaseKind::Need.into(),
            customer_id: customer_id.to_owned(),
            understanding: Some(Understanding {
                intent: "product-fault".into(),
                language: "it".into(),
                ..Default::default()
            }),
            subject: "Macchina del caffè".into(),
            channel_kind: ChannelKind::WebChat.into(),
            ..Case::default()
        }),
        customer: Some(CustomerContext {
            customer_id: customer_id.to_owned(),
            display_name: "Anna".into(),
            ..Default::default()
        }),
        resolved_by: "carla".into(),
        first_answer_seconds: 60,
        brand: String::new(),
        interaction_id: String::new(),
    }
}

pub async fn resolve(app: &TestApp, tenant: &str, case_name: &str, customer_id: &str) {
    app.publish(tenant, customer_id, &resolved(case_name, customer_id))
        .await;
    app.settle().await;
}

pub async fn asked(app: &TestApp) -> Vec<SurveyQuestionAsked> {
    app.events::<SurveyQuestionAsked>()
        .await
        .into_iter()
        .map(|p| p.event)
        .collect()
}

pub async fn messages(app: &TestApp) -> Vec<MessageRequested> {
    app.events::<MessageRequested>()
        .await
        .into_iter()
        .map(|p| p.event)
        .collect()
}

pub fn answer(app: &TestApp, question: &SurveyQuestionAsked, score: i32) -> SurveyAnswerReceived {
    SurveyAnswerReceived {
        invitation_id: question.invitation_id.clone(),
        question_id: question.question_id.clone(),
        interaction: Some(Interaction {
            channel_kind: ChannelKind::Whatsapp.into(),
            provider_id: "wamid.answer".into(),
            occurred_at: Some(to_wire(app.clock.now())),
            text: score.to_string(),
            ..Interaction::default()
        }),
        score,
    }
}

pub async fn say(app: &TestApp, question: &SurveyQuestionAsked, score: i32) {
    app.publish("acme", &question.customer_id, &answer(app, question, score))
        .await;
    app.settle().await;
}

pub async fn invitations(app: &TestApp, tenant: &str, customer_id: &str) -> Vec<Invitation> {
    let mut client = SurveyServiceClient::new(app.grpc());
    let request = ListInvitationsRequest {
        customer_id: customer_id.to_owned(),
        ..Default::default()
    };
    client
        .list_invitations(app.request(tenant, "lead", request))
        .await
        .expect("a list")
        .into_inner()
        .invitations
}

pub async fn scores(app: &TestApp, tenant: &str) -> Vec<Score> {
    let mut client = SurveyServiceClient::new(app.grpc());
    let request = app.request(tenant, "lead", GetScoresRequest::default());
    client
        .get_scores(request)
        .await
        .expect("scores")
        .into_inner()
        .scores
}
