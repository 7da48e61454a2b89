use chrono::{DateTime, Utc};
use proptest::prelude::*;
use trama_proto::resources::TenantResources;

use super::*;
use crate::domain::{
    consent::{CHANNELS, Entry, Subject, Word},
    customer::{Customer, Held},
    handle::Trust,
    import::{Mapping, Next, Reading, Row, next},
    profile::{Said, Schema},
    rules::Rules,
};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
}

fn schema() -> Schema {
    let spec = serde_json::json!({"brands": ["acme", "bottega"], "fields": {"note": {"type": "string"}}});
    let spec = serde_json::from_value(spec).expect("a schema");
    let resources = TenantResources {
        customer_schemas: [("default".to_owned(), Arc::new(spec))].into(),
        ..TenantResources::default()
    };
    Schema::new(Some(&resources))
}

/// Any way in which handles are written; those that are none are left out.
fn handles() -> impl Strategy<Value = Vec<(String, String)>> {
    let one = prop_oneof![
        ("[a-z|.+]{1,8}@[a-z]{2,6}\\.it").prop_map(|v| ("email", v)),
        ("\\+39[0-9]{8,10}").prop_map(|v| ("phone", v)),
        ("39[0-9]{9}|[A-Z]{2}\\.[0-9]{8}").prop_map(|v| ("whatsapp", v)),
        ("[ -~]{1,20}").prop_map(|v| ("webchat", v)),
        ("[ -~]{1,20}").prop_map(|v| ("crm", v)),
        ("\\PC{1,20}").prop_map(|v| ("cookie", v)),
        ("[a-f0-9-]{8,36}").prop_map(|v| ("device", v)),
        ("[!-~]{16,40}").prop_map(|v| ("push", v)),
        ("[A-Za-z0-9 -]{6,20}").prop_map(|v| ("loyalty", v)),
        ("@?[A-Za-z0-9._]{1,20}").prop_map(|v| ("instagram", v)),
        ("UC[A-Za-z0-9_-]{22}").prop_map(|v| ("youtube", v)),
        ("[a-z]{3,8}\\.com/\\PC{1,12}").prop_map(|v| ("review", v)),
        ("\\PC{1,20}").prop_map(|v| ("till-card", v)),
    ];
    prop::collection::vec(one.prop_map(|(kind, value)| (kind.to_owned(), value)), 1..12)
}

fn somebody(handles: &[(String, String)], rules: &Rules) -> Customer {
    let mut customer = Customer::new(CustomerId::derived(&[b"anna"]), now());
    for (kind, value) in handles {
        let Ok(key) = rules.handle(kind, value) else {
            continue;
        };
        if customer.holds(&key).is_none() {
            customer.handles.push(Held {
                key,
                trust: Trust::Observed,
                first_seen: now(),
                last_seen: now(),
                evidence: None,
                via: None,
                row_owner: customer.id,
                source: "door".into(),
                shared: false,
            });
        }
    }
    customer
}

/// What an import reads of what an export wrote.
fn back(values: &BTreeMap<String, String>, format: Format, schema: &Schema, rules: &Rules) -> Row {
    let by = Reading {
        schema,
        rules,
        trust: Trust::Observed,
        now: now(),
    };
    let mut text = String::new();
    let members = match format {
        Format::Csv { delimiter } => {
            let columns = columns(schema);
            line(
                &mut text,
                columns.iter().map(|c| values.get(c).map_or("", String::as_str)),
                delimiter,
            );
            match next(text.as_bytes(), format, false, true) {
                Next::Values(values, _) => columns.into_iter().zip(values).collect(),
                other => panic!("{other:?}"),
            }
        }
        Format::JsonLines => match next(
            serde_json::to_string(values).expect("JSON").as_bytes(),
            format,
            false,
            true,
        ) {
            Next::Members(members, _) => members,
            other => panic!("{other:?}"),
        },
    };
    Mapping::default()
        .read(&members, &by)
        .unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

proptest! {
    #[test]
    fn what_an_export_says_an_import_reads(
        handles in handles(),
        name in "\\PC{0,30}",
        note in "\\PC{1,30}",
        granted in any::<[bool; 3]>(),
        wishes in prop::collection::btree_map("[a-z_-]{1,12}|[*]", prop::sample::select(CHANNELS.to_vec()), 0..4),
    ) {
        let (schema, rules) = (schema(), Rules::default());
        let mut customer = somebody(&handles, &rules);
        prop_assume!(!customer.handles.is_empty() && !note.trim().is_empty());
        customer.profile.display_name = name.trim().to_owned();
        customer.profile.preferences = wishes.iter().map(|(need, kind)| (need.clone(), *kind as i32)).collect();
        let subjects = ["email/marketing", "sms/survey/acme", "whatsapp/marketing/bottega"];
        let log: Vec<Entry> = subjects
            .iter()
            .zip(granted)
            .map(|(subject, granted)| Entry {
                subject: Subject::parse(subject).expect("a subject"),
                word: if granted { Word::Granted } else { Word::Denied },
                evidence: "form 12".into(),
                by: "bruno".into(),
                at: now(),
                expires_at: None,
                origin: customer.id,
                of_the_whole: true,
                through: None,
            })
            .collect();
        let said = vec![Said {
            name: "note".into(),
            value: note.trim().to_owned(),
            source: "crm".into(),
            set_by: "bruno".into(),
            set_at: now(),
            origin: customer.id,
        }];
        let bond = Bond { kind: RelationKind::CompanyContact, first: false, other: CustomerId::derived(&[b"acme"]), role: "ceo|cfo".to_owned() };
        let facts = Facts { customer: &customer, said, log, relations: vec![bond.to_string(), import::more(7)] };
        let values = values(facts, &schema, &rules, now());
        for format in [Format::Csv { delimiter: b';' }, Format::JsonLines] {
            let row = back(&values, format, &schema, &rules);
            let mut read: Vec<_> = row.handles.iter().map(|h| &h.key).collect();
            let mut held: Vec<_> = customer.handles.iter().map(|h| &h.key).collect();
            read.sort();
            held.sort();
            prop_assert_eq!(read, held);
            prop_assert_eq!(&row.preferences, &wishes);
            prop_assert_eq!(&row.relations, std::slice::from_ref(&bond));
            prop_assert_eq!(&row.display_name, &customer.profile.display_name);
            prop_assert_eq!(row.traits.get("note").map(String::as_str), Some(note.trim()));
            let mut consents: Vec<_> = row.consents.iter().map(|c| (c.subject.words(), c.granted)).collect();
            let mut expected: Vec<_> = subjects.iter().map(|s| (*s).to_owned()).zip(granted).collect();
            consents.sort();
            expected.sort();
            prop_assert_eq!(consents, expected);
        }
    }
}
