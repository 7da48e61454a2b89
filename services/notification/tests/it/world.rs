//! App, providers and identity of one test.

use std::time::Duration;

use trama_proto::{
    common::v1::{ChannelKind, Handle},
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, MessageId},
    ingest::v1::{ReceiptReceived, ReceiptStatus},
    notification::v1::{
        GetMessageRequest, Message, MessageRequested, MessageSent, MessageStatus,
        notification_service_client::NotificationServiceClient,
    },
    time::to_wire,
};
use trama_sandbox::{Accounts, Fault, FaultRule, Provider, Sandbox, Sent, TwilioAccount, WhatsAppAccount};
use trama_testkit::TestApp;

use crate::identity::{Identity, point};

pub const NUMBER: &str = "393331112222";

pub struct World {
    pub app: TestApp,
    pub sandbox: Sandbox,
    pub identity: Identity,
}

fn resources(sandbox: &Sandbox) -> String {
    let (http, smtp) = (sandbox.base_url(), sandbox.smtp_addr());
    format!(
        r#"
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: wa, namespace: acme}}
spec: {{provider: {{whatsappCloud: {{phoneNumberId: "100", appSecret: {{name: wa, key: app}}, verifyToken: {{name: wa, key: v}},
  accessToken: {{name: wa, key: token}}, apiBaseUrl: "{http}/v26.0"}}}}}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: sms, namespace: acme}}
spec: {{provider: {{twilioSms: {{accountSid: AC1, authToken: {{name: tw, key: token}}, number: "+390212345678",
  apiBaseUrl: "{http}", publicBaseUrl: "https://trama.example"}}}}}}
---
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {{name: mail, namespace: acme}}
spec: {{provider: {{email: {{addresses: [care@acme.example], from: "Acme Care <care@acme.example>", relay: "{smtp}", relaySecurity: none}}}}}}
---
apiVersion: trama.dev/v1alpha1
kind: Persona
metadata: {{name: luce, namespace: acme}}
spec:
  default: true
  assistantName: Luce
  languages:
    it: {{register: informal, greeting: "Ciao {{{{ name }}}},", closing: "A presto, {{{{ author }}}}", prefer: {{problematica: difficoltà}}, forbidden: ["non è colpa nostra"]}}
---
apiVersion: trama.dev/v1alpha1
kind: MessageTemplate
metadata: {{name: case-update, namespace: acme}}
spec: {{text: {{it: "Novità per {{{{ name }}}}: {{{{ news }}}}"}}, whatsappTemplate: "case_update:it"}}
"#
    )
}

impl World {
    /// The provider does not take the next message; `retry_after_s` is when it wants to be asked again.
    pub fn refuses_once(&self, provider: Provider, status: u16, retry_after_s: Option<u64>) {
        self.sandbox.fail_next(FaultRule {
            provider: Some(provider),
            to: None,
            times: 1,
            fault: Fault::Status {
                status,
                retry_after_s,
            },
        });
    }

    pub async fn new() -> Self {
        trama_platform::install_crypto();
        let config = trama_sandbox::Config {
            accounts: Accounts {
                whatsapp: Some(WhatsAppAccount {
                    phone_number_id: "100".into(),
                    display_phone_number: "390211111111".into(),
                    waba_id: "1".into(),
                    access_token: "wa-token".into(),
                    app_secret: "s".into(),
                    callback_url: String::new(),
                }),
                twilio: Some(TwilioAccount {
                    account_sid: "AC1".into(),
                    auth_token: "tw-token".into(),
                    status_callback_url: None,
                }),
            },
            ..trama_sandbox::Config::default()
        };
        let sandbox = Sandbox::start(config).await.expect("the sandbox starts");
        let identity = Identity::default();
        let address = identity.serve();
        let app = TestApp::builder(&[trama_notification::service()])
            .resources(&resources(&sandbox))
            .secret("acme", "wa", "token", "wa-token")
            .secret("acme", "tw", "token", "tw-token")
            .configure(move |config| {
                config.remotes.insert("identity-resolution".into(), address);
                config.outbound.timeout_ms = 400;
                config
                    .services
                    .insert("notification".into(), serde_json::json!({"poll_ms": 50}));
            })
            .start()
            .await;
        Self {
            app,
            sandbox,
            identity,
        }
    }

