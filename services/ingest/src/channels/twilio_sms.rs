//! Short messages by Twilio, and the status callbacks of those we sent.

use trama_proto::{
    common::v1::{ChannelKind, Handle, Trust},
    ingest::v1::{Delivery, ReceiptReceived, ReceiptStatus},
    time::to_wire,
};

use super::{Draft, Form, Normalised, Place, RemoteFile, Source, handle, is_e164};

/// Most files in one message.
const MAX_FILES: usize = 10;

/// Reads the webhook of an incoming message or a status callback.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let form = Form::parse(&delivery.body);
    let Some(sid) = form.get("MessageSid").or_else(|| form.get("SmsSid")) else {
        return Normalised::unreadable("no MessageSid: not a webhook about a message");
    };
    match form.get("MessageStatus").or_else(|| form.get("SmsStatus")) {
        None | Some("received" | "receiving") => message(source, &form, sid),
        Some(status) => receipt(source, &form, sid, status),
    }
}

fn message(source: &Source<'_>, form: &Form, sid: &str) -> Normalised {
    let Some(from) = form.get("From") else {
        return Normalised::unreadable("no From: nobody sent it");
    };
    let (party, mut also_known_as) = sender(from);
    also_known_as.extend(
        form.get("ExternalUserId")
            .map(|id| handle("whatsapp", id, Trust::Observed)),
    );
    let mut interaction = source.inbound(source.channel, ChannelKind::Sms, sid, party);
    interaction.revision = 1;
    interaction.also_known_as = also_known_as;
    interaction.our_address = form.get("To").unwrap_or_default().to_owned();
    interaction.display_name = form.get("ProfileName").unwrap_or_default().to_owned();
    interaction.in_reply_to = form
        .get("OriginalRepliedMessageSid")
        .unwrap_or_default()
        .to_owned();
    interaction.text = form
        .get("Body")
        .or_else(|| form.get("ButtonText"))
        .unwrap_or_default()
        .to_owned();
    let count = form
        .get("NumMedia")
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(0)
        .min(MAX_FILES);
    let remote = (0..count)
        .filter_map(|n| {
            Some(RemoteFile {
                place: Place::Twilio(form.get(&format!("MediaUrl{n}"))?.to_owned()),
                filename: String::new(),
                content_type: form
                    .get(&format!("MediaContentType{n}"))
                    .unwrap_or_default()
                    .to_owned(),
                sha256: None,
                voice_note: false,
            })
        })
        .collect();
    Normalised {
        interactions: vec![Draft {
            interaction,
            inline: Vec::new(),
            remote,
        }],
        ..Normalised::default()
    }
}

/// `+39…`, `whatsapp:+39…`, `whatsapp:IT.…`, a short code or a name.
fn sender(from: &str) -> (Handle, Vec<Handle>) {
    match from.strip_prefix("whatsapp:") {
        Some(number) if is_e164(number) => {
            let digits = number.trim_start_matches('+');
            (
                handle("whatsapp", digits, Trust::Observed),
                vec![handle("phone", number, Trust::Observed)],
            )
        }
        Some(user) => (handle("whatsapp", user, Trust::Observed), Vec::new()),
        None if is_e164(from) => (handle("phone", from, Trust::Observed), Vec::new()),
        None => (handle("sms", from.to_lowercase(), Trust::Claimed), Vec::new()),
    }
}

fn receipt(source: &Source<'_>, form: &Form, sid: &str, status: &str) -> Normalised {
    let reached = match status {
        "sent" => ReceiptStatus::Sent,
        "delivered" => ReceiptStatus::Delivered,
        "read" => ReceiptStatus::Read,
        "failed" | "undelivered" | "canceled" => ReceiptStatus::Failed,
        "accepted" | "queued" | "scheduled" | "sending" | "partially_delivered" => {
            return Normalised {
                ignored: 1,
                ..Normalised::default()
            };
        }
        _ => return Normalised::unreadable("a MessageStatus that is not known"),
    };
    let receipt = ReceiptReceived {
        channel: source.channel.to_owned(),
        provider_message_id: sid.to_owned(),
        message_id: String::new(),
        status: reached.into(),
        occurred_at: Some(to_wire(source.received_at)),
        error: form.get("ErrorCode").unwrap_or_default().to_owned(),
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
        json!({"twilioSms": {
            "accountSid": "AC1", "authToken": {"name": "twilio", "key": "token"}, "number": "+390212345678", "publicBaseUrl": "https://acme.example",
        }})
    }

    #[test]
    fn a_message_comes_with_its_files() {
        let body = "MessageSid=SM1&From=%2B393331234567&To=%2B390212345678&Body=ciao&NumMedia=1&MediaUrl0=https%3A%2F%2Fapi.twilio.com%2Fm&MediaContentType0=image%2Fjpeg";
        let draft = only(read(provider(), &delivery(body)));
        assert_eq!(draft.interaction.text, "ciao");
        assert_eq!(draft.interaction.party.unwrap().value, "+393331234567");
        assert_eq!(
            draft.remote[0].place,
            Place::Twilio("https://api.twilio.com/m".into())
        );
    }

    #[test]
    fn whatsapp_by_twilio_is_the_same_person_as_whatsapp_by_meta() {
        let draft = only(read(
            provider(),
            &delivery("MessageSid=SM1&From=whatsapp%3A%2B393331234567&Body=ciao"),
        ));
        let party = draft.interaction.party.unwrap();
        assert_eq!(
            (party.kind.as_str(), party.value.as_str()),
            ("whatsapp", "393331234567")
        );
        assert_eq!(draft.interaction.also_known_as[0].value, "+393331234567");
    }

    #[test]
    fn a_status_is_a_receipt() {
        let found = read(
            provider(),
            &delivery("MessageSid=SM1&MessageStatus=undelivered&ErrorCode=30003"),
        );
        assert_eq!(found.receipts[0].status(), ReceiptStatus::Failed);
        assert_eq!(found.receipts[0].error, "30003");
        assert_eq!(
            read(provider(), &delivery("MessageSid=SM1&MessageStatus=queued")).ignored,
            1
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), rest in "[A-Za-z0-9&=%]{0,60}") {
            read(provider(), &delivery(body));
            read(provider(), &delivery(format!("MessageSid=SM1&From=%2B39333123456&NumMedia=99999999999&{rest}")));
        }
    }
}
