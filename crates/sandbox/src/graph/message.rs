//! The shape of what is posted to `messages` and `media`.

use axum::extract::Multipart;
use bytes::Bytes;
use serde_json::Value;

use super::error::GraphError;

/// The longest text of a message, in characters.
const MAX_TEXT: usize = 4096;
/// The longest `biz_opaque_callback_data`, in characters.
const MAX_CALLBACK_DATA: usize = 512;

/// What a post to `messages` asks for.
pub(super) enum Order {
    MarkRead(ReadMark),
    Send(Outbound),
}

/// "We have read this message."
pub(super) struct ReadMark {
    pub message_id: String,
}

/// A message to be sent.
pub(super) struct Outbound {
    /// `to`, or `recipient` when there is no `to`.
    pub recipient: String,
    /// The recipient is a business-scoped user id, not a number.
    pub by_user_id: bool,
    pub is_template: bool,
    pub body_text: Option<String>,
    pub callback_data: Option<String>,
    /// The uploaded object that the message names.
    pub media_id: Option<String>,
}

impl Order {
    pub fn parse(raw: &Value) -> Result<Self, GraphError> {
        if text(raw, "/messaging_product") != Some("whatsapp") {
            return Err(invalid("messaging_product must be \"whatsapp\""));
        }
        if let Some(status) = text(raw, "/status") {
            let message_id = text(raw, "/message_id");
            return match (status, message_id) {
                ("read", Some(id)) => Ok(Self::MarkRead(ReadMark {
                    message_id: id.to_owned(),
                })),
                _ => Err(invalid("status must be \"read\" and come with message_id")),
            };
        }
        Outbound::parse(raw).map(Self::Send)
    }
}

impl Outbound {
    fn parse(raw: &Value) -> Result<Self, GraphError> {
        if text(raw, "/recipient_type").is_some_and(|kind| kind != "individual") {
            return Err(invalid("recipient_type must be \"individual\""));
        }
        let to = text(raw, "/to").filter(|to| !to.is_empty());
        let user_id = text(raw, "/recipient").filter(|id| !id.is_empty());
        let recipient = to
            .or(user_id)
            .ok_or_else(|| invalid("to or recipient is required"))?;
        if to.is_some_and(|to| !is_phone_number(to)) {
            return Err(invalid("to is not a phone number"));
        }
        let callback_data = text(raw, "/biz_opaque_callback_data");
        if callback_data.is_some_and(|data| data.chars().count() > MAX_CALLBACK_DATA) {
            return Err(invalid("biz_opaque_callback_data is too long"));
        }
        if raw.get("context").is_some() && text(raw, "/context/message_id").is_none() {
            return Err(invalid("context.message_id is required"));
        }
        let kind = text(raw, "/type").unwrap_or("text");
        let content = raw
            .get(kind)
            .ok_or_else(|| invalid(&format!("{kind} is required for a message of its type")))?;
        check_content(kind, content)?;
        Ok(Self {
            recipient: recipient.to_owned(),
            by_user_id: to.is_none(),
            is_template: kind == "template",
            body_text: readable(kind, content),
            callback_data: callback_data.map(str::to_owned),
            media_id: is_media(kind)
                .then(|| text(content, "/id"))
                .flatten()
                .map(str::to_owned),
        })
    }

    /// The recipient as WhatsApp names an account: digits only.
    pub fn wa_id(&self) -> String {
        self.recipient.chars().filter(char::is_ascii_digit).collect()
    }
}

fn check_content(kind: &str, content: &Value) -> Result<(), GraphError> {
    let has = |pointer| text(content, pointer).is_some_and(|value| !value.is_empty());
    let complete = match kind {
        "text" => {
            let length = text(content, "/body").map_or(0, |body| body.chars().count());
            if length > MAX_TEXT {
                return Err(invalid("text.body is longer than 4096 characters"));
            }
            length > 0
        }
        "template" => has("/name") && has("/language/code"),
        "reaction" => has("/message_id"),
        "interactive" => has("/type") && content.get("action").is_some_and(Value::is_object),
        "location" => content.get("latitude").is_some() && content.get("longitude").is_some(),
        "contacts" => content.as_array().is_some_and(|list| !list.is_empty()),
        kind if is_media(kind) => has("/id") != has("/link"),
        _ => return Err(invalid("type is not one of the message types")),
    };
    if complete {
        Ok(())
    } else {
        Err(invalid(&format!("{kind} is incomplete")))
    }
}

fn is_media(kind: &str) -> bool {
    ["image", "audio", "video", "document", "sticker"].contains(&kind)
}

fn is_phone_number(to: &str) -> bool {
    let digits = to.chars().filter(char::is_ascii_digit).count();
    (5..=20).contains(&digits)
        && to
            .chars()
            .all(|character| character.is_ascii_digit() || "+-() ".contains(character))
}

/// The text a person would read.
fn readable(kind: &str, content: &Value) -> Option<String> {
    match kind {
        "text" => text(content, "/body").map(str::to_owned),
        "interactive" => text(content, "/body/text").map(str::to_owned),
        "reaction" => text(content, "/emoji").map(str::to_owned),
        "template" => {
            let parameters: Vec<_> = content
                .get("components")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter(|component| text(component, "/type") == Some("body"))
                .filter_map(|component| component.get("parameters")?.as_array())
                .flatten()
                .filter_map(|parameter| text(parameter, "/text"))
                .collect();
            Some(parameters.join("\n"))
        }
        _ => text(content, "/caption").map(str::to_owned),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn invalid(details: &str) -> GraphError {
    GraphError::invalid_parameter(details)
}

/// A file posted to `media`.
pub(super) struct Upload {
    pub bytes: Bytes,
    pub mime_type: String,
}

impl Upload {
    pub async fn read(mut form: Multipart) -> Result<Self, GraphError> {
        let broken = |_| invalid("the multipart body cannot be read");
        let mut product = None;
        let mut declared_type = None;
        let mut file = None;
        while let Some(part) = form.next_field().await.map_err(broken)? {
            match part.name() {
                Some("messaging_product") => product = Some(part.text().await.map_err(broken)?),
                Some("type") => declared_type = Some(part.text().await.map_err(broken)?),
                Some("file") => {
                    let part_type = part.content_type().map(str::to_owned);
                    file = Some((part_type, part.bytes().await.map_err(broken)?));
                }
                _ => {}
            }
        }
        if product.as_deref() != Some("whatsapp") {
            return Err(invalid("messaging_product must be \"whatsapp\""));
        }
        let (part_type, bytes) = file.ok_or_else(|| invalid("file is required"))?;
        let mime_type = declared_type
            .or(part_type)
            .ok_or_else(|| invalid("type is required"))?;
        Ok(Self { bytes, mime_type })
    }
}
