//! The provider stand-in: speaks the outbound providers' APIs on loopback and calls back as they do.
//!
//! A development tool, used by the `trama` CLI and by tests; no service links it.
//!
//! - **Serves** the WhatsApp part of Meta's Graph API ([`WhatsAppAccount`]), Twilio's Messages API
//!   ([`TwilioAccount`]) with the media of both, an SMTP sink, and under `/_sandbox` a control API for
//!   callers in other languages.
//! - **Records** every accepted send ([`Sandbox::sent`], [`Sandbox::wait_for_sent`]).
//! - **Calls back** with delivery receipts signed as the real ones are: late, more than once or in the wrong
//!   order when the [`ReceiptPlan`] says so.
//! - **Fails** on demand ([`Sandbox::fail_next`], [`Sandbox::set_window_closed`]).
//!
//! | control API | body or query | answer |
//! |---|---|---|
//! | `GET /_sandbox/health` | | `{status, sent, refused, base_url, smtp_addr}` |
//! | `GET /_sandbox/sent` | `after=N&wait_ms=M&to=&provider=` | `{sent: […], last}`; waits for the first fit |
//! | `GET /_sandbox/read-marks` | | `{message_ids: […]}` |
//! | `POST /_sandbox/media` | the bytes, with their `Content-Type` | `{id, sha256, sha256_base64, url, twilio_url}` |
//! | `POST /_sandbox/fail` | [`FaultRule`], e.g. `{"to": "+1…", "kind": "refuse", "code": 131047}` | 204 |
//! | `POST /_sandbox/window` | `{"to": "+1…", "closed": true}` | 204 |
//! | `POST /_sandbox/callbacks` | [`Callbacks`] | 204 |

mod ambient;
mod config;
mod control;
mod graph;
mod receipts;
pub mod sign;
mod smtp;
mod store;
mod twilio;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{
    Accounts, Callbacks, Config, Fault, FaultRule, Provider, ReceiptOrder, ReceiptPlan, ReceiptStatus, Retry,
    TwilioAccount, WhatsAppAccount,
};
pub use store::{Mail, MediaId, Raw, Sent};

/// The largest document WhatsApp takes, and some room for the form around it.
const MAX_BODY_BYTES: usize = 101 * 1024 * 1024;
/// How long `stop` waits for open connections.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running stand-in; dropping it ends it too, without waiting.
pub struct Sandbox {
    world: Arc<World>,
}

/// What every handler sees.
pub(crate) struct World {
    pub base_url: String,
    pub smtp_addr: SocketAddr,
    pub accounts: Accounts,
    pub callbacks: RwLock<Callbacks>,
    pub store: store::Store,
    pub receipts: receipts::Receipts,
    pub shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl World {
    /// Runs a task until it ends or the sandbox does.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled_owned(task).await;
        });
    }

    /// Returns where receipts go now; a URL is never empty.
    pub fn callbacks(&self) -> Callbacks {
        self.callbacks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_callbacks(&self, new: Callbacks) {
        let mut current = self.callbacks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = new.whatsapp {
            current.whatsapp = Some(url).filter(|url| !url.is_empty());
        }
        if let Some(url) = new.twilio {
            current.twilio = Some(url).filter(|url| !url.is_empty());
        }
    }

    /// Holds a request open until the caller or the sandbox gives up.
    pub async fn stay_silent(&self) -> Response {
        self.shutdown.cancelled().await;
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }

    /// Returns where Graph says that a media object is.
    pub fn graph_media_url(&self, id: &str) -> String {
        format!("{}/media/{id}", self.base_url)
    }

    /// Returns a `MediaUrl` as Twilio puts it into an inbound message.
    pub fn twilio_media_url(&self, id: &MediaId) -> Option<String> {
        let account = self.accounts.twilio.as_ref()?;
        Some(twilio::media_url(&self.base_url, account, id))
    }
}

