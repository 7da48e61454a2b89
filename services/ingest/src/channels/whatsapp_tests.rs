use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::channels::testing::{delivery, only, read};

fn provider() -> Value {
    let secret = |key: &str| json!({"name": "meta", "key": key});
    json!({"whatsappCloud": {
        "phoneNumberId": "106", "appSecret": secret("app"), "verifyToken": secret("verify"), "accessToken": secret("access"),
    }})
}

fn value(extra: Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "39 02 1234567", "phone_number_id": "106"},
        "contacts": [{"profile": {"name": "Anna"}, "wa_id": "393331234567", "user_id": "IT.1349"}],
    });
    value
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    value
}

fn webhook(value: &Value) -> Vec<u8> {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
        .to_string()
        .into_bytes()
}

fn message(extra: Value) -> Value {
    let mut message = json!({"from": "393331234567", "id": "wamid.1", "timestamp": "1799999999"});
    message
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    message
}

fn one(extra: Value) -> Draft {
    only(read(
        provider(),
        &delivery(webhook(&value(json!({"messages": [message(extra)]})))),
    ))
}

#[test]
fn a_text_is_a_message_from_a_number_that_is_also_a_telephone() {
    let draft = one(json!({"type": "text", "text": {"body": "ciao"}, "context": {"id": "wamid.0"}}));
    let i = draft.interaction;
    assert_eq!(i.text, "ciao");
    assert_eq!(i.in_reply_to, "wamid.0");
    assert_eq!(i.our_address, "+39021234567");
    assert_eq!(i.display_name, "Anna");
    let party = i.party.unwrap();
    assert_eq!(
        (party.kind.as_str(), party.value.as_str()),
        ("whatsapp", "393331234567")
    );
    let known: Vec<_> = i
        .also_known_as
        .iter()
        .map(|h| format!("{}:{}", h.kind, h.value))
        .collect();
    assert_eq!(known, ["phone:+393331234567", "whatsapp:IT.1349"]);
    assert_eq!(i.occurred_at.unwrap().seconds, 1_799_999_999);
}

#[test]
fn the_same_message_has_the_same_id_in_every_delivery() {
    let first = one(json!({"type": "text", "text": {"body": "ciao"}}));
    let again = one(json!({"type": "text", "text": {"body": "ciao"}, "unknown_field": 1}));
    assert_eq!(first.interaction.interaction_id, again.interaction.interaction_id);
}

#[test]
fn a_user_name_hides_the_number() {
    let body = webhook(&value(json!({
        "contacts": [{"profile": {"name": "Anna"}, "user_id": "IT.1349"}],
        "messages": [{"id": "wamid.1", "from_user_id": "IT.1349", "type": "text", "text": {"body": "ciao"}}],
    })));
    let party = only(read(provider(), &delivery(body))).interaction.party.unwrap();
    assert_eq!(
        (party.kind.as_str(), party.value.as_str()),
        ("whatsapp", "IT.1349")
    );
}

#[test]
fn a_voice_note_is_fetched_later() {
    let draft = one(
        json!({"type": "audio", "audio": {"id": "77", "mime_type": "audio/ogg; codecs=opus", "sha256": "x", "voice": true}}),
    );
    assert_eq!(draft.remote.len(), 1);
    assert!(draft.remote[0].voice_note);
    assert_eq!(draft.remote[0].place, Place::Whatsapp("77".into()));
}

#[test]
fn every_documented_kind_is_understood() {
    assert_eq!(
        one(json!({"type": "image", "image": {"id": "1", "mime_type": "image/jpeg", "caption": "qui"}}))
            .interaction
            .text,
        "qui"
    );
    assert_eq!(
        one(json!({"type": "location", "location": {"latitude": 45.5, "longitude": 9.25, "name": "Casa"}}))
            .interaction
            .text,
        "Casa; 45.5, 9.25"
    );
    assert_eq!(
        one(json!({"type": "button", "button": {"payload": "p", "text": "Sì"}}))
            .interaction
            .text,
        "Sì"
    );
    let list = json!({"type": "list_reply", "list_reply": {"id": "1", "title": "9"}});
    assert_eq!(
        one(json!({"type": "interactive", "interactive": list}))
            .interaction
            .text,
        "9"
    );
    assert_eq!(
        one(json!({"type": "unsupported", "errors": [{"code": 131_051}]}))
            .interaction
            .text,
        "[unsupported]"
    );
    let cards = json!([{"name": {"formatted_name": "Bruno"}}]);
    assert_eq!(
        one(json!({"type": "contacts", "contacts": cards}))
            .interaction
            .text,
        "Bruno"
    );
}

