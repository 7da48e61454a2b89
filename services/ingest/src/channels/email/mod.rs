//! Mail.

mod bounce;
mod quote;

use std::borrow::Cow;

use bytes::Bytes;
use mail_parser::{
    HeaderValue, Message, MessageParser, MimeHeaders as _, PartType, decoders::html::html_to_text,
};
use sha2::{Digest as _, Sha256};
use trama_proto::{
    common::v1::{ChannelKind, Trust},
    ingest::v1::{Delivery, ReceiptReceived, ReceiptStatus},
    resources::EmailProvider,
    time::to_wire,
};

use super::{Draft, InlineFile, Normalised, Source, attribute, from_unix, handle, truncate};

/// Most files that are taken out of one mail.
const MAX_FILES: usize = 50;
/// Longest file name, in bytes.
const MAX_NAME: usize = 200;
/// More parts than this is an attack, not a mail.
const MAX_PARTS: usize = 500;

/// Reads a mail with its envelope.
pub fn normalise(source: &Source<'_>, provider: &EmailProvider, delivery: &Delivery) -> Normalised {
    let Some(mail) = MessageParser::default().parse(delivery.body.as_slice()) else {
        return Normalised::unreadable("not a mail");
    };
    if mail.parts.len() > MAX_PARTS {
        return Normalised::unreadable("more than 500 parts");
    }
    match bounce::read(&mail) {
        bounce::Report::None => {}
        bounce::Report::Other => {
            return Normalised {
                ignored: 1,
                ..Normalised::default()
            };
        }
        bounce::Report::Failed(bounce) => {
            let receipt = ReceiptReceived {
                channel: source.channel.to_owned(),
                provider_message_id: bounce.message_id,
                message_id: String::new(),
                status: ReceiptStatus::Failed.into(),
                occurred_at: Some(to_wire(source.received_at)),
                error: bounce.error,
            };
            return Normalised {
                receipts: vec![receipt],
                ..Normalised::default()
            };
        }
    }
    message(source, provider, delivery, &mail)
}

fn message(
    source: &Source<'_>,
    provider: &EmailProvider,
    delivery: &Delivery,
    mail: &Message<'_>,
) -> Normalised {
    let envelope_from = delivery.attributes.get(attribute::MAIL_FROM);
    let author = mail
        .from()
        .and_then(|f| f.first())
        .or_else(|| mail.sender().and_then(|s| s.first()));
    let address = author
        .and_then(|a| a.address())
        .or(envelope_from.map(String::as_str))
        .map(|a| a.trim().to_lowercase())
        .filter(|a| {
            a.split_once('@')
                .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        });
    let Some(address) = address else {
        return Normalised::unreadable("nobody sent it: no From with an address");
    };
    let message_id = mail
        .message_id()
        .map(|id| id.trim().to_owned())
        .filter(|id| !id.is_empty() && id.len() <= 998);
    let provider_id =
        message_id.unwrap_or_else(|| format!("sha256:{}", hex::encode(Sha256::digest(&delivery.body))));

    let mut interaction = source.inbound(
        source.channel,
        ChannelKind::Email,
        &provider_id,
        handle("email", address.as_str(), Trust::Observed),
    );
    interaction.revision = 1;
    interaction.display_name = author.and_then(|a| a.name()).map(clean_name).unwrap_or_default();
    interaction.subject = mail.subject().unwrap_or_default().trim().to_owned();
    interaction.text = text(mail);
    interaction.our_address = our_address(provider, delivery, mail);
    let references = ids(mail.references());
    let replied = ids(mail.in_reply_to());
    interaction.in_reply_to = replied.first().or(references.last()).cloned().unwrap_or_default();
    interaction.conversation_key = references
        .first()
        .or(replied.first())
        .cloned()
        .unwrap_or(provider_id);
    interaction.automatic = is_automatic(mail, envelope_from.map(String::as_str), &address, provider);
    let said_at = mail
        .date()
        .map(mail_parser::DateTime::to_timestamp)
        .and_then(from_unix);
    if let Some(at) = said_at {
        interaction.occurred_at = Some(to_wire(source.happened_at(at)));
    }
    Normalised {
        interactions: vec![Draft {
            interaction,
            inline: files(mail),
            remote: Vec::new(),
        }],
        ..Normalised::default()
    }
}