impl Sandbox {
    /// Binds both ports and begins to serve.
    ///
    /// # Errors
    /// Fails when a port cannot be bound or the HTTP client for receipts cannot be built.
    pub async fn start(config: Config) -> io::Result<Self> {
        let http = TcpListener::bind(config.listen).await?;
        let smtp = TcpListener::bind(config.smtp_listen).await?;
        let configured = Callbacks {
            whatsapp: config
                .accounts
                .whatsapp
                .as_ref()
                .map(|account| account.callback_url.clone()),
            twilio: config
                .accounts
                .twilio
                .as_ref()
                .and_then(|account| account.status_callback_url.clone()),
        };
        let world = Arc::new(World {
            base_url: format!("http://{}", reachable(http.local_addr()?)),
            smtp_addr: reachable(smtp.local_addr()?),
            accounts: config.accounts,
            callbacks: RwLock::default(),
            store: store::Store::new(),
            receipts: receipts::Receipts::new(config.receipts)?,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        world.set_callbacks(configured);

        let app = Router::new()
            .merge(control::routes())
            .merge(twilio::routes())
            .merge(graph::routes())
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(world.clone());
        let stopped = world.shutdown.clone();
        world.tasks.spawn(async move {
            let served = axum::serve(http, app)
                .with_graceful_shutdown(stopped.cancelled_owned())
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "sandbox http server ended");
            }
        });
        world.spawn(smtp::serve(world.clone(), smtp));
        Ok(Self { world })
    }

    /// Returns the root of the HTTP APIs, without a slash at the end: what stands in for
    /// `https://graph.facebook.com` and `https://api.twilio.com`.
    pub fn base_url(&self) -> &str {
        &self.world.base_url
    }

    /// Returns where the mail sink listens.
    pub fn smtp_addr(&self) -> SocketAddr {
        self.world.smtp_addr
    }

    /// Changes where receipts of later sends go.
    pub fn set_callbacks(&self, callbacks: Callbacks) {
        self.world.set_callbacks(callbacks);
    }

    /// Changes how receipts follow later sends.
    pub fn set_receipts(&self, plan: ReceiptPlan) {
        self.world.receipts.set_plan(plan);
    }

    /// Lists what was accepted, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        let sent = self.world.store.sent_after(0);
        sent.iter().map(|sent| Sent::clone(sent)).collect()
    }

    /// Counts the sends that were refused: bad credentials, bad shape, or a planted [`Fault`].
    pub fn refused(&self) -> u64 {
        self.world.store.refused()
    }

    /// Lists the WhatsApp messages that were marked as read.
    pub fn read_marks(&self) -> Vec<String> {
        self.world.store.read_marks()
    }

    /// Returns the first send, past or to come, that satisfies the predicate; `None` when time is up.
    pub async fn wait_for_sent(&self, wanted: impl Fn(&Sent) -> bool, timeout: Duration) -> Option<Sent> {
        let found = self.world.store.wait_for(0, wanted);
        let sent = tokio::time::timeout(timeout, found).await.ok()?;
        Some(Sent::clone(&sent))
    }

    /// Stores a media object, to be named in an inbound message and fetched in two steps.
    pub fn add_media(&self, bytes: impl Into<Bytes>, mime_type: &str) -> MediaId {
        self.world.store.add_media(bytes.into(), mime_type)
    }

    /// Returns the `MediaUrl0` under which Twilio would offer a media object; `None` without a Twilio account.
    pub fn twilio_media_url(&self, id: &MediaId) -> Option<String> {
        self.world.twilio_media_url(id)
    }

    /// Plants a failure for the next sends that fit; rules are used up in the order they were planted.
    pub fn fail_next(&self, rule: FaultRule) {
        self.world.store.add_fault(rule);
    }

    /// Closes or opens the 24 h customer-service window of an address.
    ///
    /// While closed, WhatsApp refuses all but templates with 131047; Twilio accepts a `whatsapp:` message without
    /// `ContentSid` and reports it as failed with 63016.
    pub fn set_window_closed(&self, to: &str, closed: bool) {
        self.world.store.set_window_closed(to, closed);
    }

    /// Ends the sandbox: receipts on their way are dropped, open connections get a moment to finish.
    pub async fn stop(self) {
        self.world.shutdown.cancel();
        self.world.tasks.close();
        let ended = tokio::time::timeout(STOP_PATIENCE, self.world.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!("sandbox stopped with connections still open");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.world.shutdown.cancel();
    }
}

/// An address that a client can connect to: a wildcard becomes loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port()))
    } else {
        bound
    }
}

/// The `Retry-After` header, when there is something to say.
pub(crate) fn retry_after(seconds: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers
}
