//! Our own chat: lines and receipts that the socket wrote into the journal.

use serde::{Deserialize, Serialize};
use trama_proto::{
    common::v1::{ChannelKind, Login, Trust},
    ingest::v1::{Delivery, ReceiptReceived, ReceiptStatus},
    resources::Provider,
    time::to_wire,
};

use super::{Normalised, Source, attribute, from_unix, handle, is_e164};

/// What the socket writes into the journal. Its bytes must be the same whenever the client repeats itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// A line of a visitor.
    Line {
        /// Who.
        visitor_id: String,
        /// The client's id of it.
        client_msg_id: String,
        /// The line.
        text: String,
    },
    /// A line of ours has arrived.
    Received {
        /// Where.
        visitor_id: String,
        /// Our id of it.
        message_id: String,
    },
    /// A line of ours was seen.
    Read {
        /// By whom.
        visitor_id: String,
        /// Our id of it.
        message_id: String,
    },
}

/// What the site's login token says, as an attribute of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginNote {
    /// The CRM id.
    pub subject: String,
    /// When the proof ends, in unix seconds.
    pub expires_at: i64,
    /// Mail address.
    pub email: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
    /// Name.
    pub name: Option<String>,
}

/// Reads an entry of the socket.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let Provider::WebChat(_) = &source.spec.provider else {
        return Normalised::unreadable("the channel is no web chat");
    };
    match serde_json::from_slice(&delivery.body) {
        Ok(Entry::Line {
            visitor_id,
            client_msg_id,
            text,
        }) => line(source, delivery, &visitor_id, &client_msg_id, text),
        Ok(Entry::Received { message_id, .. }) => receipt(source, message_id, ReceiptStatus::Delivered),
        Ok(Entry::Read { message_id, .. }) => receipt(source, message_id, ReceiptStatus::Read),
        Err(_) => Normalised::unreadable("not an entry of a chat"),
    }
}

fn line(
    source: &Source<'_>,
    delivery: &Delivery,
    visitor: &str,
    client_msg_id: &str,
    text: String,
) -> Normalised {
    let note = match delivery
        .attributes
        .get(attribute::LOGIN)
        .map(|l| serde_json::from_str::<LoginNote>(l))
    {
        None => None,
        Some(Ok(note)) => Some(note),
        Some(Err(_)) => return Normalised::unreadable("the note of the login cannot be read"),
    };
    let trust = if note.is_some() {
        Trust::Verified
    } else {
        Trust::Observed
    };
    let provider_id = format!("{visitor}/{client_msg_id}");
    let mut interaction = source.inbound(
        source.channel,
        ChannelKind::WebChat,
        &provider_id,
        handle("webchat", visitor, trust),
    );
    interaction.revision = 1;
    interaction.text = text;
    interaction.our_address = source.channel.to_owned();
    if let Some(note) = note {
        let verified = |kind, value: String| handle(kind, value, Trust::Verified);
        interaction
            .also_known_as
            .push(verified("crm", note.subject.clone()));
        let email = note
            .email
            .map(|e| e.trim().to_lowercase())
            .filter(|e| e.contains('@'));
        interaction
            .also_known_as
            .extend(email.map(|e| verified("email", e)));
        let phone = note
            .phone
            .map(|p| p.replace([' ', '-', '(', ')'], ""))
            .filter(|p| is_e164(p));
        interaction
            .also_known_as
            .extend(phone.map(|p| verified("phone", p)));
        interaction.display_name = note.name.unwrap_or_default();
        interaction.login = Some(Login {
            subject: note.subject,
            method: "site_login".into(),
            expires_at: from_unix(note.expires_at).map(to_wire),
        });
    }
    let mut found = Normalised::default();
    found.push(interaction);
    found
}

fn receipt(source: &Source<'_>, message_id: String, status: ReceiptStatus) -> Normalised {
    let receipt = ReceiptReceived {
        channel: source.channel.to_owned(),
        provider_message_id: message_id.clone(),
        message_id,
        status: status.into(),
        occurred_at: Some(to_wire(source.received_at)),
        error: String::new(),
    };
    Normalised {
        receipts: vec![receipt],
        ..Normalised::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::channels::testing::{delivery, only, read};

    fn provider() -> Value {
        json!({"webChat": {"allowedOrigins": ["*"]}})
    }

    fn chat_line() -> Delivery {
        let entry = Entry::Line {
            visitor_id: "v-1".into(),
            client_msg_id: "7".into(),
            text: "ciao".into(),
        };
        delivery(serde_json::to_vec(&entry).unwrap())
    }

    #[test]
    fn a_line_of_a_stranger_comes_from_a_visitor() {
        let i = only(read(provider(), &chat_line())).interaction;
        let party = i.party.unwrap();
        assert_eq!(
            (party.kind.as_str(), party.value.as_str(), party.trust()),
            ("webchat", "v-1", Trust::Observed)
        );
        assert!(i.login.is_none() && i.also_known_as.is_empty());
    }

    #[test]
    fn a_login_brings_proven_handles() {
        let mut delivery = chat_line();
        let note = LoginNote {
            subject: "1001".into(),
            expires_at: 1_800_003_600,
            email: Some("Anna@Example.com".into()),
            phone: Some("+39 333 1234567".into()),
            name: Some("Anna".into()),
        };
        delivery
            .attributes
            .insert(attribute::LOGIN.into(), serde_json::to_string(&note).unwrap());
        let i = only(read(provider(), &delivery)).interaction;
        let known: Vec<_> = i
            .also_known_as
            .iter()
            .map(|h| format!("{}:{}", h.kind, h.value))
            .collect();
        assert_eq!(
            known,
            ["crm:1001", "email:anna@example.com", "phone:+393331234567"]
        );
        assert!(i.also_known_as.iter().all(|h| h.trust() == Trust::Verified));
        let login = i.login.unwrap();
        assert_eq!(
            (
                login.method.as_str(),
                login.subject.as_str(),
                login.expires_at.unwrap().seconds
            ),
            ("site_login", "1001", 1_800_003_600)
        );
    }

    #[test]
    fn receipts_name_our_message() {
        let entry = Entry::Read {
            visitor_id: "v-1".into(),
            message_id: "m".into(),
        };
        let found = read(provider(), &delivery(serde_json::to_vec(&entry).unwrap()));
        assert_eq!(
            (found.receipts[0].message_id.as_str(), found.receipts[0].status()),
            ("m", ReceiptStatus::Read)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), login in "\\PC*") {
            read(provider(), &delivery(body));
            let mut line = chat_line();
            line.attributes.insert(attribute::LOGIN.into(), login);
            read(provider(), &line);
        }
    }
}
