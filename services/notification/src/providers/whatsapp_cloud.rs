//! WhatsApp Business Cloud API.
//!
//! It knows no idempotency key: after a time-out the outcome is unknown. Our message id travels in
//! `biz_opaque_callback_data` and comes back with every status, so that a receipt can settle it.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use trama_platform::{
    outbound::{Outbound, read_limited},
    resources::Secrets,
};
use trama_proto::{common::v1::Handle, resources::WhatsappCloudProvider};

use super::{Outgoing, SendError, SendErrorKind, Sent, retry_after};

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;
/// Outside the 24-hour customer-service window only templates pass.
const WINDOW_CLOSED: i64 = 131_047;

pub(super) struct WhatsappCloud<'a> {
    pub spec: &'a WhatsappCloudProvider,
    pub secrets: &'a Secrets,
    pub outbound: &'a Outbound,
}

/// A failure that has Graph's own code.
struct Refusal {
    code: Option<i64>,
    error: SendError,
}

impl WhatsappCloud<'_> {
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Sent, SendError> {
        match self.post(outgoing, &text_body(outgoing)).await {
            Ok(sent) => Ok(sent),
            Err(refusal) if refusal.code == Some(WINDOW_CLOSED) => match template_body(outgoing) {
                Some(body) => self.post(outgoing, &body).await.map_err(|r| r.error),
                None => Err(refusal.error),
            },
            Err(refusal) => Err(refusal.error),
        }
    }

    async fn post(&self, outgoing: &Outgoing, body: &Value) -> Result<Sent, Refusal> {
        let plain = |error: SendError| Refusal { code: None, error };
        let token = self
            .secrets
            .current(&outgoing.tenant, &self.spec.access_token)
            .map_err(|e| plain(e.into()))?;
        let url = format!(
            "{}/{}/messages",
            self.spec.api_base_url.trim_end_matches('/'),
            self.spec.phone_number_id
        );
        let request = self
            .outbound
            .request(Method::POST, &url)
            .map_err(|e| plain(e.into()))?;
        let response = request
            .bearer_auth(token)
            .json(body)
            .send()
            .await
            .map_err(|e| plain(SendError::no_answer("whatsapp", &e)))?;
        let status = response.status();
        let after = retry_after(response.headers());
        let bytes = read_limited(response, MAX_ANSWER).await;
        let answer: Value = bytes
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        if status.is_success() {
            return match answer.pointer("/messages/0/id").and_then(Value::as_str) {
                Some(id) => Ok(Sent {
                    provider_message_id: id.to_owned(),
                }),
                None => Err(plain(SendError::new(
                    SendErrorKind::Unknown,
                    "whatsapp gave no message id",
                ))),
            };
        }
        let code = answer.pointer("/error/code").and_then(Value::as_i64);
        let title = answer
            .pointer("/error/message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let words = match code {
            Some(code) => format!("whatsapp {code}: {title}"),
            None => format!("whatsapp answered {status}"),
        };
        let kind = verdict(code, status.as_u16(), after);
        if matches!(code, Some(190 | 131_031 | 368)) {
            tracing::error!(
                channel = outgoing.channel,
                code,
                "whatsapp refuses our account; the channel is dead until this is mended"
            );
            metrics::counter!("trama_notification_dead_channels_total", "kind" => "whatsapp").increment(1);
        }
        Err(Refusal {
            code,
            error: SendError::new(kind, words),
        })
    }
}

/// What Graph's code allows to try next.
fn verdict(code: Option<i64>, status: u16, after: Option<TimeDelta>) -> SendErrorKind {
    match code {
        // Throttled: the API as a whole, the number, or spam limit.
        Some(4 | 32 | 613 | 80_007 | 130_429 | 131_048) => SendErrorKind::Retry { after },
        // One message in about six seconds to one customer.
        Some(131_056) => SendErrorKind::Retry {
            after: Some(after.unwrap_or(TimeDelta::seconds(6))),
        },
        Some(1 | 2 | 131_000 | 131_016) => SendErrorKind::Retry { after },
        // Token dead, account locked or blocked, not on WhatsApp, opted out, window closed, template unknown …
        Some(_) if status < 500 && status != 429 => SendErrorKind::NextChannel,
        Some(_) => SendErrorKind::Retry { after },
        None if status == 429 || status >= 500 => SendErrorKind::Retry { after },
        None => SendErrorKind::NextChannel,
    }
}

