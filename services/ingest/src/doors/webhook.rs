//! `GET` and `POST /webhooks/{tenant}/{channel}`: one door for every provider that calls us.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;
use trama_platform::{Error, Kind, telemetry};
use trama_proto::{
    ids::TenantId,
    resources::{ChannelSpec, Provider, TwilioProvider, WhatsappCloudProvider},
};

use super::Doors;
use crate::{
    app::journal::Incoming,
    channels::{Form, whatsapp},
    domain::signature::{self, TwilioRequest},
    error::no_such_channel,
};

/// What the handlers share.
struct Door {
    doors: Doors,
    /// Requests of each channel that wait for the journal.
    waiting: Mutex<HashMap<(TenantId, String), Arc<Semaphore>>>,
}

/// The routes of this door.
pub fn routes(doors: Doors) -> Router {
    Router::new()
        .route("/webhooks/{tenant}/{channel}", get(take_get).post(take_post))
        .with_state(Arc::new(Door {
            doors,
            waiting: Mutex::default(),
        }))
}

async fn take_get(
    State(door): State<Arc<Door>>,
    Path((tenant, channel)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let answer = door
        .doors
        .channel(&tenant, &channel)
        .and_then(|(tenant, spec)| match &spec.provider {
            Provider::WhatsappCloud(provider) => door.handshake(&tenant, provider, &query),
            _ => Err(no_such_channel(&channel)),
        });
    answer.unwrap_or_else(refuse)
}

async fn take_post(
    State(door): State<Arc<Door>>,
    Path((tenant, channel)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let span = tracing::info_span!("webhook.delivery.receive", otel.kind = "server");
    telemetry::follow(&span, text(&headers, trama_platform::bus::TRACE_HEADER));
    async move {
        door.receive(&tenant, &channel, &uri, &headers, body)
            .await
            .unwrap_or_else(refuse)
    }
    .instrument(span)
    .await
}

/// The answer to a request that was not let in.
fn refuse(error: Error) -> Response {
    let outcome = match error.kind() {
        Kind::Unauthenticated | Kind::Denied => "forged",
        Kind::NotFound => "unknown_channel",
        Kind::Invalid => "invalid",
        Kind::Exhausted => "overloaded",
        _ => "failed",
    };
    metrics::counter!("trama_ingest_webhooks_total", "outcome" => outcome).increment(1);
    let retry = matches!(error.kind(), Kind::Exhausted | Kind::Unavailable);
    let mut response = error.into_response();
    if retry {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

impl Door {
    fn handshake(
        &self,
        tenant: &TenantId,
        provider: &WhatsappCloudProvider,
        query: &HashMap<String, String>,
    ) -> Result<Response, Error> {
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let token = self.doors.secret(tenant, &provider.verify_token)?;
        if get("hub.mode") != "subscribe" || !signature::same(&token, get("hub.verify_token")) {
            return Err(Error::new(Kind::Denied, "the verify token is not right"));
        }
        let challenge = get("hub.challenge");
        // It is sent back as it came: nothing that a browser could take for a page.
        if challenge.len() > 256
            || !challenge
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        {
            return Err(Error::invalid(
                "hub.challenge",
                "must be at most 256 letters and digits",
            ));
        }
        Ok(([(header::CONTENT_TYPE, "text/plain")], challenge.to_owned()).into_response())
    }

    async fn receive(
        &self,
        tenant: &str,
        channel: &str,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Error> {
        let (tenant, spec) = self.doors.channel(tenant, channel)?;
        if !matches!(
            spec.provider,
            Provider::WhatsappCloud(_) | Provider::TwilioVoice(_) | Provider::TwilioSms(_)
        ) {
            return Err(no_such_channel(channel));
        }
        let body = match self.read(headers, body).await {
            Ok(body) => body,
            Err((status, detail)) => return Ok(problem(status, detail)),
        };
        let Some(_permit) = self.permit(&tenant, channel) else {
            return Err(Error::new(
                Kind::Exhausted,
                "too many requests of this channel at once; try again",
            ));
        };
        let key = self.verify(&tenant, &spec, uri, headers, &body)?;
        let incoming = Incoming {
            tenant,
            channel: channel.to_owned(),
            kind: spec.kind(),
            content_type: text(headers, "content-type")
                .unwrap_or_default()
                .chars()
                .take(200)
                .collect(),
            body,
            attributes: HashMap::new(),
            distinct: Vec::new(),
            key,
        };
        self.doors.journal.keep(incoming).await?;
        metrics::counter!("trama_ingest_webhooks_total", "outcome" => "stored").increment(1);
        Ok(match &spec.provider {
            Provider::TwilioVoice(_) | Provider::TwilioSms(_) => {
                ([(header::CONTENT_TYPE, "text/xml")], "<Response/>").into_response()
            }
            _ => StatusCode::OK.into_response(),
        })
    }

    /// The whole body, or the answer to one that is too large or too slow.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, (StatusCode, &'static str)> {
        let limit = self.doors.config.max_body_bytes;
        let announced = text(headers, "content-length").and_then(|l| l.parse::<usize>().ok());
        if announced.is_some_and(|a| a > limit) {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "too large"));
        }
        let patience = Duration::from_secs(self.doors.config.body_seconds);
        match tokio::time::timeout(patience, axum::body::to_bytes(body, limit)).await {
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "too large, or broken off")),
        }
    }

    fn permit(&self, tenant: &TenantId, channel: &str) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Only channels that exist come here, so the map stays small.
            let bound = self.doors.config.in_flight_per_channel;
            Arc::clone(
                waiting
                    .entry((tenant.clone(), channel.to_owned()))
                    .or_insert_with(|| Arc::new(Semaphore::new(bound))),
            )
        };
        semaphore.try_acquire_owned().ok()
    }

    /// Checks the signature over the raw bytes, and finds the conversation where that is cheap.
    fn verify(
        &self,
        tenant: &TenantId,
        spec: &ChannelSpec,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Option<String>, Error> {
        match &spec.provider {
            Provider::WhatsappCloud(provider) => {
                let secret = self.doors.secret(tenant, &provider.app_secret)?;
                signature::meta(&secret, text(headers, "x-hub-signature-256"), body)?;
                Ok(whatsapp::peek_sender(body).map(str::to_owned))
            }
            Provider::TwilioVoice(provider) => {
                self.verify_twilio(tenant, provider, uri, headers, body)?;
                Ok(Form::parse(body).get("CallSid").map(str::to_owned))
            }
            Provider::TwilioSms(provider) => {
                self.verify_twilio(tenant, provider, uri, headers, body)?;
                let form = Form::parse(body);
                Ok(form.get("From").map(str::to_owned))
            }
            Provider::Email(_) | Provider::WebChat(_) | Provider::Api {} => Err(no_such_channel("")),
        }
    }

    fn verify_twilio(
        &self,
        tenant: &TenantId,
        provider: &TwilioProvider,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(), Error> {
        let token = self.doors.secret(tenant, &provider.auth_token)?;
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let url = format!("{}{path}", provider.public_base_url.trim_end_matches('/'));
        let content_type = text(headers, "content-type").unwrap_or_default();
        let request = TwilioRequest {
            url: &url,
            is_form: content_type.starts_with("application/x-www-form-urlencoded"),
            body,
            settings: text(headers, "x-twilio-webhooks-signature-settings"),
        };
        Ok(signature::twilio(
            &token,
            text(headers, "x-twilio-signature"),
            &request,
        )?)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn problem(status: StatusCode, detail: &str) -> Response {
    metrics::counter!("trama_ingest_webhooks_total", "outcome" => "invalid").increment(1);
    let body = serde_json::json!({
        "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail,
    });
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}
