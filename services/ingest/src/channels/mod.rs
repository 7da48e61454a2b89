//! From what a provider sent to what was said: one pure function per kind of channel, bytes in, interactions out.
//!
//! A normaliser never fails and never panics: what it cannot understand becomes a problem, which quarantines the
//! delivery, and everything else in the delivery goes on.

pub mod api;
pub mod email;
pub mod twilio_sms;
pub mod twilio_voice;
pub mod web_chat;
pub mod whatsapp;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::{
    common::v1::{Attachment, ChannelKind, Direction, Handle, Interaction, InteractionKind, Trust},
    ids::{InteractionId, TenantId, derive},
    ingest::v1::{Delivery, HandleChanged, ReceiptReceived},
    resources::{ChannelSpec, Provider, TenantResources},
    time::to_wire,
};

/// Names of a delivery's attributes.
pub mod attribute {
    /// Key in the object store, when the body was too large for the journal.
    pub const BODY_OBJECT: &str = "body_object";
    /// Envelope sender of a mail; empty for `<>`.
    pub const MAIL_FROM: &str = "mail_from";
    /// Envelope recipients of a mail, one per line.
    pub const RCPT_TO: &str = "rcpt_to";
    /// What the site's login token says, as JSON.
    pub const LOGIN: &str = "login";
}

/// Longest text that an interaction carries, in bytes; the whole of it stays in the journal.
const MAX_TEXT: usize = 256 * 1024;

/// Longest id of a provider, in bytes.
const MAX_ID: usize = 1024;

/// What a normaliser is given.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Name of the channel it came on.
    pub channel: &'a str,
    /// That channel.
    pub spec: &'a ChannelSpec,
    /// All of the tenant's resources: one app of a provider may serve several channels.
    pub resources: &'a TenantResources,
    /// When it reached us.
    pub received_at: DateTime<Utc>,
}

/// What was said in a delivery.
#[derive(Debug, Default)]
pub struct Normalised {
    /// In the order in which they stand.
    pub interactions: Vec<Draft>,
    /// Fates of messages we sent.
    pub receipts: Vec<ReceiptReceived>,
    /// Numbers and ids that were given up for others.
    pub changes: Vec<HandleChanged>,
    /// Parts that mean nothing to us.
    pub ignored: u32,
    /// Parts that should mean something and could not be understood.
    pub problems: Vec<String>,
}

/// An interaction and the files it still lacks.
#[derive(Debug)]
pub struct Draft {
    /// Without attachments.
    pub interaction: Interaction,
    /// Files that came along.
    pub inline: Vec<InlineFile>,
    /// Files that are still with the provider.
    pub remote: Vec<RemoteFile>,
}

/// A file that came along.
#[derive(Debug)]
pub struct InlineFile {
    /// Name given by the sender, if any.
    pub filename: String,
    /// Media type.
    pub content_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// A file that is still with the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteFile {
    /// Where.
    pub place: Place,
    /// Name given by the sender, if any.
    pub filename: String,
    /// Media type, as the provider says.
    pub content_type: String,
    /// Digest, as the provider says: hex or base64.
    pub sha256: Option<String>,
    /// Recorded on the spot.
    pub voice_note: bool,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A media id of the Graph API.
    Whatsapp(String),
    /// A `MediaUrl` of Twilio.
    Twilio(String),
}

impl Normalised {
    /// The whole delivery cannot be understood.
    fn unreadable(why: impl Into<String>) -> Self {
        Self {
            problems: vec![why.into()],
            ..Self::default()
        }
    }

    fn push(&mut self, interaction: Interaction) {
        self.interactions.push(Draft {
            interaction,
            inline: Vec::new(),
            remote: Vec::new(),
        });
    }
}

/// Reads a delivery with the normaliser of its channel.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let mut found = match &source.spec.provider {
        Provider::WhatsappCloud(_) => whatsapp::normalise(source, delivery),
        Provider::TwilioVoice(_) => twilio_voice::normalise(source, delivery),
        Provider::TwilioSms(_) => twilio_sms::normalise(source, delivery),
        Provider::Email(provider) => email::normalise(source, provider, delivery),
        Provider::WebChat(_) => web_chat::normalise(source, delivery),
        Provider::Api {} => api::normalise(source, delivery),
    };
    let (good, bad): (Vec<_>, Vec<_>) = std::mem::take(&mut found.interactions)
        .into_iter()
        .partition(is_whole);
    found.interactions = good;
    found.problems.extend(
        bad.iter()
            .map(|_| "an interaction without id or sender".to_owned()),
    );
    found.interactions.iter_mut().for_each(clean);
    for change in &mut found.changes {
        for handle in change.old.iter_mut().chain(&mut change.new) {
            clean_text(&mut handle.value, 320);
        }
    }
    for receipt in &mut found.receipts {
        clean_text(&mut receipt.provider_message_id, MAX_ID);
        clean_text(&mut receipt.error, 1024);
    }
    found
}

fn is_whole(draft: &Draft) -> bool {
    let party = draft.interaction.party.as_ref();
    !draft.interaction.provider_id.trim_matches('\0').is_empty()
        && party.is_some_and(|p| !p.value.trim_matches('\0').trim().is_empty())
}

/// Takes out what no database stores, and bounds what a stranger can make long.
fn clean(draft: &mut Draft) {
    let i = &mut draft.interaction;
    clean_text(&mut i.text, MAX_TEXT);
    clean_text(&mut i.subject, 1024);
    for short in [&mut i.provider_id, &mut i.conversation_key, &mut i.in_reply_to] {
        clean_text(short, MAX_ID);
    }
    for name in [&mut i.display_name, &mut i.our_address] {
        clean_text(name, 256);
    }
    for handle in i.party.iter_mut().chain(&mut i.also_known_as) {
        clean_text(&mut handle.value, 320);
    }
    for file in &mut draft.inline {
        clean_text(&mut file.filename, 256);
        clean_text(&mut file.content_type, 256);
    }
    for file in &mut draft.remote {
        clean_text(&mut file.filename, 256);
        clean_text(&mut file.content_type, 256);
    }
}

