//! WhatsApp Business Cloud API.

use serde::Deserialize;
use serde_json::Value;
use trama_proto::{
    common::v1::{ChannelKind, Handle, InteractionKind, Trust},
    ids::MessageId,
    ingest::v1::{Delivery, HandleChanged, ReceiptReceived, ReceiptStatus},
    resources::{Provider, WhatsappCloudProvider},
    time::to_wire,
};

use super::{Draft, Normalised, Place, RemoteFile, Source, from_unix, handle};

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    entry: Vec<Value>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    changes: Vec<Value>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    field: String,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
struct Messages {
    metadata: Metadata,
    #[serde(default)]
    contacts: Vec<Value>,
    #[serde(default)]
    messages: Vec<Value>,
    #[serde(default)]
    statuses: Vec<Value>,
}

#[derive(Deserialize)]
struct Metadata {
    phone_number_id: String,
    #[serde(default)]
    display_phone_number: String,
}

#[derive(Deserialize)]
struct Contact {
    #[serde(default)]
    profile: Profile,
    wa_id: Option<String>,
    user_id: Option<String>,
}

#[derive(Deserialize, Default)]
struct Profile {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    timestamp: Option<String>,
    from: Option<String>,
    from_user_id: Option<String>,
    #[serde(default)]
    context: Context,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Deserialize, Default)]
struct Context {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Media {
    id: String,
    #[serde(default)]
    mime_type: String,
    sha256: Option<String>,
    caption: Option<String>,
    filename: Option<String>,
    #[serde(default)]
    voice: bool,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    status: String,
    #[serde(default)]
    timestamp: Option<String>,
    biz_opaque_callback_data: Option<String>,
    #[serde(default)]
    errors: Vec<Value>,
}

/// The channel of one of our numbers.
struct Number<'a> {
    channel: &'a str,
    address: String,
}

/// Reads a webhook: many messages and statuses of possibly many numbers.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let body: Body = match serde_json::from_slice(&delivery.body) {
        Ok(body) => body,
        Err(error) => return Normalised::unreadable(format!("not a webhook of Meta: {}", place(&error))),
    };
    let mut found = Normalised::default();
    for entry in body.entry {
        let entry: Entry = match serde_json::from_value(entry) {
            Ok(entry) => entry,
            Err(error) => {
                found.problems.push(format!("an entry: {}", shape(&error)));
                continue;
            }
        };
        for change in entry.changes {
            match serde_json::from_value::<Change>(change) {
                Ok(change) if change.field == "messages" => read_change(source, change.value, &mut found),
                // Templates, account updates, calls, echoes of the phone app.
                Ok(_) => found.ignored += 1,
                Err(error) => found.problems.push(format!("a change: {}", shape(&error))),
            }
        }
    }
    found
}

fn read_change(source: &Source<'_>, value: Value, found: &mut Normalised) {
    let value: Messages = match serde_json::from_value(value) {
        Ok(value) => value,
        Err(error) => {
            found.problems.push(format!("a change: {}", shape(&error)));
            return;
        }
    };
    let Some(channel) = channel_of(source, &value.metadata.phone_number_id) else {
        found
            .problems
            .push("phone_number_id belongs to no channel of this app".into());
        return;
    };
    let digits: String = value
        .metadata
        .display_phone_number
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    let number = Number {
        channel,
        address: if digits.is_empty() {
            value.metadata.phone_number_id
        } else {
            format!("+{digits}")
        },
    };
    let contacts: Vec<Contact> = value
        .contacts
        .into_iter()
        .filter_map(|c| serde_json::from_value(c).ok())
        .collect();
    for (position, message) in value.messages.into_iter().enumerate() {
        match serde_json::from_value::<Message>(message) {
            Ok(message) if message.kind == "system" => match handle_changed(source, channel, &message) {
                Some(change) => found.changes.push(change),
                None => found.ignored += 1,
            },
            Ok(message) => match read_message(source, &number, &contacts, message) {
                Ok(Some(draft)) => found.interactions.push(draft),
                Ok(None) => found.ignored += 1,
                Err(problem) => found.problems.push(format!("message {position}: {problem}")),
            },
            Err(error) => found
                .problems
                .push(format!("message {position}: {}", shape(&error))),
        }
    }
    for (position, status) in value.statuses.into_iter().enumerate() {
        match serde_json::from_value::<Status>(status) {
            Ok(status) => match read_status(source, &number, status) {
                Some(receipt) => found.receipts.push(receipt),
                None => found.ignored += 1,
            },
            Err(error) => found
                .problems
                .push(format!("status {position}: {}", shape(&error))),
        }
    }
}

