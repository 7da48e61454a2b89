//! Interactions handed in over gRPC: checked at the door, completed here.

use prost::Message as _;
use trama_proto::{common::v1::Interaction, ingest::v1::Delivery};

use super::{Normalised, Source};

/// Reads an encoded [`Interaction`].
pub fn normalise(source: &Source<'_>, delivery: &Delivery) -> Normalised {
    let Ok(mut interaction) = Interaction::decode(delivery.body.as_ref()) else {
        return Normalised::unreadable("not an encoded interaction");
    };
    let Some(party) = interaction
        .party
        .clone()
        .filter(|_| !interaction.provider_id.is_empty())
    else {
        return Normalised::unreadable("no party or no provider_id");
    };
    let blank = source.inbound(
        source.channel,
        source.spec.kind(),
        &interaction.provider_id,
        party,
    );
    interaction.interaction_id = blank.interaction_id;
    interaction.channel = blank.channel;
    interaction.channel_kind = blank.channel_kind;
    interaction.received_at = blank.received_at;
    if interaction.occurred_at.is_none() {
        interaction.occurred_at = blank.occurred_at;
    }
    if interaction.conversation_key.is_empty() {
        interaction.conversation_key = blank.conversation_key;
    }
    let mut found = Normalised::default();
    found.push(interaction);
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use trama_proto::common::v1::Handle;

    use super::*;
    use crate::channels::testing::{delivery, only, read};

    #[test]
    fn ids_are_derived_whatever_the_caller_says() {
        let interaction = Interaction {
            interaction_id: "mine".into(),
            provider_id: "kiosk-1".into(),
            text: "ciao".into(),
            channel: "other".into(),
            party: Some(Handle {
                kind: "crm".into(),
                value: "1".into(),
                trust: 2,
            }),
            ..Interaction::default()
        };
        let i = only(read(json!({"api": {}}), &delivery(interaction.encode_to_vec()))).interaction;
        assert_eq!(i.channel, "door");
        assert_ne!(i.interaction_id, "mine");
        assert_eq!(i.conversation_key, "crm:1");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in any::<Vec<u8>>()) {
            read(json!({"api": {}}), &delivery(body));
        }
    }
}