fn clean_text(text: &mut String, bytes: usize) {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    truncate(text, bytes);
}

impl Source<'_> {
    /// The id of an interaction: the same for every repeat.
    fn interaction_id(&self, channel: &str, provider_id: &str) -> InteractionId {
        InteractionId::derived(&[
            self.tenant.as_str().as_bytes(),
            channel.as_bytes(),
            provider_id.as_bytes(),
        ])
    }

    /// When something happened. Providers give whole seconds: within the same second our own clock is finer, and a
    /// clock ahead of ours must not put a message into the future.
    fn happened_at(&self, provider: DateTime<Utc>) -> DateTime<Utc> {
        let age = self.received_at - provider;
        if age < chrono::Duration::seconds(1) {
            self.received_at
        } else {
            provider
        }
    }

    /// An inbound message with what every channel knows.
    fn inbound(&self, channel: &str, kind: ChannelKind, provider_id: &str, party: Handle) -> Interaction {
        Interaction {
            interaction_id: self.interaction_id(channel, provider_id).to_string(),
            channel: channel.to_owned(),
            channel_kind: kind.into(),
            kind: InteractionKind::Message.into(),
            direction: Direction::Inbound.into(),
            provider_id: provider_id.to_owned(),
            conversation_key: format!("{}:{}", party.kind, party.value),
            party: Some(party),
            occurred_at: Some(to_wire(self.received_at)),
            received_at: Some(to_wire(self.received_at)),
            ..Interaction::default()
        }
    }
}

/// The attachment at a position, before its bytes are known.
pub fn attachment(interaction_id: &str, position: usize) -> Attachment {
    let number = (position as u64).to_be_bytes();
    Attachment {
        attachment_id: derive(&[b"attachment", interaction_id.as_bytes(), &number]).to_string(),
        ..Attachment::default()
    }
}

/// Where the bytes of an attachment lie.
pub fn object_key(tenant: &TenantId, interaction_id: &str, position: usize) -> String {
    format!("{tenant}/{interaction_id}/{position}")
}

fn handle(kind: &str, value: impl Into<String>, trust: Trust) -> Handle {
    Handle {
        kind: kind.to_owned(),
        value: value.into(),
        trust: trust.into(),
    }
}

/// Whether a text is a telephone number in E.164.
fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|d| {
        (6..=15).contains(&d.len()) && !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit())
    })
}

fn from_unix(seconds: i64) -> Option<DateTime<Utc>> {
    // Out of the range that everybody can store is as good as not said.
    DateTime::from_timestamp(seconds, 0).filter(|at| (1970..2200).contains(&chrono::Datelike::year(at)))
}

/// Shortens a text to at most so many bytes, between characters.
fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
}

/// Fields of a form by name; the first of a repeated one counts.
pub(crate) struct Form(std::collections::HashMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut fields = std::collections::HashMap::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            fields
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
        Self(fields)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::{delivery, only, read};

    #[test]
    fn what_no_database_stores_is_taken_out() {
        let entry = |visitor: &str| {
            json!({"type": "line", "visitor_id": visitor, "client_msg_id": "1", "text": "a\0b"}).to_string()
        };
        let provider = || json!({"webChat": {"allowedOrigins": ["*"]}});
        let i = only(read(provider(), &delivery(entry("v\0-1")))).interaction;
        assert_eq!((i.text.as_str(), i.provider_id.as_str()), ("ab", "v-1/1"));
        assert_eq!(i.party.expect("a party").value, "v-1");
        assert_eq!(read(provider(), &delivery(entry("\0"))).problems.len(), 1);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut text = "è".repeat(10);
        super::truncate(&mut text, 7);
        assert_eq!(text, "èèè");
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of all normalisers share.

    use trama_proto::resources::{Document, Resources};

    use super::*;

    pub(crate) fn tenant() -> TenantId {
        "acme".parse().expect("a tenant")
    }

    pub(crate) fn resources(provider: serde_json::Value) -> Resources {
        let content = serde_json::json!({
            "apiVersion": "trama.dev/v1alpha1", "kind": "Channel",
            "metadata": {"name": "door", "namespace": "acme"}, "spec": {"provider": provider},
        });
        let (resources, problems) = Resources::build(
            &[Document {
                origin: "test".into(),
                content,
            }],
            &Resources::default(),
        );
        assert_eq!(problems, []);
        resources
    }

    pub(crate) fn read(provider: serde_json::Value, delivery: &Delivery) -> Normalised {
        let (tenant, resources) = (tenant(), resources(provider));
        let resources = resources.tenant(&tenant).expect("the tenant has a channel");
        let source = Source {
            tenant: &tenant,
            channel: "door",
            spec: &resources.channels["door"],
            resources,
            received_at: DateTime::from_timestamp(1_800_000_000, 0).expect("a moment"),
        };
        normalise(&source, delivery)
    }

    pub(crate) fn delivery(body: impl Into<Vec<u8>>) -> Delivery {
        Delivery {
            body: body.into(),
            ..Delivery::default()
        }
    }

    pub(crate) fn only(mut found: Normalised) -> Draft {
        assert_eq!(found.problems, Vec::<String>::new());
        assert_eq!(found.interactions.len(), 1);
        found.interactions.remove(0)
    }
}