/// Who changed their number or id, and to what. WhatsApp writes the old one as the sender, and the new one by several names.
fn handle_changed(source: &Source<'_>, channel: &str, message: &Message) -> Option<HandleChanged> {
    let system = |name: &str| text_at(&message.rest, &["system", name]).filter(|text| !text.is_empty());
    let number = |text: String| text.trim_start_matches('+').to_owned();
    let (old, new) = match system("type")?.as_str() {
        "user_changed_number" | "customer_changed_number" => (
            system("customer").or_else(|| message.from.clone()).map(number)?,
            system("wa_id").or_else(|| system("new_wa_id")).map(number)?,
        ),
        "user_changed_user_id" => (
            system("previous_user_id").or_else(|| message.from_user_id.clone())?,
            system("user_id").or_else(|| system("new_user_id"))?,
        ),
        _ => return None,
    };
    let seconds = message.timestamp.as_deref().and_then(|t| t.parse().ok());
    let at = seconds
        .and_then(from_unix)
        .map_or(source.received_at, |at| source.happened_at(at));
    (old != new).then(|| HandleChanged {
        channel: channel.to_owned(),
        old: Some(handle("whatsapp", old, Trust::Observed)),
        new: Some(handle("whatsapp", new, Trust::Observed)),
        occurred_at: Some(to_wire(at)),
    })
}

/// The channel itself, or another one of the same app: all sign with one secret and share one webhook.
fn channel_of<'a>(source: &Source<'a>, phone_number_id: &str) -> Option<&'a str> {
    let secret_of = |p: &WhatsappCloudProvider| p.app_secret.clone();
    let Provider::WhatsappCloud(own) = &source.spec.provider else {
        return None;
    };
    if own.phone_number_id == phone_number_id {
        return Some(source.channel);
    }
    source
        .resources
        .channels
        .iter()
        .find_map(|(name, spec)| match &spec.provider {
            Provider::WhatsappCloud(p)
                if p.phone_number_id == phone_number_id && secret_of(p) == secret_of(own) =>
            {
                Some(name.as_str())
            }
            _ => None,
        })
}

fn read_message(
    source: &Source<'_>,
    number: &Number<'_>,
    contacts: &[Contact],
    message: Message,
) -> Result<Option<Draft>, String> {
    let contact = contacts
        .iter()
        .find(|c| {
            (c.wa_id.is_some() && c.wa_id == message.from)
                || (c.user_id.is_some() && c.user_id == message.from_user_id)
        })
        .or(if contacts.len() == 1 {
            contacts.first()
        } else {
            None
        });
    let phone = message
        .from
        .clone()
        .or_else(|| contact.and_then(|c| c.wa_id.clone()))
        .filter(|p| !p.is_empty());
    let user = message
        .from_user_id
        .clone()
        .or_else(|| contact.and_then(|c| c.user_id.clone()))
        .filter(|u| !u.is_empty());
    let (party, also_known_as) = parties(phone, user)?;
    let mut interaction = source.inbound(number.channel, ChannelKind::Whatsapp, &message.id, party);
    interaction.revision = 1;
    interaction.also_known_as = also_known_as;
    interaction.our_address.clone_from(&number.address);
    interaction.display_name = contact.and_then(|c| c.profile.name.clone()).unwrap_or_default();
    interaction.in_reply_to = message.context.id.clone().unwrap_or_default();
    let at = message
        .timestamp
        .as_deref()
        .and_then(|t| t.parse().ok())
        .and_then(from_unix);
    if let Some(at) = at {
        interaction.occurred_at = Some(to_wire(source.happened_at(at)));
    }
    let mut draft = Draft {
        interaction,
        inline: Vec::new(),
        remote: Vec::new(),
    };
    let understood = fill(&mut draft, &message.kind, &message.rest)?;
    if !understood {
        return Ok(None);
    }
    if message.kind == "edit" {
        let original =
            text_at(&message.rest, &["edit", "original_message_id"]).ok_or("an edit of nothing")?;
        draft.interaction.interaction_id = source.interaction_id(number.channel, &original).to_string();
        draft.interaction.provider_id = original;
        // Of two edits the later one counts.
        let seconds = at.unwrap_or(source.received_at).timestamp();
        draft.interaction.revision = i32::try_from(seconds).unwrap_or(i32::MAX);
    }
    Ok(Some(draft))
}

