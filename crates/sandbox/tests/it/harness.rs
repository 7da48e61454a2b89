//! A sandbox with one account each, a client, and a webhook that writes down what it gets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use trama_sandbox::{Accounts, Config, ReceiptPlan, Sandbox, TwilioAccount, WhatsAppAccount};

pub(crate) const PHONE_NUMBER_ID: &str = "106540352242922";
pub(crate) const ACCESS_TOKEN: &str = "EAAG-token";
pub(crate) const APP_SECRET: &str = "app-secret";
pub(crate) const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
pub(crate) const AUTH_TOKEN: &str = "12345";
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A webhook: remembers its calls, answers with the next prepared status, then 200.
pub(crate) struct Receiver {
    pub url: String,
    seen: Arc<Seen>,
    _server: JoinSet<()>,
}

struct Seen {
    calls: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<StatusCode>>,
    count: watch::Sender<usize>,
}

/// One call to the webhook.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.headers.get(name);
        Ok(value.with_context(|| format!("no header {name}"))?.to_str()?)
    }

    pub fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

impl Receiver {
    pub async fn start(answers: &[u16]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hooks?tenant=1", listener.local_addr()?);
        let answers = answers
            .iter()
            .map(|status| StatusCode::from_u16(*status))
            .collect::<Result<_, _>>()?;
        let seen = Arc::new(Seen {
            calls: Mutex::default(),
            answers: Mutex::new(answers),
            count: watch::Sender::new(0),
        });
        let app = Router::new().fallback(take).with_state(seen.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            url,
            seen,
            _server: server,
        })
    }

    pub fn calls(&self) -> Vec<Received> {
        self.seen
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for so many calls.
    pub async fn wait_for(&self, count: usize) -> anyhow::Result<Vec<Received>> {
        let mut seen = self.seen.count.subscribe();
        tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= count))
            .await
            .context("too few receipts")??;
        Ok(self.calls())
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut calls = seen.calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.push(Received { headers, body });
    seen.count.send_replace(calls.len());
    let mut answers = seen.answers.lock().unwrap_or_else(PoisonError::into_inner);
    answers.pop_front().unwrap_or(StatusCode::OK)
}

/// Starts a sandbox that calls back to `callback_url`, which may be empty.
pub(crate) async fn sandbox(callback_url: &str, receipts: ReceiptPlan) -> anyhow::Result<Sandbox> {
    let config = Config {
        accounts: Accounts {
            whatsapp: Some(WhatsAppAccount {
                phone_number_id: PHONE_NUMBER_ID.to_owned(),
                display_phone_number: "15550783881".to_owned(),
                waba_id: "102290129340398".to_owned(),
                access_token: ACCESS_TOKEN.to_owned(),
                app_secret: APP_SECRET.to_owned(),
                callback_url: callback_url.to_owned(),
            }),
            twilio: Some(TwilioAccount {
                account_sid: ACCOUNT_SID.to_owned(),
                auth_token: AUTH_TOKEN.to_owned(),
                status_callback_url: None,
            }),
        },
        receipts,
        ..Config::default()
    };
    Ok(Sandbox::start(config).await?)
}

/// A sandbox that nobody is called back by.
pub(crate) async fn quiet_sandbox() -> anyhow::Result<Sandbox> {
    sandbox("", ReceiptPlan::default()).await
}

#[expect(clippy::disallowed_methods, reason = "a test's own client")]
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

pub(crate) fn graph_url(sandbox: &Sandbox, rest: &str) -> String {
    format!("{}/v26.0/{rest}", sandbox.base_url())
}

pub(crate) fn text_message(to: &str, body: &str) -> Value {
    json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "text",
        "text": {"body": body},
    })
}

/// Posts a message to Graph and returns status and body.
pub(crate) async fn send_whatsapp(sandbox: &Sandbox, message: &Value) -> anyhow::Result<(u16, Value)> {
    let url = graph_url(sandbox, &format!("{PHONE_NUMBER_ID}/messages"));
    let request = client()?.post(url).bearer_auth(ACCESS_TOKEN).json(message);
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

/// Posts a form to Twilio's Messages and returns status and body.
pub(crate) async fn send_twilio(sandbox: &Sandbox, fields: &[(&str, &str)]) -> anyhow::Result<(u16, Value)> {
    let url = format!(
        "{}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json",
        sandbox.base_url()
    );
    let request = client()?
        .post(url)
        .basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN))
        .form(fields);
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}
