//! A tenant, its resources, and ways to speak to the service.

use trama_proto::{
    common::v1::{ChannelKind, Handle, Interaction, InteractionKind, Login, Trust},
    identity_resolution::v1::{
        CustomerMerged, InteractionIdentified, Person, RequestErasureRequest,
        identity_service_client::IdentityServiceClient, person, privacy_service_client::PrivacyServiceClient,
    },
    ids::derive,
    ingest::v1::InteractionReceived,
};
use trama_testkit::TestApp;

pub const TENANT: &str = "acme";

const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec:
  sharedHandles: ["phone:+390299999999"]
  verificationAttempts: 3
---
apiVersion: trama.dev/v1alpha1
kind: Entitlement
metadata: {name: gold, namespace: acme}
spec: {members: ["crm:1001"]}
---
apiVersion: trama.dev/v1alpha1
kind: Entitlement
metadata: {name: standard, namespace: acme}
spec: {default: true}
"#;

pub async fn start() -> TestApp {
    TestApp::builder(&[trama_identity_resolution::service()])
        .resources(RESOURCES)
        .start()
        .await
}

pub fn client(app: &TestApp) -> IdentityServiceClient<tonic::transport::Channel> {
    IdentityServiceClient::new(app.grpc())
}

pub fn handle(text: &str) -> Handle {
    let (kind, value) = text.split_once(':').expect("kind:value");
    Handle {
        kind: kind.into(),
        value: value.into(),
        trust: Trust::Observed as i32,
    }
}

pub fn with_trust(text: &str, trust: Trust) -> Handle {
    Handle {
        trust: trust as i32,
        ..handle(text)
    }
}

/// An interaction of one party, under a name that decides its id.
pub fn interaction(name: &str, party: &str) -> Interaction {
    Interaction {
        interaction_id: derive(&[b"test", name.as_bytes()]).to_string(),
        revision: 1,
        channel: "door".into(),
        channel_kind: ChannelKind::Api as i32,
        kind: InteractionKind::Message as i32,
        party: Some(handle(party)),
        text: name.into(),
        ..Interaction::default()
    }
}

/// A line of a chat whose visitor is logged in on the site.
pub fn logged_in(name: &str, session: &str, crm: &str, email: &str) -> Interaction {
    Interaction {
        also_known_as: vec![
            with_trust(&format!("crm:{crm}"), Trust::Verified),
            with_trust(&format!("email:{email}"), Trust::Verified),
        ],
        login: Some(Login {
            subject: crm.into(),
            method: "site_login".into(),
            expires_at: None,
        }),
        ..interaction(name, &format!("webchat:{session}"))
    }
}

pub async fn receive(app: &TestApp, tenant: &str, interaction: &Interaction) {
    let party = interaction
        .party
        .as_ref()
        .map(|p| p.value.clone())
        .unwrap_or_default();
    app.publish(
        tenant,
        &party,
        &InteractionReceived {
            interaction: Some(interaction.clone()),
        },
    )
    .await;
}

/// Delivers and waits; returns what was said about it last.
pub async fn identify(app: &TestApp, interaction: &Interaction) -> InteractionIdentified {
    receive(app, TENANT, interaction).await;
    app.settle().await;
    let id = &interaction.interaction_id;
    let all = app.events::<InteractionIdentified>().await;
    let found = all.into_iter().rfind(|p| {
        p.event
            .interaction
            .as_ref()
            .is_some_and(|i| i.interaction_id == *id)
    });
    found.expect("it was identified").event
}

pub async fn who(app: &TestApp, interaction: &Interaction) -> String {
    identify(app, interaction)
        .await
        .customer
        .expect("a customer")
        .customer_id
}

pub async fn merges(app: &TestApp) -> Vec<CustomerMerged> {
    app.events::<CustomerMerged>()
        .await
        .into_iter()
        .map(|p| p.event)
        .collect()
}

pub async fn count(app: &TestApp, table: &'static str) -> i64 {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(tx.conn())
        .await
        .expect("a count")
}

/// Has a person erased, and waits until it is done.
pub async fn erase(app: &TestApp, customer: &str) {
    let request = RequestErasureRequest {
        person: Some(Person {
            person: Some(person::Person::CustomerId(customer.to_owned())),
        }),
        reason: "ticket 82".into(),
        request_id: "x1".into(),
    };
    PrivacyServiceClient::new(app.grpc())
        .request_erasure(app.request(TENANT, "dora", request))
        .await
        .expect("asked");
    app.settle().await;
}