#[test]
fn a_reaction_may_be_taken_back() {
    for (emoji, text) in [(json!("👍"), "👍"), (json!(""), ""), (Value::Null, "")] {
        let i = one(json!({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": emoji}}))
            .interaction;
        assert_eq!(
            (i.kind(), i.text.as_str(), i.in_reply_to.as_str()),
            (InteractionKind::Reaction, text, "wamid.0")
        );
    }
}

#[test]
fn an_edit_is_a_revision_of_the_original() {
    let first = one(json!({"type": "text", "text": {"body": "ciao"}}));
    let edit = json!({"type": "edit", "id": "wamid.2", "edit": {"original_message_id": "wamid.1", "message": {"type": "text", "text": {"body": "ciao!"}}}});
    let edit = one(edit);
    assert_eq!(edit.interaction.interaction_id, first.interaction.interaction_id);
    assert!(edit.interaction.revision > first.interaction.revision);
    assert_eq!(edit.interaction.text, "ciao!");
}

#[test]
fn a_poisoned_item_does_not_sink_the_others() {
    let body = webhook(&value(json!({"messages": [
        {"id": 7}, message(json!({"type": "text", "text": {"body": "ciao"}})), message(json!({"type": "hologram"})), "junk",
        message(json!({"type": "system", "system": {"type": "user_changed_number"}})),
    ]})));
    let found = read(provider(), &delivery(body));
    assert_eq!(found.interactions.len(), 1);
    assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
    assert_eq!(found.ignored, 1);
}

#[test]
fn who_changes_their_number_is_followed() {
    let body = webhook(&value(json!({"messages": [
        {"id": "wamid.s1", "from": "393331234567", "timestamp": "1799999999", "type": "system",
         "system": {"type": "user_changed_number", "body": "changed", "wa_id": "393409876543"}},
        {"id": "wamid.s2", "from": "393331234567", "timestamp": "1799999999", "type": "system",
         "system": {"type": "user_changed_user_id", "previous_user_id": "IT.1", "user_id": "IT.2"}},
        {"id": "wamid.s3", "from": "393331234567", "timestamp": "1799999999", "type": "system",
         "system": {"type": "customer_identity_changed", "customer": "393331234567"}},
    ]})));
    let found = read(provider(), &delivery(body));
    let pairs: Vec<_> = found
        .changes
        .iter()
        .map(|c| {
            (
                c.old.as_ref().expect("old").value.as_str(),
                c.new.as_ref().expect("new").value.as_str(),
            )
        })
        .collect();
    assert_eq!(pairs, [("393331234567", "393409876543"), ("IT.1", "IT.2")]);
    assert_eq!(
        (found.ignored, found.interactions.len(), found.problems.len()),
        (1, 0, 0)
    );
}

#[test]
fn statuses_become_receipts() {
    let id = "018f3c1e-7d2a-7000-8000-000000000001";
    let body = webhook(&value(json!({"statuses": [
        {"id": "wamid.9", "status": "read", "timestamp": "1799999999", "recipient_id": "39333", "biz_opaque_callback_data": id},
        {"id": "wamid.9", "status": "failed", "timestamp": "1799999999", "errors": [{"code": 131_047, "title": "Re-engagement", "error_data": {"details": "24 h"}}]},
        {"id": "wamid.9", "status": "warning"},
    ]})));
    let found = read(provider(), &delivery(body));
    assert_eq!(found.receipts.len(), 2);
    assert_eq!(found.receipts[0].message_id, id);
    assert_eq!(found.receipts[0].status(), ReceiptStatus::Read);
    assert_eq!(found.receipts[1].error, "131047 24 h");
    assert_eq!(found.ignored, 1);
}

#[test]
fn a_foreign_number_is_a_problem() {
    let body = webhook(&value(
        json!({"metadata": {"phone_number_id": "999"}, "messages": [message(json!({"type": "text", "text": {"body": "x"}}))]}),
    ));
    let found = read(provider(), &delivery(body));
    assert!(found.interactions.is_empty());
    assert_eq!(found.problems.len(), 1);
}

#[test]
fn the_sender_is_found_without_parsing() {
    let body = webhook(&value(
        json!({"messages": [message(json!({"type": "text", "text": {"body": "ciao"}}))]}),
    ));
    assert_eq!(peek_sender(&body), Some("393331234567"));
    assert_eq!(peek_sender(b"{\"from\" : \"1\"}"), Some("1"));
    assert_eq!(peek_sender(b"{\"from\""), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("text")),
        Just(json!("audio")),
        Just(json!("106")),
        Just(json!("messages")),
    ];
    let names = prop_oneof![
        "\\PC{0,6}",
        Just("type".to_owned()),
        Just("text".into()),
        Just("body".into()),
        Just("id".into()),
        Just("from".into()),
        Just("audio".into()),
        Just("messages".into()),
        Just("statuses".into()),
        Just("status".into()),
        Just("edit".into()),
        Just("timestamp".into()),
        Just("context".into()),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>()) {
        read(provider(), &delivery(body.clone()));
        let _ = peek_sender(&body);
    }

    #[test]
    fn no_json_makes_it_panic(json in any_json(), message in any_json()) {
        read(provider(), &delivery(json.to_string()));
        read(provider(), &delivery(webhook(&value(json!({"messages": [message], "statuses": [json]})))));
    }
}