fn text_body(outgoing: &Outgoing) -> Value {
    let mut body = envelope(outgoing);
    body["type"] = json!("text");
    body["text"] = json!({"body": outgoing.text});
    // A reply shows what it answers; only an id of WhatsApp's own can be answered there.
    if outgoing.in_reply_to.starts_with("wamid.") {
        body["context"] = json!({"message_id": outgoing.in_reply_to});
    }
    body
}

fn template_body(outgoing: &Outgoing) -> Option<Value> {
    let template = outgoing.whatsapp_template.as_deref().filter(|t| !t.is_empty())?;
    let (name, language) = template.split_once(':').unwrap_or((template, &outgoing.language));
    let language = if language.is_empty() { "en" } else { language };
    // Parameters take neither line breaks nor runs of spaces.
    let text = outgoing.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut body = envelope(outgoing);
    body["type"] = json!("template");
    body["template"] = json!({
        "name": name.trim(),
        "language": {"code": language.trim().replace('-', "_")},
        "components": [{"type": "body", "parameters": [{"type": "text", "text": text}]}],
    });
    Some(body)
}

fn envelope(outgoing: &Outgoing) -> Value {
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "biz_opaque_callback_data": outgoing.message_id.to_string(),
    });
    match number(&outgoing.handle) {
        Some(digits) => body["to"] = json!(digits),
        // A business-scoped user id, such as `US.13491208655302741918`.
        None => body["recipient"] = json!(outgoing.handle.value),
    }
    body
}

fn number(handle: &Handle) -> Option<&str> {
    let digits = handle.value.strip_prefix('+').unwrap_or(&handle.value);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use trama_proto::ids::MessageId;

    use super::*;

    fn outgoing(value: &str) -> Outgoing {
        Outgoing {
            tenant: "acme".parse().expect("a tenant"),
            message_id: MessageId::derived(&[b"m"]),
            channel: "wa".into(),
            handle: Handle {
                kind: "whatsapp".into(),
                value: value.into(),
                trust: 0,
            },
            text: "Ciao Anna!\nTutto  bene.".into(),
            subject: String::new(),
            author_name: String::new(),
            automatic: false,
            in_reply_to: "wamid.abc".into(),
            language: "it".into(),
            whatsapp_template: Some("case_update:it".into()),
            at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn numbers_go_to_and_user_ids_to_recipient() {
        assert_eq!(text_body(&outgoing("393331112222"))["to"], "393331112222");
        let by_id = text_body(&outgoing("US.13491208655302741918"));
        assert_eq!(by_id["recipient"], "US.13491208655302741918");
        assert!(by_id.get("to").is_none());
        assert_eq!(by_id["context"]["message_id"], "wamid.abc");
    }

    #[test]
    fn a_template_carries_the_text_in_one_line() {
        let body = template_body(&outgoing("39333")).expect("a template");
        assert_eq!(body["template"]["name"], "case_update");
        assert_eq!(
            body["template"]["components"][0]["parameters"][0]["text"],
            "Ciao Anna! Tutto bene."
        );
    }

    #[test]
    fn codes_decide_what_is_tried_next() {
        assert_eq!(verdict(Some(190), 401, None), SendErrorKind::NextChannel);
        assert_eq!(verdict(Some(131_047), 400, None), SendErrorKind::NextChannel);
        assert_eq!(
            verdict(Some(131_056), 400, None),
            SendErrorKind::Retry {
                after: Some(TimeDelta::seconds(6))
            }
        );
        assert_eq!(
            verdict(Some(130_429), 429, Some(TimeDelta::seconds(9))),
            SendErrorKind::Retry {
                after: Some(TimeDelta::seconds(9))
            }
        );
        assert_eq!(verdict(None, 502, None), SendErrorKind::Retry { after: None });
    }
}
