//! Twilio's Messages API: sends, media behind a redirect, and status callbacks.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::config::{Fault, Provider, ReceiptStatus, TwilioAccount};
use crate::receipts::{self, Call, Receipt, Report};
use crate::store::{Accepted, MediaId, Raw, form_field};
use crate::{World, ambient, retry_after, sign};

const API_VERSION: &str = "2010-04-01";
/// The longest `Body`, in characters.
const MAX_BODY: usize = 1600;
/// Outside the 24 h window of a `whatsapp:` recipient.
const OUTSIDE_WINDOW: u32 = 63_016;

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/2010-04-01/Accounts/{sid}/Messages.json", post(send))
        .route(
            "/2010-04-01/Accounts/{sid}/Messages/{message_sid}/Media/{media_sid}",
            get(redirect_to_media),
        )
        .route("/twilio-cdn/{media_id}", get(fetch_media))
}

/// Returns the `MediaUrl` of an object in an inbound message.
pub(crate) fn media_url(base_url: &str, account: &TwilioAccount, id: &MediaId) -> String {
    let account_sid = &account.account_sid;
    let message_sid = format!("MM{}", ambient::new_id().simple());
    format!(
        "{base_url}/{API_VERSION}/Accounts/{account_sid}/Messages/{message_sid}/Media/ME{:0>32}",
        id.as_str()
    )
}

/// An answer in Twilio's error body.
#[derive(Debug)]
struct TwilioError {
    status: StatusCode,
    code: u32,
    message: String,
    retry_after_s: Option<u64>,
}

impl TwilioError {
    fn new(status: StatusCode, code: u32, message: &str) -> Self {
        Self {
            status,
            code,
            message: message.to_owned(),
            retry_after_s: None,
        }
    }

    fn bad_request(code: u32, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The API as a whole answers with this HTTP status.
    fn status(status: u16, retry_after_s: Option<u64>) -> Self {
        let code = match status {
            429 => 20_429,
            503 => 20_503,
            _ => 20_500,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            retry_after_s,
            ..Self::new(status, code, "on demand")
        }
    }
}

impl IntoResponse for TwilioError {
    fn into_response(self) -> Response {
        let body = Json(json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status.as_u16(),
        }));
        (self.status, retry_after(self.retry_after_s), body).into_response()
    }
}

