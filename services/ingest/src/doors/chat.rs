//! `GET /chat/{tenant}/{channel}`: web chat over WebSocket.

mod session;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State, WebSocketUpgrade},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::sync::Semaphore;
use trama_platform::{Error, Kind};
use trama_proto::resources::{Provider, WebChatProvider};

use super::Doors;
use crate::error::no_such_channel;

struct Door {
    doors: Doors,
    connections: Arc<Semaphore>,
}

/// The routes of this door.
pub fn routes(doors: Doors) -> Router {
    let connections = Arc::new(Semaphore::new(doors.config.chat_connections));
    Router::new()
        .route("/chat/{tenant}/{channel}", get(connect))
        .with_state(Arc::new(Door { doors, connections }))
}

async fn connect(
    State(door): State<Arc<Door>>,
    Path((tenant, channel)): Path<(String, String)>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (tenant, spec) = match door.doors.channel(&tenant, &channel) {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    let Provider::WebChat(provider) = &spec.provider else {
        return no_such_channel(&channel).into_response();
    };
    let origin = headers.get(header::ORIGIN).and_then(|o| o.to_str().ok());
    if !may_open(provider, origin) {
        metrics::counter!("trama_ingest_chat_connections_total", "outcome" => "foreign_origin").increment(1);
        return Error::new(
            Kind::Denied,
            "this origin may not open the chat; see allowedOrigins of the channel",
        )
        .into_response();
    }
    let Ok(permit) = Arc::clone(&door.connections).try_acquire_owned() else {
        metrics::counter!("trama_ingest_chat_connections_total", "outcome" => "overloaded").increment(1);
        return Error::new(Kind::Exhausted, "too many chats at once; try again").into_response();
    };
    metrics::counter!("trama_ingest_chat_connections_total", "outcome" => "opened").increment(1);
    let frame = door.doors.config.chat_frame_bytes;
    let doors = door.doors.clone();
    let provider = provider.clone();
    upgrade
        .max_message_size(frame)
        .max_frame_size(frame)
        .on_upgrade(move |socket| async move {
            let _permit = permit;
            session::run(doors, tenant, channel, provider, socket).await;
        })
}

/// A page of another site must not open a chat in its visitor's name. Programs that are no browsers send no origin.
fn may_open(provider: &WebChatProvider, origin: Option<&str>) -> bool {
    provider.allowed_origins.iter().any(|allowed| {
        allowed == "*" || origin.is_some_and(|o| o.eq_ignore_ascii_case(allowed.trim_end_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_origins_may_open_a_chat() {
        let provider = |origins: &[&str]| WebChatProvider {
            allowed_origins: origins.iter().map(|o| (*o).to_owned()).collect(),
            login_secret: None,
            login_level: 1,
        };
        let acme = provider(&["https://acme.example/"]);
        assert!(may_open(&acme, Some("https://acme.example")));
        assert!(!may_open(&acme, Some("https://acme.example.evil.example")));
        assert!(!may_open(&acme, None));
        assert!(may_open(&provider(&["*"]), None));
    }
}
