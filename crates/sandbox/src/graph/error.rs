//! Graph's error body.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::{ambient, retry_after};

/// An answer in Graph's error body.
#[derive(Debug)]
pub(crate) struct GraphError {
    status: StatusCode,
    code: u32,
    subcode: Option<u32>,
    details: String,
    retry_after_s: Option<u64>,
}

impl GraphError {
    /// The provider refuses with a code of its own; the HTTP status follows from the code.
    pub fn new(code: u32, details: &str) -> Self {
        let status = match code {
            190 => StatusCode::UNAUTHORIZED,
            4 | 80_007 | 130_429 => StatusCode::TOO_MANY_REQUESTS,
            1 | 2 | 131_000 | 131_016 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self {
            status,
            code,
            subcode: None,
            details: details.to_owned(),
            retry_after_s: None,
        }
    }

    /// Code 100: the request has the wrong shape.
    pub fn invalid_parameter(details: &str) -> Self {
        Self::new(100, details)
    }

    /// Code 100, subcode 33: there is no such object, or the token may not see it.
    pub fn unknown_object(id: &str) -> Self {
        Self {
            subcode: Some(33),
            ..Self::new(100, &format!("object with ID '{id}' does not exist"))
        }
    }

    /// The API as a whole answers with this HTTP status.
    pub fn status(status: u16, retry_after_s: Option<u64>) -> Self {
        let code = if status == 429 { 80_007 } else { 1 };
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            retry_after_s,
            ..Self::new(code, "on demand")
        }
    }
}

impl IntoResponse for GraphError {
    fn into_response(self) -> Response {
        let mut error = json!({
            "message": format!("(#{}) {}", self.code, title(self.code)),
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": ambient::new_id().simple().to_string(),
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = json!(subcode);
        }
        let body = Json(json!({"error": error}));
        (self.status, retry_after(self.retry_after_s), body).into_response()
    }
}

/// An element of `errors` in a status webhook.
pub(super) fn webhook_error(code: u32) -> Value {
    json!({
        "code": code,
        "title": title(code),
        "message": title(code),
        "error_data": {"details": title(code)},
        "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
    })
}

fn title(code: u32) -> &'static str {
    match code {
        1 => "API Unknown",
        4 => "API Too Many Calls",
        100 => "Invalid parameter",
        190 => "Access token has expired",
        368 => "Temporarily blocked for policies violations",
        2500 => "Unknown path components",
        80_007 | 130_429 => "Rate limit hit",
        131_000 => "Something went wrong",
        131_009 => "Parameter value is not valid",
        131_016 => "Service unavailable",
        131_026 => "Message undeliverable",
        131_031 => "Account has been locked",
        131_047 => "Re-engagement message",
        131_048 => "Spam rate limit hit",
        131_049 => "Meta chose not to deliver",
        131_050 => "User has stopped marketing messages",
        131_051 => "Unsupported message type",
        131_052 => "Media download error",
        131_053 => "Media upload error",
        131_056 => "Pair rate limit hit",
        132_000 => "Template parameter count mismatch",
        132_001 => "Template does not exist",
        _ => "Error",
    }
}