/// The party by the number, or by the id that replaces it for people with user names.
fn parties(phone: Option<String>, user: Option<String>) -> Result<(Handle, Vec<Handle>), String> {
    let observed = |kind, value| handle(kind, value, Trust::Observed);
    match (phone, user) {
        (Some(phone), user) => {
            let digits = phone.trim_start_matches('+').to_owned();
            let mut known = Vec::new();
            let number = format!("+{digits}");
            if super::is_e164(&number) {
                known.push(observed("phone", number));
            }
            known.extend(user.map(|u| observed("whatsapp", u)));
            Ok((observed("whatsapp", digits), known))
        }
        (None, Some(user)) => Ok((observed("whatsapp", user), Vec::new())),
        (None, None) => Err("it says neither a number nor a user id".into()),
    }
}

/// Fills in what was said; `false` when it is nothing that a customer says.
fn fill(draft: &mut Draft, kind: &str, rest: &serde_json::Map<String, Value>) -> Result<bool, String> {
    let text = |path: &[&str]| text_at(rest, path);
    let interaction = &mut draft.interaction;
    match kind {
        "text" => interaction.text = text(&["text", "body"]).ok_or("a text without body")?,
        "image" | "video" | "audio" | "document" | "sticker" => {
            let media = rest.get(kind).cloned().ok_or("media without description")?;
            let media: Media = serde_json::from_value(media).map_err(|e| shape(&e))?;
            interaction.text = media.caption.clone().unwrap_or_default();
            draft.remote.push(remote(media));
        }
        "location" => {
            let part = rest.get("location").ok_or("a location without place")?;
            interaction.text = place_text(part);
        }
        "contacts" => {
            let cards = rest
                .get("contacts")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let names = cards
                .iter()
                .filter_map(|c| c.pointer("/name/formatted_name").and_then(Value::as_str));
            interaction.text = names.collect::<Vec<_>>().join(", ");
        }
        "reaction" => {
            interaction.kind = InteractionKind::Reaction.into();
            // Without an emoji the reaction was taken back.
            interaction.text = text(&["reaction", "emoji"]).unwrap_or_default();
            interaction.in_reply_to = text(&["reaction", "message_id"]).ok_or("a reaction to nothing")?;
        }
        "button" => interaction.text = text(&["button", "text"]).ok_or("a button without text")?,
        "interactive" => {
            interaction.text = text(&["interactive", "button_reply", "title"])
                .or_else(|| text(&["interactive", "list_reply", "title"]))
                .or_else(|| text(&["interactive", "nfm_reply", "body"]))
                .ok_or("an answer of unknown shape")?;
        }
        "edit" => {
            let inner = rest
                .get("edit")
                .and_then(|e| e.get("message"))
                .and_then(Value::as_object)
                .ok_or("an edit without message")?;
            let inner_kind = inner
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("text")
                .to_owned();
            if inner_kind == "edit" {
                return Err("an edit in an edit".into());
            }
            return fill(draft, &inner_kind, inner);
        }
        // The customer did write something, WhatsApp just does not hand it over (a poll, a view-once photo).
        "unsupported" => interaction.text = "[unsupported]".into(),
        "order" => interaction.text = text(&["order", "text"]).unwrap_or_else(|| "[order]".into()),
        "system" | "revoke" | "ephemeral" | "request_welcome" => return Ok(false),
        other => {
            return Err(format!(
                "a message of unknown type `{}`",
                other.chars().take(40).collect::<String>()
            ));
        }
    }
    Ok(true)
}

