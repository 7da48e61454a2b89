//! What the tests share: a tenant's resources, customers who speak, and the service's answers.

use std::sync::Arc;

use trama_platform::Service;
use trama_proto::{
    case::v1::{
        Article, Case, ContextSnapshot, GetCaseRequest, GetJourneyRequest, GetJourneyResponse,
        GetSnapshotRequest, ListCasesRequest, ListTimelineRequest, PublishArticleRequest, TimelineEntry,
        WorkRequested, WorkWithdrawn, case_service_client::CaseServiceClient,
        knowledge_service_client::KnowledgeServiceClient,
    },
    common::v1::{ChannelKind, CustomerContext, Direction, Handle, Interaction, InteractionKind, Trust},
    identity_resolution::v1::InteractionIdentified,
    ids::{CustomerId, InteractionId},
    time::to_wire,
};
use trama_testkit::TestApp;

pub const TENANT: &str = "acme";

pub const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: {name: product-fault, namespace: acme}
spec:
  title: {it: Guasto}
  urgency: 0.6
  examples:
    it: ["la macchina del caffè perde acqua", "la macchina non funziona", "il prodotto è rotto", "non si accende più", "esce poco caffè"]
    en: ["the machine is leaking", "my machine is broken"]
---
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: {name: opening-hours, namespace: acme}
spec:
  title: {it: Orari}
  selfService: true
  examples:
    it: ["quali sono gli orari di apertura?", "a che ora aprite?", "siete aperti la domenica?", "orario del negozio"]
    en: ["what are your opening hours?", "when do you open?"]
---
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: {name: billing, namespace: acme}
spec:
  title: {it: Fatture}
  examples:
    it: ["la fattura è sbagliata", "non capisco un addebito", "vorrei copia della fattura", "mi avete addebitato due volte"]
    en: ["I was charged twice", "there is an error in my invoice"]
---
apiVersion: trama.dev/v1alpha1
kind: Intent
metadata: {name: talk-to-person, namespace: acme}
spec:
  title: {it: Persona}
  asksForPerson: true
  examples:
    it: ["vorrei parlare con una persona", "passami un operatore", "voglio un operatore umano", "posso parlare con qualcuno?"]
    en: ["I want to talk to a human", "connect me to an agent"]
"#;

pub async fn start() -> TestApp {
    let case: Arc<dyn Service> = trama_case::service();
    TestApp::builder(&[case]).resources(RESOURCES).start().await
}

pub fn customer(name: &str) -> CustomerId {
    CustomerId::derived(&[b"test", name.as_bytes()])
}

pub fn context(name: &str) -> CustomerContext {
    CustomerContext {
        customer_id: customer(name).to_string(),
        display_name: name.to_owned(),
        language: "it".to_owned(),
        entitlement: "standard".to_owned(),
        ..CustomerContext::default()
    }
}

/// Something that a customer says.
pub struct Word {
    pub interaction: Interaction,
    pub context: CustomerContext,
}

pub fn interaction_id(name: &str) -> InteractionId {
    InteractionId::derived(&[b"test", name.as_bytes()])
}

pub fn says(app: &TestApp, who: &str, id: &str, kind: ChannelKind, text: &str) -> Word {
    let now = app.clock.now();
    Word {
        context: context(who),
        interaction: Interaction {
            interaction_id: interaction_id(id).to_string(),
            revision: 1,
            channel: format!("{kind:?}").to_lowercase(),
            channel_kind: kind.into(),
            kind: InteractionKind::Message.into(),
            direction: Direction::Inbound.into(),
            provider_id: format!("provider-{id}"),
            conversation_key: who.to_owned(),
            party: Some(Handle {
                kind: "email".into(),
                value: format!("{who}@example.com"),
                trust: Trust::Observed.into(),
            }),
            occurred_at: Some(to_wire(now)),
            received_at: Some(to_wire(now)),
            text: text.to_owned(),
            ..Interaction::default()
        },
    }
}

/// Anna writes a mail: her machine leaks.
pub async fn report_a_fault(app: &TestApp) {
    let words = "la macchina del caffè perde acqua";
    says(app, "anna", "mail", ChannelKind::Email, words)
        .heard(app)
        .await;
}

impl Word {
    pub fn event(&self) -> InteractionIdentified {
        InteractionIdentified {
            interaction: Some(self.interaction.clone()),
            customer: Some(self.context.clone()),
            in_doubt: false,
        }
    }

