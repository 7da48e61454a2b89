//! Calls by Twilio: every webhook about a call is a revision of one interaction.

use trama_proto::{
    common::v1::{Call, CallState, ChannelKind, Direction, Handle, InteractionKind, Trust},
    ingest::v1::Delivery,
    time::to_wire,
};

use super::{Form, Normalised, Source, handle, is_e164};

/// Reads the webhook of an incoming call or a status callback.
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let form = Form::parse(&delivery.body);
    let Some(call_sid) = form.get("CallSid") else {
        return Normalised::unreadable("no CallSid: not a webhook about a call");
    };
    // The leg to an agent's telephone, recordings, conference events: not the customer's call.
    let Some(status) = form
        .get("CallStatus")
        .filter(|_| form.get("ParentCallSid").is_none() && form.get("RecordingSid").is_none())
    else {
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
