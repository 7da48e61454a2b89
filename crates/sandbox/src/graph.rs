//! The WhatsApp part of Meta's Graph API: sends, media in two steps, and status webhooks.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Multipart, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::config::{Fault, Provider, ReceiptStatus, WhatsAppAccount};
use crate::receipts::{self, Call, Receipt, Report};
use crate::store::{Accepted, Raw};
use crate::{World, ambient, sign};

mod error;
mod message;

use error::GraphError;
use message::{Order, Outbound, ReadMark};

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/{version}/{phone_number_id}/messages", post(send))
        .route("/{version}/{phone_number_id}/media", post(upload))
        .route("/{version}/{media_id}", get(describe_media))
        .route("/media/{media_id}", get(fetch_media))
}

async fn send(
    State(world): State<Arc<World>>,
    Path((version, phone_number_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match try_send(&world, &version, &phone_number_id, &headers, &body) {
        Ok(Answer::Now(body)) => Json(body).into_response(),
        Ok(Answer::Never) => world.stay_silent().await,
        Err(error) => {
            world.store.count_refusal();
            error.into_response()
        }
    }
}

enum Answer {
    Now(Value),
    Never,
}

fn try_send(
    world: &Arc<World>,
    version: &str,
    phone_number_id: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, GraphError> {
    let account = authorised(world, headers)?;
    check_object(version, phone_number_id, account)?;
    let raw: Value =
        serde_json::from_slice(body).map_err(|_| GraphError::invalid_parameter("the body is not JSON"))?;
    let send = match Order::parse(&raw)? {
        Order::MarkRead(ReadMark { message_id }) => {
            world.store.mark_read(&message_id);
            return Ok(Answer::Now(json!({"success": true})));
        }
        Order::Send(send) => send,
    };
    if let Some(media_id) = &send.media_id
        && world.store.find_media(media_id).is_none()
    {
        return Err(GraphError::new(131_009, "media id is not known"));
    }
    let fault = world.store.take_fault(Provider::WhatsApp, &send.recipient);
    let failure = match fault {
        Some(Fault::Refuse { code }) => return Err(GraphError::new(code, "refused on demand")),
        Some(Fault::Status {
            status,
            retry_after_s,
        }) => return Err(GraphError::status(status, retry_after_s)),
        Some(Fault::FailReceipt { code }) => Some(code),
        Some(Fault::NoAnswer) | None => None,
    };
    if !send.is_template && world.store.window_is_closed(&send.recipient) {
        return Err(GraphError::new(
            131_047,
            "more than 24 hours have passed since the recipient last replied",
        ));
    }
    let answer = accept(world, account, send, raw, failure);
    if fault == Some(Fault::NoAnswer) {
        return Ok(Answer::Never);
    }
    Ok(Answer::Now(answer))
}

/// Records a send, lets its receipts follow, and words the answer.
fn accept(
    world: &Arc<World>,
    account: &WhatsAppAccount,
    send: Outbound,
    raw: Value,
    failure: Option<u32>,
) -> Value {
    let at = ambient::now();
    let wamid = format!("wamid.{}", STANDARD.encode(ambient::new_id().as_bytes()));
    world.store.record(Accepted {
        provider: Provider::WhatsApp,
        at,
        to: send.recipient.clone(),
        from: account.display_phone_number.clone(),
        body_text: send.body_text.clone(),
        raw: Raw::Json(raw),
        provider_message_id: wamid.clone(),
    });
    if let Some(url) = world.callbacks().whatsapp {
        receipts::follow(world, at, failure, |receipt| {
            let body = sign::meta_json(&status_webhook(account, &send, &wamid, receipt));
            Some(Call {
                url: url.clone(),
                content_type: "application/json",
                user_agent: "facebookexternalua",
                headers: vec![("x-hub-signature-256", sign::meta(&account.app_secret, &body))],
                body: body.into(),
            })
        });
    }
    let contact = if send.by_user_id {
        json!({"input": send.recipient, "user_id": send.recipient})
    } else {
        json!({"input": send.recipient, "wa_id": send.wa_id()})
    };
    json!({
        "messaging_product": "whatsapp",
        "contacts": [contact],
        "messages": [{"id": wamid}],
    })
}

fn status_webhook(account: &WhatsAppAccount, send: &Outbound, wamid: &str, receipt: Receipt) -> Value {
    let mut status = json!({
        "id": wamid,
        "status": status_name(receipt.report),
        "timestamp": unix_seconds(receipt.at),
    });
    if send.by_user_id {
        status["recipient_user_id"] = json!(send.recipient);
    } else {
        status["recipient_id"] = json!(send.wa_id());
    }
    if let Some(data) = &send.callback_data {
        status["biz_opaque_callback_data"] = json!(data);
    }
    let category = if send.is_template { "utility" } else { "service" };
    match receipt.report {
        Report::Reached(ReceiptStatus::Sent | ReceiptStatus::Delivered) => {
            status["conversation"] = json!({
                "id": hex::encode(send.recipient.as_bytes()),
                "origin": {"type": category},
            });
            status["pricing"] = json!({
                "billable": send.is_template,
                "pricing_model": "PMP",
                "category": category,
                "type": if send.is_template { "regular" } else { "free_customer_service" },
            });
        }
        Report::Reached(ReceiptStatus::Read) => {}
        Report::Failed { code } => {
            status["errors"] = json!([error::webhook_error(code)]);
        }
    }
    json!({
        "object": "whatsapp_business_account",
        "entry": [{
            "id": account.waba_id,
            "changes": [{
                "field": "messages",
                "value": {
                    "messaging_product": "whatsapp",
                    "metadata": {
                        "display_phone_number": account.display_phone_number,
                        "phone_number_id": account.phone_number_id,
                    },
                    "statuses": [status],
                },
            }],
        }],
    })
}

fn status_name(report: Report) -> &'static str {
    match report {
        Report::Reached(ReceiptStatus::Sent) => "sent",
        Report::Reached(ReceiptStatus::Delivered) => "delivered",
        Report::Reached(ReceiptStatus::Read) => "read",
        Report::Failed { .. } => "failed",
    }
}

fn unix_seconds(at: DateTime<Utc>) -> String {
    at.timestamp().to_string()
}

/// Takes a file into the media store: parts `messaging_product`, `type` and `file`.
async fn upload(
    State(world): State<Arc<World>>,
    Path((version, phone_number_id)): Path<(String, String)>,
    headers: HeaderMap,
    form: Multipart,
) -> Result<Response, GraphError> {
    let account = authorised(&world, &headers)?;
    check_object(&version, &phone_number_id, account)?;
    let upload = message::Upload::read(form).await?;
    let id = world.store.add_media(upload.bytes, &upload.mime_type);
    Ok(Json(json!({"id": id})).into_response())
}

/// The first step to a media object: where it is and what it is.
async fn describe_media(
    State(world): State<Arc<World>>,
    Path((version, media_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, GraphError> {
    authorised(&world, &headers)?;
    check_version(&version)?;
    let media = world
        .store
        .find_media(&media_id)
        .ok_or_else(|| GraphError::unknown_object(&media_id))?;
    Ok(Json(json!({
        "messaging_product": "whatsapp",
        "url": world.graph_media_url(&media_id),
        "mime_type": media.mime_type,
        "sha256": hex::encode(media.sha256),
        "file_size": media.bytes.len(),
        "id": media_id,
    }))
    .into_response())
}

/// The second step: the bytes, for the same token only.
async fn fetch_media(
    State(world): State<Arc<World>>,
    Path(media_id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if authorised(&world, &headers).is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match world.store.find_media(&media_id) {
        Some(media) => ([(CONTENT_TYPE, media.mime_type)], media.bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Checks the bearer token and returns the account it belongs to.
fn authorised<'a>(world: &'a World, headers: &HeaderMap) -> Result<&'a WhatsAppAccount, GraphError> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    world
        .accounts
        .whatsapp
        .as_ref()
        .filter(|account| token == Some(account.access_token.as_str()))
        .ok_or_else(|| GraphError::new(190, "the access token is missing or wrong"))
}

fn check_object(version: &str, phone_number_id: &str, account: &WhatsAppAccount) -> Result<(), GraphError> {
    check_version(version)?;
    if phone_number_id == account.phone_number_id {
        Ok(())
    } else {
        Err(GraphError::unknown_object(phone_number_id))
    }
}

/// Graph versions look like `v26.0`.
fn check_version(version: &str) -> Result<(), GraphError> {
    let is_version = version
        .strip_prefix('v')
        .and_then(|number| number.split_once('.'))
        .is_some_and(|(major, minor)| major.parse::<u16>().is_ok() && minor.parse::<u16>().is_ok());
    if is_version {
        Ok(())
    } else {
        Err(GraphError::new(2500, "the path has no API version"))
    }
}
