use chrono::Duration;
use proptest::prelude::*;
use serde_json::json;
use trama_proto::ids::derive;

use super::*;

fn schema() -> Schema {
    let spec: CustomerSchemaSpec = serde_json::from_value(json!({
        "fields": {
            "city": {"type": "string", "required": true},
            "tax_code": {"type": "string", "pattern": "[A-Z]{6}[0-9]{2}"},
            "orders": {"type": "number", "routing": true},
            "vip": {"type": "bool"},
            "since": {"type": "date"},
            "tier": {"type": "enum", "values": ["a", "b"]},
        },
        "sources": ["crm", "web"],
        "segments": {"many-orders": {"when": "traits.orders > 10"}, "old": {"when": "personaGroup == 'conservative'"}},
        "generations": [{"bornFrom": 1946, "bornUntil": 1964, "personaGroup": "conservative", "preferences": {"*": "voice"}}],
    }))
    .expect("a schema");
    let resources = TenantResources {
        customer_schemas: [("default".to_owned(), Arc::new(spec))].into(),
        ..TenantResources::default()
    };
    Schema::new(Some(&resources))
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
}

fn said(name: &str, value: &str, source: &str, age: i64) -> Said {
    Said {
        name: name.into(),
        value: value.into(),
        source: source.into(),
        set_by: "bruno".into(),
        set_at: now() - Duration::hours(age),
        origin: CustomerId::new(derive(&[b"anna"])),
    }
}

#[test]
fn every_type_has_one_spelling_and_refuses_what_it_is_not() {
    let schema = schema();
    for (name, text, good) in [
        ("city", " Milano ", Some("Milano")),
        ("city", "", None),
        ("tax_code", "RSSMRA80", Some("RSSMRA80")),
        ("tax_code", "rssmra80", None),
        ("orders", "12.50", Some("12.5")),
        ("orders", "-0", Some("0")),
        ("orders", "NaN", None),
        ("orders", "1e999", None),
        ("vip", "Sì", Some("true")),
        ("vip", "perhaps", None),
        ("since", "2026-02-28", Some("2026-02-28")),
        ("since", "28/02/2026", None),
        ("tier", "b", Some("b")),
        ("tier", "c", None),
        ("shoe_size", "42", None),
        (BIRTH_YEAR, "1961", Some("1961")),
        (BIRTH_YEAR, "2027", None),
        (
            ACCESSIBILITY_NEEDS,
            "large_text | screen_reader,large_text",
            Some("large_text,screen_reader"),
        ),
        (ACCESSIBILITY_NEEDS, "wings", None),
    ] {
        let read = schema.canonical(name, text, now());
        assert_eq!(read.as_deref().ok(), good, "{name} {text}: {read:?}");
    }
}

proptest! {
    #[test]
    fn a_canonical_value_stays_as_it_is(name in "(city|orders|vip|since|tier|birth_year|accessibility_needs)", text in "\\PC{0,30}") {
        let schema = schema();
        if let Ok(once) = schema.canonical(&name, &text, now()) {
            prop_assert_eq!(schema.canonical(&name, &once, now()), Ok(once));
        }
    }

    #[test]
    fn numbers_come_back(number in -1e12..1e12_f64) {
        let text = schema().canonical("orders", &number.to_string(), now()).expect("a number");
        prop_assert_eq!(text.parse::<f64>().expect("a number"), number);
    }

    #[test]
    fn the_order_of_arrival_does_not_decide_what_counts(
        rows in prop::collection::vec((0..3_u8, 0..4_i64, "[ab]"), 1..6), turn in any::<prop::sample::Index>(),
    ) {
        let rows: Vec<Said> = rows
            .into_iter()
            .enumerate()
            .map(|(i, (source, age, value))| Said {
                origin: CustomerId::new(derive(&[&[u8::try_from(i).expect("few")]])),
                ..said("city", &value, ["crm", "web", "chat"][usize::from(source)], age)
            })
            .collect();
        let mut turned = rows.clone();
        turned.rotate_left(turn.index(rows.len()));
        prop_assert_eq!(schema().choose(rows), schema().choose(turned));
    }
}

#[test]
fn the_most_believed_source_counts_then_the_latest_word() {
    let known = schema().choose(vec![
        said("city", "Roma", "chat", 0),
        said("city", "Torino", "web", 1),
        said("city", "Milano", "crm", 9),
        said("orders", "3", "shop", 5),
        said("orders", "4", "till", 2),
    ]);
    let values: Vec<_> = known.iter().map(|k| k.current.value.as_str()).collect();
    assert_eq!(values, ["Milano", "4"]);
    assert_eq!(known[0].others[0].value, "Torino");
}

#[test]
fn generations_and_segments_follow_from_what_is_known() {
    let schema = schema();
    let known = schema.choose(vec![
        said(BIRTH_YEAR, "1950", "crm", 0),
        said("orders", "12", "crm", 0),
    ]);
    let view = schema.view(&known, "", SegmentFacts::default());
    assert_eq!(view.segments, ["many-orders", "old"]);
    assert_eq!(view.traits["orders"], "12");
    assert_eq!(view.preference("billing"), Some(ChannelKind::Voice));
    assert_eq!(schema.missing(&known), ["city"]);
    let said_otherwise = schema.view(&known, "progressive", SegmentFacts::default());
    assert_eq!(said_otherwise.segments, ["many-orders"]);
}

#[test]
fn what_the_customer_said_goes_before_their_generation() {
    let schema = schema();
    let known = schema.choose(vec![said(BIRTH_YEAR, "1950", "crm", 0)]);
    let view = schema.view(&known, "", SegmentFacts::default());
    let mut context = CustomerContext {
        persona_group: "progressive".into(),
        preferences: vec![wire::ChannelPreference {
            need: EVERY_NEED.into(),
            channel_kind: ChannelKind::Whatsapp as i32,
        }],
        ..CustomerContext::default()
    };
    view.fill(&mut context);
    assert_eq!(context.persona_group, "progressive");
    assert_eq!(context.preferences.len(), 1);
    let mut silent = CustomerContext::default();
    view.fill(&mut silent);
    assert_eq!(silent.persona_group, "conservative");
    assert_eq!(silent.preferences[0].channel_kind(), ChannelKind::Voice);
}