    /// A customer who prefers WhatsApp and has mail and a telephone.
    pub fn anna(&self) -> String {
        let id = CustomerId::derived(&[b"anna"]).to_string();
        self.identity.reach(
            &id,
            vec![
                point(ChannelKind::Whatsapp, "whatsapp", NUMBER),
                point(ChannelKind::Email, "email", "anna@example.com"),
            ],
        );
        id
    }

    pub async fn ask(&self, request: &MessageRequested) {
        self.app.publish("acme", &request.customer_id, request).await;
    }

    pub async fn get(&self, message_id: &str) -> Option<Message> {
        let mut client = NotificationServiceClient::new(self.app.grpc());
        let request = self.app.request(
            "acme",
            "carla",
            GetMessageRequest {
                message_id: message_id.to_owned(),
            },
        );
        client
            .get_message(request)
            .await
            .ok()
            .and_then(|r| r.into_inner().message)
    }

    pub async fn reaches(&self, message_id: &str, status: MessageStatus) -> Message {
        self.app
            .eventually(status.as_str_name(), || async {
                self.get(message_id).await.is_some_and(|m| m.status() == status)
            })
            .await;
        self.get(message_id).await.expect("a message")
    }

    pub async fn failed_tries(&self, message_id: &str, tries: usize) {
        self.app
            .eventually("a failed try", || async {
                self.get(message_id).await.is_some_and(|m| {
                    m.attempts
                        .iter()
                        .filter(|a| !a.error.is_empty() && a.error != "in progress")
                        .count()
                        >= tries
                })
            })
            .await;
    }

    pub async fn sent(&self, message_id: &str) -> MessageSent {
        self.app
            .wait_for(message_id, |e: &MessageSent| {
                e.outcome.as_ref().is_some_and(|o| o.message_id == message_id)
            })
            .await
    }

    pub fn through(&self, provider: Provider) -> Vec<Sent> {
        self.sandbox
            .sent()
            .into_iter()
            .filter(|s| s.provider == provider)
            .collect()
    }

    pub async fn receipt(&self, channel: &str, provider_id: &str, message_id: &str, status: ReceiptStatus) {
        let receipt = ReceiptReceived {
            channel: channel.into(),
            provider_message_id: provider_id.into(),
            message_id: message_id.into(),
            status: status.into(),
            occurred_at: Some(to_wire(self.app.clock.now())),
            error: if status == ReceiptStatus::Failed {
                "131026".into()
            } else {
                String::new()
            },
        };
        self.app.publish("acme", provider_id, &receipt).await;
    }

    pub async fn stop(self) {
        self.app.stop().await;
        self.sandbox.stop().await;
    }
}

pub fn message(name: &str, customer: &str) -> MessageRequested {
    MessageRequested {
        message_id: MessageId::derived(&[name.as_bytes()]).to_string(),
        customer_id: customer.to_owned(),
        case_id: CaseId::derived(&[b"case"]).to_string(),
        need: "product-fault".into(),
        purpose: Purpose::Service.into(),
        author: "carla".into(),
        author_name: "Carla".into(),
        text: format!("La problematica è risolta ({name})."),
        language: "it".into(),
        article_version: "drip@3".into(),
        fallback: ChannelKind::WebChat.into(),
        greet: true,
        ..MessageRequested::default()
    }
}

pub fn code_to(handle_kind: &str, value: &str) -> MessageRequested {
    MessageRequested {
        text: String::new(),
        template: "one-time-code".into(),
        template_values: [("code".to_owned(), "482913".to_owned())].into(),
        purpose: Purpose::Security.into(),
        author: "security".into(),
        handle: Some(Handle {
            kind: handle_kind.into(),
            value: value.into(),
            trust: 0,
        }),
        ..message("code", &CustomerId::derived(&[b"somebody"]).to_string())
    }
}

/// Longer than any back-off of the tests.
pub const A_WHILE: Duration = Duration::from_secs(90);
