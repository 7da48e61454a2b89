//! Who changed what: nothing that changes something goes by without a trail. Read from the descriptors, so that a new
//! method is covered at once.

mod walk;

use std::{collections::BTreeSet, time::Duration};

use tonic::Code;
use trama_proto::{
    audit::v1::{AuditEntry, AuditOutcome, CredentialKind},
    case::v1::{Article, PublishArticleRequest, knowledge_service_client::KnowledgeServiceClient},
    common::v1::ChannelKind,
    identity_resolution::v1::{ListAuditEntriesRequest, audit_service_client::AuditServiceClient},
    mutations::{mutation, mutations},
    routing::v1::{
        Agent, Presence, SetPresenceRequest, UpsertAgentRequest, desk_service_client::DeskServiceClient,
        routing_service_client::RoutingServiceClient,
    },
};
use trama_testkit::TestApp;

use crate::access::{call, services};

async fn log(app: &TestApp, tenant: &str, wanted: ListAuditEntriesRequest) -> Vec<AuditEntry> {
    app.settle().await;
    let mut client = AuditServiceClient::new(app.grpc());
    let mut entries = Vec::new();
    let mut wanted = ListAuditEntriesRequest {
        page_size: 7,
        ..wanted
    };
    loop {
        let page = client
            .list_audit_entries(app.request(tenant, "auditor", wanted.clone()))
            .await
            .expect("a page")
            .into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return entries;
        }
        wanted.page_token = page.next_page_token;
    }
}

fn by(subject: &str) -> ListAuditEntriesRequest {
    ListAuditEntriesRequest {
        subject: subject.into(),
        ..ListAuditEntriesRequest::default()
    }
}

#[tokio::test]
async fn every_method_that_changes_something_leaves_a_trail_and_no_other_does() {
    let app = TestApp::start(&services()).await;
    let mut all: Vec<_> = trama_proto::method_scopes().into_iter().collect();
    all.sort();
    let unscoped = app.token("acme", "stranger", "unrelated.scope");
    let mut succeeded = BTreeSet::new();
    for (path, scope) in &all {
        assert_eq!(
            call(&app.grpc(), path, Some(&unscoped)).await,
            Code::PermissionDenied
        );
        if path.ends_with("/OpenDesk") {
            continue;
        }
        let token = app.token("acme", "somebody", scope);
        if call(&app.grpc(), path, Some(&token)).await == Code::Ok && mutation(path).is_some() {
            succeeded.insert(path.clone());
        }
    }

    let denied = log(&app, "acme", by("stranger")).await;
    assert!(denied.iter().all(|e| e.outcome() == AuditOutcome::Denied));
    assert!(denied.iter().all(|e| e.code == Code::PermissionDenied as i32));
    let denied: Vec<String> = denied.into_iter().map(|e| e.method).collect();
    let mut expected: Vec<String> = mutations().map(|m| m.path.to_owned()).collect();
    expected.sort();
    assert_eq!(denied.len(), expected.len(), "one entry for each");
    assert_eq!(
        denied.into_iter().collect::<BTreeSet<_>>(),
        expected.into_iter().collect()
    );
    // An empty message is refused by most, and nothing of that is told; what succeeds is.
    let told = log(&app, "acme", by("somebody")).await;
    assert_eq!(
        told.into_iter().map(|e| e.method).collect::<BTreeSet<_>>(),
        succeeded
    );
    assert_eq!(log(&app, "globex", ListAuditEntriesRequest::default()).await, []);
    app.stop().await;
}

const AGENT: &str = "/trama.routing.v1.RoutingService/UpsertAgent";

fn agent() -> UpsertAgentRequest {
    UpsertAgentRequest {
        agent: Some(Agent {
            agent_id: "carla".into(),
            display_name: "Carla Verdi".into(),
            capacity_units: 4,
            channel_kinds: vec![ChannelKind::WebChat.into()],
            skills: [("billing".to_owned(), 5)].into(),
            ..Agent::default()
        }),
        request_id: "new-carla".into(),
    }
}

