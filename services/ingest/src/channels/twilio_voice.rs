//! Calls by Twilio: every webhook about a call is a revision of one interaction; a message that a caller left is one more.

use trama_proto::{
    common::v1::{Call, CallState, ChannelKind, Direction, Handle, InteractionKind, Trust},
    ingest::v1::Delivery,
    time::to_wire,
};

use super::{Draft, Form, Normalised, Place, RemoteFile, Source, handle, is_e164};

/// Reads the webhook of an incoming call or a status callback.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let form = Form::parse(&delivery.body);
    let Some(call_sid) = form.get("CallSid") else {
        return Normalised::unreadable("no CallSid: not a webhook about a call");
    };
    if let Some(url) = form.get("RecordingUrl")
        && let Some(from) = form.get("From").filter(|_| form.get("ParentCallSid").is_none())
    {
        return voice_message(source, &form, (call_sid, from), url);
    }
    // The leg to an agent's telephone, recordings of what is said, conference events: not the customer's call.
    let Some(status) = form.get("CallStatus").filter(|_| {
        ["ParentCallSid", "RecordingSid", "RecordingUrl"]
            .iter()
            .all(|f| form.get(f).is_none())
    }) else {
        return Normalised {
            ignored: 1,
            ..Normalised::default()
        };
    };
    let Some((state, revision)) = state(status) else {
        return Normalised::unreadable("a CallStatus that is not known");
    };
    let outbound = form.get("Direction").is_some_and(|d| d.starts_with("outbound"));
    let (them, us) = if outbound { ("To", "From") } else { ("From", "To") };
    let party = caller(form.get(them).unwrap_or_default(), call_sid);
    let mut interaction = source.inbound(source.channel, ChannelKind::Voice, call_sid, party);
    if outbound {
        interaction.direction = Direction::Outbound.into();
    }
    interaction.kind = InteractionKind::Call.into();
    interaction.revision = revision;
    interaction.conversation_key = call_sid.to_owned();
    interaction.our_address = form.get(us).unwrap_or_default().to_owned();
    interaction.display_name = form.get("CallerName").unwrap_or_default().to_owned();
    let duration = form
        .get("CallDuration")
        .and_then(|d| d.parse::<i32>().ok())
        .unwrap_or(0)
        .max(0);
    interaction.call = Some(Call {
        state: state.into(),
        duration_seconds: duration,
    });
    let at = form
        .get("Timestamp")
        .and_then(|t| chrono::DateTime::parse_from_rfc2822(t).ok());
    if let Some(at) = at {
        interaction.occurred_at = Some(to_wire(source.happened_at(at.to_utc())));
    }
    let mut found = Normalised::default();
    found.push(interaction);
    found
}

/// What `<Record action="…">` sends when the caller has spoken. `recordingStatusCallback` says nothing of the caller, so
/// it is no message of theirs.
fn voice_message(source: &Source<'_>, form: &Form, (call_sid, from): (&str, &str), url: &str) -> Normalised {
    let last = url.rsplit('/').next().unwrap_or_default();
    let recording = form.get("RecordingSid").unwrap_or(last);
    if recording.is_empty() {
        return Normalised::unreadable("a recording without an id");
    }
    if form.get("RecordingDuration") == Some("0") {
        // They hung up when asked to speak.
        return Normalised {
            ignored: 1,
            ..Normalised::default()
        };
    }
    let party = caller(from, call_sid);
    let mut interaction = source.inbound(source.channel, ChannelKind::Voice, recording, party);
    interaction.revision = 1;
    call_sid.clone_into(&mut interaction.conversation_key);
    form.get("To")
        .unwrap_or_default()
        .clone_into(&mut interaction.our_address);
    form.get("CallerName")
        .unwrap_or_default()
        .clone_into(&mut interaction.display_name);
    let file = RemoteFile {
        // Without an ending it is a WAV file of eight times the size.
        place: Place::Twilio(if last.contains('.') {
            url.to_owned()
        } else {
            format!("{url}.mp3")
        }),
        filename: "voice-message.mp3".to_owned(),
        content_type: "audio/mpeg".to_owned(),
        sha256: None,
        voice_note: true,
    };
    Normalised {
        interactions: vec![Draft {
            interaction,
            inline: Vec::new(),
            remote: vec![file],
        }],
        ..Normalised::default()
    }
}

/// The state and its rank: a later state is a higher revision, however the webhooks arrive.
fn state(status: &str) -> Option<(CallState, i32)> {
    Some(match status {
        "queued" | "initiated" | "ringing" => (CallState::Ringing, 1),
        "in-progress" | "answered" => (CallState::InProgress, 2),
        "completed" => (CallState::Completed, 3),
        "no-answer" | "canceled" => (CallState::NoAnswer, 3),
        "busy" => (CallState::Busy, 3),
        "failed" => (CallState::Failed, 3),
        _ => return None,
    })
}