/// Plain text, or what HTML says, without quotation and signature.
fn text(mail: &Message<'_>) -> String {
    let plain = mail.text_bodies().find_map(|p| match &p.body {
        PartType::Text(text) if !text.trim().is_empty() => Some(text.clone()),
        _ => None,
    });
    let whole: Cow<'_, str> = match plain {
        Some(plain) => plain,
        None => match mail.body_html(0) {
            Some(html) => html_to_text(quote::cut_html(&html)).into(),
            None => Cow::Borrowed(""),
        },
    };
    quote::cut(&whole)
}

/// The mailbox of ours that it came to.
fn our_address(provider: &EmailProvider, delivery: &Delivery, mail: &Message<'_>) -> String {
    let envelope = delivery
        .attributes
        .get(attribute::RCPT_TO)
        .map(String::as_str)
        .unwrap_or_default();
    let named = mail
        .to()
        .into_iter()
        .flat_map(|t| t.iter())
        .filter_map(|a| a.address());
    let all = envelope.lines().chain(named);
    let ours = all
        .filter_map(mailbox)
        .find(|a| provider.addresses.iter().any(|p| p.eq_ignore_ascii_case(a)));
    ours.or_else(|| provider.addresses.first().map(|a| a.to_lowercase()))
        .unwrap_or_default()
}

/// An address in lower case and without what follows a plus sign.
pub fn mailbox(address: &str) -> Option<String> {
    let (local, domain) = address.trim().rsplit_once('@')?;
    let local = local.split('+').next().filter(|l| !l.is_empty())?;
    Some(format!("{local}@{domain}").to_lowercase())
}

/// Written by a machine: to be read, never to be answered automatically.
fn is_automatic(
    mail: &Message<'_>,
    envelope_from: Option<&str>,
    from: &str,
    provider: &EmailProvider,
) -> bool {
    let raw = |name: &str| {
        mail.headers_raw()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_lowercase())
    };
    let has = |name: &str| raw(name).is_some();
    let by_machine = |address: &str| {
        let local = address.split('@').next().unwrap_or_default();
        address.is_empty()
            || local.eq_ignore_ascii_case("mailer-daemon")
            || local.eq_ignore_ascii_case("postmaster")
    };
    envelope_from.is_some_and(by_machine)
        || by_machine(from)
        || raw("Auto-Submitted").is_some_and(|v| v.split(';').next().unwrap_or_default().trim() != "no")
        || raw("Precedence").is_some_and(|v| ["bulk", "junk", "list", "auto_reply"].contains(&v.as_str()))
        || raw("X-Auto-Response-Suppress")
            .is_some_and(|v| ["all", "oof", "autoreply"].iter().any(|w| v.contains(w)))
        || ["X-Autoreply", "X-Autorespond", "X-Autoresponse", "X-Trama-Loop"]
            .into_iter()
            .any(has)
        || mail
            .headers_raw()
            .any(|(name, _)| name.len() > 5 && name.as_bytes()[..5].eq_ignore_ascii_case(b"List-"))
        || provider.addresses.iter().any(|a| a.eq_ignore_ascii_case(from))
}

/// Message ids of a header, without angle brackets.
fn ids(header: &HeaderValue<'_>) -> Vec<String> {
    let list: Vec<&str> = match header {
        HeaderValue::Text(one) => vec![one.as_ref()],
        HeaderValue::TextList(many) => many.iter().map(Cow::as_ref).collect(),
        _ => Vec::new(),
    };
    list.into_iter()
        .map(|id| id.trim().to_owned())
        .filter(|id| id.contains('@') && id.len() <= 998)
        .take(100)
        .collect()
}

fn files(mail: &Message<'_>) -> Vec<InlineFile> {
    mail.attachments()
        .filter(|part| !part.is_empty())
        .take(MAX_FILES)
        .map(|part| {
            let content_type = part.content_type().map_or_else(
                || "application/octet-stream".to_owned(),
                |c| match c.subtype() {
                    Some(subtype) => format!("{}/{subtype}", c.ctype()).to_lowercase(),
                    None => c.ctype().to_lowercase(),
                },
            );
            let bytes = match &part.body {
                PartType::Message(inner) => Bytes::copy_from_slice(inner.raw_message()),
                _ => Bytes::copy_from_slice(part.contents()),
            };
            InlineFile {
                filename: part.attachment_name().map(file_name).unwrap_or_default(),
                content_type,
                bytes,
            }
        })
        .collect()
}

/// The last step of a path, without control characters.
fn file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = last.chars().filter(|c| !c.is_control()).collect();
    truncate(&mut clean, MAX_NAME);
    clean
}

fn clean_name(name: &str) -> String {
    name.trim()
        .trim_matches(['"', '\''])
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