#[tokio::test]
async fn an_entry_says_who_what_from_where_and_nothing_that_a_person_wrote() {
    let policy = "
apiVersion: trama.dev/v1alpha1
kind: RetentionPolicy
metadata: { name: default, namespace: acme }
spec: { keepDays: { audit: 30 } }
";
    let app = TestApp::builder(&services())
        .resources(policy)
        .configure(|config| config.listen.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a net")])
        .start()
        .await;
    let mut routing = RoutingServiceClient::new(app.grpc());
    // Twice: the second is answered from memory, and is no change.
    for _ in 0..2 {
        let mut request = app.request("acme", "admin", agent());
        let from = "198.51.100.1, 203.0.113.7".parse().expect("a value");
        request.metadata_mut().insert("x-forwarded-for", from);
        routing.upsert_agent(request).await.expect("an agent");
    }
    let entries = log(&app, "acme", by("admin")).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    let entry = &entries[0];
    assert_eq!(entry.method, AGENT);
    assert_eq!(entry.outcome(), AuditOutcome::Committed);
    assert_eq!(entry.credential(), CredentialKind::Token);
    assert_eq!(entry.origin, "203.0.113.7");
    let value = |path: &str| {
        let field = entry.fields.iter().find(|f| f.path == path);
        field.map(|f| f.value.clone())
    };
    assert_eq!(value("agent.agent_id"), Some(Some("carla".into())));
    assert_eq!(value("agent.capacity_units"), Some(Some("4".into())));
    assert_eq!(value("agent.display_name"), Some(None));
    assert_eq!(value("agent.skills"), Some(None));
    assert!(!format!("{entry:?}").contains("Verdi"));

    // A method without request id, and one that names what it made in its answer.
    let presence = SetPresenceRequest {
        presence: Presence::Away.into(),
        reason: "lunch with Anna".into(),
        ..SetPresenceRequest::default()
    };
    DeskServiceClient::new(app.grpc())
        .set_presence(app.request("acme", "carla", presence))
        .await
        .expect("away");
    let entries = log(&app, "acme", by("carla")).await;
    assert_eq!(entries.len(), 1);
    let told: Vec<_> = entries[0]
        .fields
        .iter()
        .map(|f| (f.path.as_str(), f.value.as_deref()))
        .collect();
    assert_eq!(told, [("presence", Some("PRESENCE_AWAY")), ("reason", None)]);
    let changes = |entry: &AuditEntry| -> Vec<String> {
        let changes = entry.changes.iter();
        changes
            .map(|c| format!("{}: {:?} -> {:?}", c.field, c.before, c.after))
            .collect()
    };
    assert_eq!(changes(&entries[0]), [r#"presence: "offline" -> "away""#]);
    assert!(
        changes(entry).contains(&r#"skills: "" -> "billing:5""#.to_owned()),
        "{entry:?}"
    );
    assert!(!format!("{entries:?}").contains("Anna"));

    let article = PublishArticleRequest {
        article: Some(Article {
            key: "descale".into(),
            ..Article::default()
        }),
        request_id: String::new(),
    };
    let refused = KnowledgeServiceClient::new(app.grpc())
        .publish_article(app.request("acme", "editor", article))
        .await;
    assert!(refused.is_err(), "an article without a text");
    assert_eq!(log(&app, "acme", by("editor")).await, []);

    let of = |wanted| log(&app, "acme", wanted);
    let about = ListAuditEntriesRequest {
        object_id: "carla".into(),
        method: "/trama.routing.v1.RoutingService/".into(),
        outcome: AuditOutcome::Committed.into(),
        ..by("")
    };
    assert_eq!(of(about.clone()).await.len(), 1);
    let other = ListAuditEntriesRequest {
        method: "/trama.case.v1.CaseService/".into(),
        ..about
    };
    assert_eq!(of(other).await, []);

    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let changed = sqlx::query("UPDATE audit_log SET subject = 'nobody'")
        .execute(tx.conn())
        .await;
    assert!(changed.is_err(), "the log is append-only");
    drop(tx);
    app.advance(Duration::from_secs(31 * 24 * 3600)).await;
    assert_eq!(app.running.expire().await.expect("expired"), 2);
    assert_eq!(of(ListAuditEntriesRequest::default()).await, []);
    app.stop().await;
}
