//! An app with every kind of channel, and the providers that call it.

use std::{net::SocketAddr, sync::Arc};

use reqwest::{Method, Response};
use serde_json::{Value, json};
use trama_ingest::Ingest;
use trama_platform::{Config, Service, outbound::Outbound};
use trama_proto::{
    common::v1::Interaction,
    ingest::v1::{InteractionReceived, ingest_service_client::IngestServiceClient},
};
use trama_sandbox::sign;
use trama_testkit::TestApp;

pub const APP_SECRET: &str = "app-secret";
pub const ACCESS_TOKEN: &str = "EAAG-token";
pub const AUTH_TOKEN: &str = "12345";
pub const LOGIN_SECRET: &str = "login-secret-of-the-site-0123456789";
pub const PUBLIC_URL: &str = "https://acme.example";
pub const ANNA: &str = "393331234567";

pub struct World {
    pub app: TestApp,
    pub smtp: SocketAddr,
    outbound: Outbound,
}

fn resources(graph: &str) -> String {
    format!(
        r#"
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: whatsapp, namespace: acme}}
spec:
  provider:
    whatsappCloud:
      phoneNumberId: "106"
      appSecret: {{name: meta, key: app}}
      verifyToken: {{name: meta, key: verify}}
      accessToken: {{name: meta, key: access}}
      apiBaseUrl: {graph}/v26.0
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: voice, namespace: acme}}
spec:
  provider:
    twilioVoice: {{accountSid: AC1, authToken: {{name: twilio, key: token}}, number: "+390212345678", publicBaseUrl: "{PUBLIC_URL}"}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: sms, namespace: acme}}
spec:
  provider:
    twilioSms:
      accountSid: AC0123456789abcdef0123456789abcdef
      authToken: {{name: twilio, key: token}}
      number: "+390212345678"
      publicBaseUrl: "{PUBLIC_URL}"
      apiBaseUrl: {graph}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: mail, namespace: acme}}
spec:
  provider:
    email: {{addresses: [care@acme.example], from: "Acme <care@acme.example>", relay: "localhost:25", relaySecurity: none}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: mail, namespace: beta}}
spec:
  provider:
    email: {{addresses: [help@beta.example], from: "Beta <help@beta.example>", relay: "localhost:25", relaySecurity: none}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: site, namespace: acme}}
spec:
  provider:
    webChat: {{allowedOrigins: ["{PUBLIC_URL}"], loginSecret: {{name: site, key: login}}}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: kiosk, namespace: acme}}
spec:
  provider: {{api: {{}}}}
"#
    )
}

impl World {
    pub async fn start() -> Self {
        Self::start_with("http://127.0.0.1:9", json!({})).await
    }

    pub async fn start_with(graph: &str, section: Value) -> Self {
        Self::configured(graph, move |config| {
            config.services.insert("ingest".into(), section);
        })
        .await
    }

    pub async fn configured(graph: &str, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        let ingest = Arc::new(Ingest::default());
        let service: Arc<dyn Service> = Arc::clone(&ingest) as _;
        let app = TestApp::builder(&[service])
            .resources(&resources(graph))
            .secret("acme", "meta", "app", APP_SECRET)
            .secret("acme", "meta", "verify", "verify-me")
            .secret("acme", "meta", "access", ACCESS_TOKEN)
            .secret("acme", "twilio", "token", AUTH_TOKEN)
            .secret("acme", "site", "login", LOGIN_SECRET)
            .configure(change)
            .start()
            .await;
        let outbound = Outbound::new(&app.config.outbound).expect("a client");
        let smtp = ingest.smtp_address().expect("the service is built");
        Self { app, smtp, outbound }
    }

    pub async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.app.http_url());
        self.outbound
            .request(Method::GET, &url)
            .expect("a URL")
            .send()
            .await
            .expect("an answer")
    }

    /// Posts a webhook of Meta, signed with a secret.
    pub async fn post_meta(&self, path: &str, secret: &str, body: Vec<u8>) -> Response {
        let url = format!("{}{path}", self.app.http_url());
        let request = self.outbound.request(Method::POST, &url).expect("a URL");
        let signature = sign::meta(secret, &body);
        request
            .header("x-hub-signature-256", signature)
            .body(body)
            .send()
            .await
            .expect("an answer")
    }

    pub async fn post_whatsapp(&self, body: &Value) -> Response {
        self.post_meta("/webhooks/acme/whatsapp", APP_SECRET, sign::meta_json(body))
            .await
    }

    /// Posts a form as Twilio does, signed for our public URL.
    pub async fn post_twilio(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let pairs: Vec<(String, String)> = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let signature = sign::twilio(AUTH_TOKEN, &format!("{PUBLIC_URL}{path}"), &pairs);
        let url = format!("{}{path}", self.app.http_url());
        let request = self.outbound.request(Method::POST, &url).expect("a URL");
        request
            .header("x-twilio-signature", signature)
            .form(&pairs)
            .send()
            .await
            .expect("an answer")
    }

    pub async fn post_unsigned(&self, path: &str, body: &str) -> Response {
        let url = format!("{}{path}", self.app.http_url());
        self.outbound
            .request(Method::POST, &url)
            .expect("a URL")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    }

    /// Everything that was said so far.
    pub async fn interactions(&self) -> Vec<Interaction> {
        self.app.settle().await;
        let events = self.app.events::<InteractionReceived>().await;
        events
            .into_iter()
            .map(|e| e.event.interaction.expect("an interaction"))
            .collect()
    }

    pub fn ingest(&self) -> IngestServiceClient<tonic::transport::Channel> {
        IngestServiceClient::new(self.app.grpc())
    }

    pub async fn stop(self) {
        self.app.stop().await;
    }
}

/// A webhook with messages from Anna.
pub fn whatsapp(extra: Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "390212345678", "phone_number_id": "106"},
        "contacts": [{"profile": {"name": "Anna"}, "wa_id": ANNA}],
    });
    value
        .as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
}

pub fn text_message(id: &str, text: &str) -> Value {
    json!({"from": ANNA, "id": id, "timestamp": "1780300000", "type": "text", "text": {"body": text}})
}