/// The numbers that Twilio shows for callers who hide theirs: they are nobody in particular.
const HIDDEN: [&str; 5] = [
    "+7378742833",
    "+2562533",
    "+8656696",
    "+266696687",
    "+86282452253",
];

fn caller(number: &str, call_sid: &str) -> Handle {
    if is_e164(number) && !HIDDEN.contains(&number) {
        handle("phone", number, Trust::Observed)
    } else if number.starts_with("sip:") {
        handle("sip", number.to_lowercase(), Trust::Observed)
    } else {
        // Two hidden callers must never become one customer.
        handle("call", call_sid, Trust::Observed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::channels::testing::{delivery, only, read};

    fn provider() -> Value {
        json!({"twilioVoice": {
            "accountSid": "AC1", "authToken": {"name": "twilio", "key": "token"}, "number": "+390212345678", "publicBaseUrl": "https://acme.example",
        }})
    }

    fn webhook(status: &str, from: &str) -> Vec<u8> {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("CallSid", "CA1"),
                ("CallStatus", status),
                ("From", from),
                ("To", "+390212345678"),
                ("Direction", "inbound"),
                ("CallDuration", "61"),
            ])
            .finish()
            .into_bytes()
    }

    #[test]
    fn a_call_is_one_interaction_whose_revisions_grow_with_its_state() {
        let read_one =
            |status| only(read(provider(), &delivery(webhook(status, "+393331234567")))).interaction;
        let (ringing, talking, over) = (
            read_one("ringing"),
            read_one("in-progress"),
            read_one("completed"),
        );
        assert_eq!(ringing.interaction_id, over.interaction_id);
        assert!(ringing.revision < talking.revision && talking.revision < over.revision);
        assert_eq!(
            over.call.unwrap(),
            Call {
                state: CallState::Completed.into(),
                duration_seconds: 61
            }
        );
        assert_eq!(over.party.unwrap().value, "+393331234567");
        assert_eq!(over.conversation_key, "CA1");
    }

    #[test]
    fn hidden_callers_are_not_one_person() {
        for from in ["anonymous", "", "+266696687"] {
            let party = only(read(provider(), &delivery(webhook("ringing", from))))
                .interaction
                .party
                .unwrap();
            assert_eq!((party.kind.as_str(), party.value.as_str()), ("call", "CA1"));
        }
    }

    #[test]
    fn the_leg_to_an_agent_is_no_call_of_a_customer() {
        let found = read(
            provider(),
            &delivery("CallSid=CA2&ParentCallSid=CA1&CallStatus=ringing&From=%2B39333&To=%2B3902"),
        );
        assert_eq!(
            (found.interactions.len(), found.ignored, found.problems.len()),
            (0, 1, 0)
        );
    }

    fn recorded(pairs: &[(&str, &str)]) -> Normalised {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("CallSid", "CA1"),
            ("CallStatus", "completed"),
            ("To", "+390212345678"),
        ]);
        form.extend_pairs([(
            "RecordingUrl",
            "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1",
        )]);
        form.extend_pairs(pairs);
        read(provider(), &delivery(form.finish()))
    }

    #[test]
    fn a_message_that_a_caller_left_is_a_voice_note_of_the_call() {
        let draft = only(recorded(&[
            ("From", "+393331234567"),
            ("RecordingDuration", "12"),
        ]));
        assert_eq!(draft.interaction.provider_id, "RE1");
        assert_eq!(draft.interaction.conversation_key, "CA1");
        assert_eq!(draft.interaction.party.unwrap().value, "+393331234567");
        assert_eq!(draft.interaction.call, None);
        assert_eq!(draft.remote.len(), 1);
        assert!(draft.remote[0].voice_note);
        let mp3 = "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1.mp3";
        assert_eq!(draft.remote[0].place, Place::Twilio(mp3.to_owned()));
    }

    #[test]
    fn silence_and_recordings_of_nobody_in_particular_are_no_messages() {
        for pairs in [
            [("From", "+393331234567"), ("RecordingDuration", "0")],
            [("RecordingSid", "RE1"), ("RecordingStatus", "completed")],
            [("From", "+393331234567"), ("ParentCallSid", "CA0")],
        ] {
            let found = recorded(&pairs);
            assert_eq!(
                (found.interactions.len(), found.problems.len()),
                (0, 0),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn what_is_no_call_is_a_problem() {
        assert_eq!(read(provider(), &delivery("hello")).problems.len(), 1);
        assert_eq!(
            read(provider(), &delivery("CallSid=CA1&CallStatus=teleported"))
                .problems
                .len(),
            1
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>(), status in "\\PC{0,12}", from in "\\PC{0,20}") {
            read(provider(), &delivery(body));
            read(provider(), &delivery(webhook(&status, &from)));
        }
    }
}