    /// Publishes it and waits for the effect; time passes afterwards.
    pub async fn heard(&self, app: &TestApp) {
        app.publish(TENANT, &self.context.customer_id, &self.event())
            .await;
        app.settle().await;
        app.clock.advance(std::time::Duration::from_secs(60));
    }
}

pub fn cases(app: &TestApp) -> CaseServiceClient<tonic::transport::Channel> {
    CaseServiceClient::new(app.grpc())
}

pub fn knowledge(app: &TestApp) -> KnowledgeServiceClient<tonic::transport::Channel> {
    KnowledgeServiceClient::new(app.grpc())
}

pub async fn cases_of(app: &TestApp, who: &str) -> Vec<Case> {
    let request = ListCasesRequest {
        customer_id: customer(who).to_string(),
        ..ListCasesRequest::default()
    };
    let mut found = cases(app)
        .list_cases(app.request(TENANT, "test", request))
        .await
        .expect("listed")
        .into_inner()
        .cases;
    found.reverse();
    found
}

pub async fn only_case(app: &TestApp, who: &str) -> Case {
    let mut found = cases_of(app, who).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

pub async fn case(app: &TestApp, id: &str) -> Case {
    let request = GetCaseRequest {
        case_id: id.to_owned(),
    };
    cases(app)
        .get_case(app.request(TENANT, "test", request))
        .await
        .expect("found")
        .into_inner()
        .case
        .expect("a case")
}

pub async fn timeline(app: &TestApp, case_id: &str) -> Vec<TimelineEntry> {
    let request = ListTimelineRequest {
        case_id: case_id.to_owned(),
        ..ListTimelineRequest::default()
    };
    cases(app)
        .list_timeline(app.request(TENANT, "test", request))
        .await
        .expect("listed")
        .into_inner()
        .entries
}

pub async fn snapshot(app: &TestApp, case_id: &str) -> ContextSnapshot {
    let request = GetSnapshotRequest {
        case_id: case_id.to_owned(),
    };
    cases(app)
        .get_snapshot(app.request(TENANT, "test", request))
        .await
        .expect("found")
        .into_inner()
        .snapshot
        .expect("one")
}

pub async fn journey(app: &TestApp, who: &str) -> GetJourneyResponse {
    let request = GetJourneyRequest {
        customer_id: customer(who).to_string(),
    };
    cases(app)
        .get_journey(app.request(TENANT, "test", request))
        .await
        .expect("told")
        .into_inner()
}

/// The request for work with the highest revision of a case, and how many there were.
pub async fn last_work(app: &TestApp, case_id: &str) -> (Option<WorkRequested>, usize) {
    let mut all: Vec<WorkRequested> = app
        .events::<WorkRequested>()
        .await
        .into_iter()
        .map(|p| p.event)
        .filter(|e| e.case_id == case_id)
        .collect();
    all.sort_by_key(|e| e.revision);
    let count = all.len();
    (all.pop(), count)
}

pub async fn withdrawals(app: &TestApp, case_id: &str) -> Vec<WorkWithdrawn> {
    app.events::<WorkWithdrawn>()
        .await
        .into_iter()
        .map(|p| p.event)
        .filter(|e| e.case_id == case_id)
        .collect()
}

pub fn article(key: &str, title: &str, body: &str, questions: &[&str], intents: &[&str]) -> Article {
    Article {
        key: key.to_owned(),
        language: "it".to_owned(),
        title: title.to_owned(),
        body: body.to_owned(),
        sample_questions: questions.iter().map(|q| (*q).to_owned()).collect(),
        intents: intents.iter().map(|i| (*i).to_owned()).collect(),
        ..Article::default()
    }
}

pub async fn publish(app: &TestApp, article: Article) -> Article {
    let request = PublishArticleRequest {
        article: Some(article),
        request_id: String::new(),
    };
    let response = knowledge(app)
        .publish_article(app.request(TENANT, "editor", request))
        .await
        .expect("published");
    response.into_inner().article.expect("an article")
}

pub async fn publish_hours(app: &TestApp) -> Article {
    publish(
        app,
        article(
            "opening-hours",
            "Orari di apertura",
            "Siamo aperti dal lunedì al sabato, dalle 9 alle 19.",
            &["quando siete aperti?", "a che ora chiudete?"],
            &["opening-hours"],
        ),
    )
    .await
}
