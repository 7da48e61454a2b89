//! The control API under `/_sandbox`, for callers in other languages and other processes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::World;
use crate::config::{Callbacks, FaultRule, Provider};
use crate::store::{Sent, address_key};

/// The longest wait in one request.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/_sandbox/health", get(health))
        .route("/_sandbox/sent", get(sent))
        .route("/_sandbox/read-marks", get(read_marks))
        .route("/_sandbox/media", post(add_media))
        .route("/_sandbox/fail", post(fail))
        .route("/_sandbox/window", post(set_window))
        .route("/_sandbox/callbacks", post(set_callbacks))
}

async fn health(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "sent": world.store.last_number(),
        "refused": world.store.refused(),
        "base_url": world.base_url,
        "smtp_addr": world.smtp_addr.to_string(),
    }))
}

#[derive(Deserialize)]
struct SentQuery {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait_ms: u64,
    to: Option<String>,
    provider: Option<Provider>,
}

impl SentQuery {
    fn fits(&self, sent: &Sent) -> bool {
        self.provider.is_none_or(|wanted| wanted == sent.provider)
            && self
                .to
                .as_deref()
                .is_none_or(|wanted| address_key(wanted) == address_key(&sent.to))
    }
}

/// Lists the sends after a number, and waits for the first one when there is none yet.
async fn sent(State(world): State<Arc<World>>, Query(query): Query<SentQuery>) -> Json<Value> {
    let wait = Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    let first = world.store.wait_for(query.after, |sent| query.fits(sent));
    tokio::select! {
        biased;
        _ = first => {}
        () = tokio::time::sleep(wait) => {}
        () = world.shutdown.cancelled() => {}
    }
    let all = world.store.sent_after(query.after);
    let last = all.last().map_or(query.after, |sent| sent.number);
    let fitting: Vec<&Sent> = all
        .iter()
        .map(AsRef::as_ref)
        .filter(|sent| query.fits(sent))
        .collect();
    Json(json!({"sent": fitting, "last": last}))
}

async fn read_marks(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({"message_ids": world.store.read_marks()}))
}

async fn add_media(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> (StatusCode, Json<Value>) {
    let mime_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/octet-stream");
    let id = world.store.add_media(bytes, mime_type);
    let sha256 = world.store.find_media(id.as_str()).map(|media| media.sha256);
    let answer = json!({
        "id": id,
        "sha256": sha256.map(hex::encode),
        "sha256_base64": sha256.map(|hash| STANDARD.encode(hash)),
        "url": world.graph_media_url(id.as_str()),
        "twilio_url": world.twilio_media_url(&id),
    });
    (StatusCode::CREATED, Json(answer))
}

async fn fail(State(world): State<Arc<World>>, Json(rule): Json<FaultRule>) -> StatusCode {
    world.store.add_fault(rule);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Window {
    to: String,
    closed: bool,
}

async fn set_window(State(world): State<Arc<World>>, Json(window): Json<Window>) -> StatusCode {
    world.store.set_window_closed(&window.to, window.closed);
    StatusCode::NO_CONTENT
}

async fn set_callbacks(State(world): State<Arc<World>>, Json(callbacks): Json<Callbacks>) -> StatusCode {
    world.set_callbacks(callbacks);
    StatusCode::NO_CONTENT
}