fn remote(media: Media) -> RemoteFile {
    RemoteFile {
        place: Place::Whatsapp(media.id),
        filename: media.filename.unwrap_or_default(),
        content_type: media.mime_type,
        sha256: media.sha256,
        voice_note: media.voice,
    }
}

fn place_text(part: &Value) -> String {
    let word = |name| part.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name| part.get(name).and_then(Value::as_f64).map(|n| n.to_string());
    let coordinates = number("latitude")
        .zip(number("longitude"))
        .map(|(a, b)| format!("{a}, {b}"));
    [word("name"), word("address"), coordinates]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

fn read_status(source: &Source<'_>, number: &Number<'_>, status: Status) -> Option<ReceiptReceived> {
    let reached = match status.status.as_str() {
        "sent" => ReceiptStatus::Sent,
        "delivered" => ReceiptStatus::Delivered,
        "read" | "played" => ReceiptStatus::Read,
        "failed" => ReceiptStatus::Failed,
        _ => return None,
    };
    let error = status.errors.first().map(|e| {
        let code = e.get("code").map(Value::to_string).unwrap_or_default();
        let words = e
            .pointer("/error_data/details")
            .or_else(|| e.get("title"))
            .and_then(Value::as_str);
        format!("{code} {}", words.unwrap_or_default()).trim().to_owned()
    });
    let ours = status
        .biz_opaque_callback_data
        .filter(|id| id.parse::<MessageId>().is_ok());
    let at = status
        .timestamp
        .as_deref()
        .and_then(|t| t.parse().ok())
        .and_then(from_unix);
    Some(ReceiptReceived {
        channel: number.channel.to_owned(),
        provider_message_id: status.id,
        message_id: ours.unwrap_or_default(),
        status: reached.into(),
        occurred_at: Some(to_wire(at.unwrap_or(source.received_at))),
        error: error.unwrap_or_default(),
    })
}

fn text_at(rest: &serde_json::Map<String, Value>, path: &[&str]) -> Option<String> {
    let (first, others) = path.split_first()?;
    let mut value = rest.get(*first)?;
    for step in others {
        value = value.get(*step)?;
    }
    value.as_str().map(str::to_owned)
}

/// Where JSON broke, without any of its content.
fn place(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// What does not fit. Names of fields are ours; values stay out.
fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once('`') {
        Some((before, rest)) if before.starts_with("missing field") => {
            format!("missing field {}", rest.split('`').next().unwrap_or_default())
        }
        _ => "a field of another type than documented".to_owned(),
    }
}

#[cfg(test)]
#[path = "whatsapp_tests.rs"]
mod tests;

/// Cheaply finds who a webhook is about, so that one conversation stays in one partition: the first value of one
/// of the fields that name a person. Nothing depends on it but the order of processing.
pub fn peek_sender(body: &[u8]) -> Option<&str> {
    [
        b"\"wa_id\"".as_slice(),
        b"\"from\"",
        b"\"recipient_id\"",
        b"\"user_id\"",
        b"\"from_user_id\"",
        b"\"recipient_user_id\"",
    ]
    .iter()
    .find_map(|name| string_after(body, name))
}

fn string_after<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let at = body.windows(name.len()).position(|w| w == name)? + name.len();
    let rest = body[at..]
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let end = rest.iter().take(200).position(|b| *b == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}