async fn send(
    State(world): State<Arc<World>>,
    Path(account_sid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    match try_send(&world, &account_sid, &headers, fields) {
        Ok(Answer::Now(body)) => (StatusCode::CREATED, Json(body)).into_response(),
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
    account_sid: &str,
    headers: &HeaderMap,
    fields: Vec<(String, String)>,
) -> Result<Answer, TwilioError> {
    let account = authorised(world, account_sid, headers)?;
    let message = Message::parse(&fields)?;
    let fault = world.store.take_fault(Provider::Twilio, &message.to);
    let failure = match fault {
        Some(Fault::Refuse { code }) => {
            let status = if code == 20_429 {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::BAD_REQUEST
            };
            return Err(TwilioError::new(status, code, "refused on demand"));
        }
        Some(Fault::Status {
            status,
            retry_after_s,
        }) => return Err(TwilioError::status(status, retry_after_s)),
        Some(Fault::FailReceipt { code }) => Some(code),
        Some(Fault::NoAnswer) | None => {
            let is_late = message.is_whatsapp() && !message.is_template;
            (is_late && world.store.window_is_closed(&message.to)).then_some(OUTSIDE_WINDOW)
        }
    };
    let answer = accept(world, account, message, fields, failure);
    if fault == Some(Fault::NoAnswer) {
        return Ok(Answer::Never);
    }
    Ok(Answer::Now(answer))
}

/// A message to be sent.
struct Message {
    to: String,
    from: String,
    by_service: bool,
    body: Option<String>,
    media_count: usize,
    is_template: bool,
    status_callback: Option<String>,
}

impl Message {
    fn parse(fields: &[(String, String)]) -> Result<Self, TwilioError> {
        let field = |name| form_field(fields, name).filter(|value| !value.is_empty());
        let to = field("To")
            .ok_or_else(|| TwilioError::bad_request(21_604, "A 'To' phone number is required."))?;
        if !is_address(to) {
            return Err(TwilioError::bad_request(
                21_211,
                "The 'To' number is not a valid phone number.",
            ));
        }
        let service = field("MessagingServiceSid");
        let from = field("From")
            .or(service)
            .ok_or_else(|| TwilioError::bad_request(21_603, "A 'From' phone number is required."))?;
        let body = field("Body");
        let media_count = fields.iter().filter(|(name, _)| name == "MediaUrl").count();
        let is_template = field("ContentSid").is_some();
        if body.is_none() && media_count == 0 && !is_template {
            return Err(TwilioError::bad_request(21_602, "Message body is required."));
        }
        if body.is_some_and(|body| body.chars().count() > MAX_BODY) {
            return Err(TwilioError::bad_request(
                21_617,
                "The concatenated message body exceeds the 1600 character limit.",
            ));
        }
        if media_count > 10 {
            return Err(TwilioError::bad_request(
                21_623,
                "Number of media files exceeds allowed limit.",
            ));
        }
        Ok(Self {
            to: to.to_owned(),
            from: from.to_owned(),
            by_service: service.is_some(),
            body: body.map(str::to_owned),
            media_count,
            is_template,
            status_callback: field("StatusCallback").map(str::to_owned),
        })
    }

    fn is_whatsapp(&self) -> bool {
        self.to.starts_with("whatsapp:")
    }
}

/// E.164, a `whatsapp:` address, or a short code.
fn is_address(to: &str) -> bool {
    match to.strip_prefix("whatsapp:") {
        Some(user) => !user.is_empty(),
        None => {
            let digits = to.strip_prefix('+').unwrap_or(to);
            (3..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
    }
}

/// Records a send, lets its receipts follow, and words the answer.
fn accept(
    world: &Arc<World>,
    account: &TwilioAccount,
    message: Message,
    fields: Vec<(String, String)>,
    failure: Option<u32>,
) -> Value {
    let at = ambient::now();
    let prefix = if message.media_count > 0 { "MM" } else { "SM" };
    let sid = format!("{prefix}{}", ambient::new_id().simple());
    let answer = resource(account, &message, &fields, &sid, at);
    let callback_url = message
        .status_callback
        .clone()
        .or_else(|| world.callbacks().twilio);
    world.store.record(Accepted {
        provider: Provider::Twilio,
        at,
        to: message.to.clone(),
        from: message.from.clone(),
        body_text: message.body.clone(),
        raw: Raw::Form(fields),
        provider_message_id: sid.clone(),
    });
    if let Some(url) = callback_url {
        receipts::follow(world, at, failure, |receipt| {
            status_callback(account, &message, &sid, &url, receipt)
        });
    }
    answer
}

fn resource(
    account: &TwilioAccount,
    message: &Message,
    fields: &[(String, String)],
    sid: &str,
    at: DateTime<Utc>,
) -> Value {
    let account_sid = &account.account_sid;
    let uri = format!("/{API_VERSION}/Accounts/{account_sid}/Messages/{sid}");
    json!({
        "sid": sid,
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "body": message.body.as_deref().unwrap_or_default(),
        "date_created": at.to_rfc2822(),
        "date_sent": null,
        "date_updated": at.to_rfc2822(),
        "direction": "outbound-api",
        "error_code": null,
        "error_message": null,
        "from": form_field(fields, "From"),
        "messaging_service_sid": form_field(fields, "MessagingServiceSid"),
        "num_media": message.media_count.to_string(),
        "num_segments": if message.by_service { "0" } else { "1" },
        "price": null,
        "price_unit": "USD",
        "status": if message.by_service { "accepted" } else { "queued" },
        "subresource_uris": {"media": format!("{uri}/Media.json")},
        "to": message.to,
        "uri": format!("{uri}.json"),
    })
}

/// Words a receipt as a status callback; plain SMS has none for a message that was read.
fn status_callback(
    account: &TwilioAccount,
    message: &Message,
    sid: &str,
    url: &str,
    receipt: Receipt,
) -> Option<Call> {
    let (status, error_code) = match receipt.report {
        Report::Reached(ReceiptStatus::Sent) => ("sent", None),
        Report::Reached(ReceiptStatus::Delivered) => ("delivered", None),
        Report::Reached(ReceiptStatus::Read) if message.is_whatsapp() => ("read", None),
        Report::Reached(ReceiptStatus::Read) => return None,
        Report::Failed { code } if (30_000..31_000).contains(&code) => ("undelivered", Some(code)),
        Report::Failed { code } => ("failed", Some(code)),
    };
    let mut params: Vec<(String, String)> = [
        ("SmsSid", sid),
        ("SmsStatus", status),
        ("MessageStatus", status),
        ("To", message.to.as_str()),
        ("MessageSid", sid),
        ("AccountSid", account.account_sid.as_str()),
        ("ApiVersion", API_VERSION),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    // A messaging service picks the sender; the stand-in has no pool of numbers to pick from.
    let sender_name = if message.by_service {
        "MessagingServiceSid"
    } else {
        "From"
    };
    params.push((sender_name.to_owned(), message.from.clone()));
    if let Some(code) = error_code {
        params.push(("ErrorCode".to_owned(), code.to_string()));
    }
    if status == "delivered" && !message.is_whatsapp() {
        let done = receipt.at.format("%y%m%d%H%M").to_string();
        params.push(("RawDlrDoneDate".to_owned(), done));
    }
    // The fragment carries Twilio's retry settings and is not part of the call.
    let url = url.split('#').next().unwrap_or(url).to_owned();
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&params)
        .finish();
    Some(Call {
        content_type: "application/x-www-form-urlencoded; charset=UTF-8",
        user_agent: "TwilioProxy/1.1",
        headers: vec![
            (
                "x-twilio-signature",
                sign::twilio(&account.auth_token, &url, &params),
            ),
            ("i-twilio-idempotency-token", ambient::new_id().to_string()),
        ],
        body: body.into(),
        url,
    })
}

/// Answers as Twilio does for a media object: with the way to its CDN.
async fn redirect_to_media(
    State(world): State<Arc<World>>,
    Path((account_sid, _message_sid, media_sid)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = authorised(&world, &account_sid, &headers) {
        return error.into_response();
    }
    let id = media_sid.strip_prefix("ME").and_then(|id| id.get(16..));
    match id.filter(|id| world.store.find_media(id).is_some()) {
        Some(id) => {
            let location = format!("{}/twilio-cdn/{id}", world.base_url);
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response()
        }
        None => TwilioError::new(
            StatusCode::NOT_FOUND,
            20_404,
            "The requested resource was not found",
        )
        .into_response(),
    }
}

async fn fetch_media(State(world): State<Arc<World>>, Path(media_id): Path<String>) -> Response {
    match world.store.find_media(&media_id) {
        Some(media) => ([(CONTENT_TYPE, media.mime_type)], media.bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Checks Basic authentication against the account in the path.
fn authorised<'a>(
    world: &'a World,
    account_sid: &str,
    headers: &HeaderMap,
) -> Result<&'a TwilioAccount, TwilioError> {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    world
        .accounts
        .twilio
        .as_ref()
        .filter(|account| account.account_sid == account_sid)
        .filter(|account| {
            let wanted = format!("{}:{}", account.account_sid, account.auth_token);
            given.as_deref() == Some(wanted.as_bytes())
        })
        .ok_or_else(|| TwilioError::new(StatusCode::UNAUTHORIZED, 20_003, "Authenticate"))
}
