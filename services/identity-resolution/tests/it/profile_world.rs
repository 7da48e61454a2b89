//! A tenant with fields, segments, generations, hooks and needs, and ways to speak to the newer services.

use std::sync::{Arc, Mutex};

use trama_proto::identity_resolution::v1::{
    import_service_client::ImportServiceClient, profile_service_client::ProfileServiceClient,
    verification_service_client::VerificationServiceClient,
};
use trama_testkit::{TestApp, stand_in};

use crate::world::{TENANT, interaction, who, with_trust};

const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec:
  verificationAttempts: 3
  verification:
    needs:
      pay_bill: {level: 2, maxAgeMinutes: 30}
      see_order: {level: 1}
      close_account: {level: 3, methods: [document]}
    methods:
      agentCheck: {maxLevel: 1, hours: 12, idleMinutes: 30}
    lockOut: {perCustomer: 4, perHandle: 4, perSource: 50, windowMinutes: 60}
    knowledgeHook: {url: "HOOK/questions", secret: {name: hooks, key: hmac}}
    documentHook: {url: "HOOK/documents", secret: {name: hooks, key: hmac}, minutes: 30}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {name: bottega-mail, namespace: acme}
spec:
  brand: bottega
  provider: {email: {addresses: [ciao@bottega.example], from: ciao@bottega.example, relay: "127.0.0.1:25", relaySecurity: none}}
---
apiVersion: trama.dev/v1alpha1
kind: Entitlement
metadata: {name: gold, namespace: acme}
spec: {members: ["crm:1001"], priority: 5}
---
apiVersion: trama.dev/v1alpha1
kind: Entitlement
metadata: {name: silver, namespace: acme}
spec: {priority: 2}
---
apiVersion: trama.dev/v1alpha1
kind: Entitlement
metadata: {name: standard, namespace: acme}
spec: {default: true}
---
apiVersion: trama.dev/v1alpha1
kind: CustomerSchema
metadata: {name: default, namespace: acme}
spec:
  fields:
    city: {type: string}
    orders: {type: number, routing: true}
    tax_code: {type: string, pattern: "[A-Z]{6}[0-9]{2}", required: true}
  sources: [crm, shop]
  segments:
    many-orders: {when: "traits.orders > 10"}
    agreed: {when: "'email/marketing' in consents"}
    regulars: {when: "daysKnown >= 30"}
  generations:
    - {bornFrom: 1946, bornUntil: 1964, personaGroup: conservative, preferences: {"*": voice}}
  brands: [acme, bottega]
  accessLogDays: 30
  webhook: {url: "HOOK/changes", secret: {name: hooks, key: hmac}}
"#;

/// Requests that a hook got: path, signature, body.
pub type Calls = Arc<Mutex<Vec<(String, String, serde_json::Value)>>>;

/// An integrator: asks one question whose answer is `rosso`, begins checks of documents, takes every change.
pub async fn integrator() -> (String, Calls) {
    let calls: Calls = Arc::default();
    let seen = Arc::clone(&calls);
    let app = axum::Router::new().fallback(
        move |uri: axum::http::Uri, headers: axum::http::HeaderMap, body: String| {
            let seen = Arc::clone(&seen);
            async move {
                let body: serde_json::Value = serde_json::from_str(&body).expect("json");
                let signature = headers["trama-signature"].to_str().expect("text").to_owned();
                let answer = match body["type"].as_str() {
                    Some("document_check") if body["caseId"] == "no-link" => "",
                    Some("document_check") if body["caseId"] == "bad-link" => {
                        r#"{"link":"javascript:alert(1)"}"#
                    }
                    Some("document_check") => r#"{"link":"https://id.example/s/1"}"#,
                    Some("ask") => r#"{"questionId":"q1","question":"Di che colore era la prima macchina?"}"#,
                    Some("answer") if body["answer"] == "rosso" => r#"{"correct":true}"#,
                    Some("answer") => r#"{"correct":false}"#,
                    _ => "",
                };
                seen.lock()
                    .expect("nobody panicked")
                    .push((uri.path().to_owned(), signature, body));
                answer
            }
        },
    );
    (stand_in(app).await, calls)
}

pub async fn start() -> (TestApp, Calls) {
    let (url, calls) = integrator().await;
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .resources(&RESOURCES.replace("HOOK", &url))
        .secret(TENANT, "hooks", "hmac", "s3cret")
        .start()
        .await;
    (app, calls)
}

pub fn profiles(app: &TestApp) -> ProfileServiceClient<tonic::transport::Channel> {
    ProfileServiceClient::new(app.grpc())
}

pub fn verifications(app: &TestApp) -> VerificationServiceClient<tonic::transport::Channel> {
    VerificationServiceClient::new(app.grpc())
}

pub fn imports(app: &TestApp) -> ImportServiceClient<tonic::transport::Channel> {
    ImportServiceClient::new(app.grpc())
}

/// Anna, known by mail and by her id in the books.
pub async fn anna(app: &TestApp) -> String {
    let mut mail = interaction("anna's mail", "email:anna@example.com");
    mail.display_name = "Anna Rossi".into();
    mail.also_known_as = vec![with_trust("crm:1001", trama_proto::common::v1::Trust::Observed)];
    who(app, &mail).await
}
