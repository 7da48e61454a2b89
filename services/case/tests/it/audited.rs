//! What the audit log is told of cases and articles: how they were, and how they are.

use trama_proto::{
    case::v1::{ReplyToCaseRequest, ResolveCaseRequest},
    common::v1::ChannelKind,
};
use trama_testkit::TestApp;

use super::story::*;

/// What the entries of one method say, in order: what, which field, from what to what. Moments are left out.
async fn changes(app: &TestApp, method: &str) -> Vec<String> {
    let entries = app.audited(method).await;
    entries
        .into_iter()
        .flat_map(|entry| entry.changes)
        .filter(|change| !(change.field.ends_with("_time") || change.field.ends_with("_since")))
        .map(|c| {
            let kind = c.object.unwrap_or_default().kind;
            format!("{kind} {}: {} -> {}", c.field, c.before, c.after)
        })
        .collect()
}

#[tokio::test]
async fn the_audit_log_says_who_had_a_case_how_it_stood_and_what_it_cost_the_customer() {
    let app = start().await;
    says(
        &app,
        "anna",
        "mail",
        ChannelKind::Email,
        "la macchina perde acqua",
    )
    .heard(&app)
    .await;
    let case_id = only_case(&app, "anna").await.case_id;
    for agent in ["bruno", "carla"] {
        let reply = ReplyToCaseRequest {
            case_id: case_id.clone(),
            text: "Arriviamo.".into(),
            ..ReplyToCaseRequest::default()
        };
        let reply = app.request(TENANT, agent, reply);
        cases(&app).reply_to_case(reply).await.expect("replied");
    }
    assert_eq!(
        changes(&app, "/ReplyToCase").await,
        [
            "case status: CASE_STATUS_OPEN -> CASE_STATUS_WAITING",
            "case assigned_agent_id:  -> bruno",
            "case effort.waited_seconds: 0 -> 60",
            "case assigned_agent_id: bruno -> carla",
            "case effort.transfers: 0 -> 1",
        ]
    );
    let resolve = ResolveCaseRequest {
        case_id,
        ..ResolveCaseRequest::default()
    };
    let resolve = app.request(TENANT, "carla", resolve);
    cases(&app).resolve_case(resolve).await.expect("resolved");
    assert_eq!(
        changes(&app, "/ResolveCase").await,
        ["case status: CASE_STATUS_WAITING -> CASE_STATUS_RESOLVED"]
    );
    app.stop().await;
}

#[tokio::test]
async fn the_audit_log_says_which_version_of_an_article_came_after_which() {
    let app = start().await;
    for intent in ["product-fault", "order-status"] {
        publish(
            &app,
            article("leak", "Perde acqua", "Chiuda il rubinetto.", &[], &[intent]),
        )
        .await;
    }
    assert_eq!(
        changes(&app, "/PublishArticle").await,
        [
            "article version:  -> 1",
            "article intents:  -> product-fault",
            "article version: 1 -> 2",
            "article intents: product-fault -> order-status",
        ]
    );
    app.stop().await;
}
