//! What holds of the engine, whatever it is fed.

mod cold_start;
mod households;

use proptest::prelude::*;

use super::{
    blocking,
    eval::{
        Mapping,
        records::{Rows, read_truth},
        run::{Mode, run},
    },
    facts::{Facts, Trust, seen_once},
    normalise::{
        Address, AddressText, Birth, DateOrder, Email, Identifier, IdentifierClass, MailRules, Name,
        NameKind, Phone, PhoneRules,
    },
    resolve::Outcome,
    score::Side,
    train::{Training, train},
    *,
};

fn person(given: &str, surname: &str, birth: &str, email: &str, phone: &str) -> Facts {
    let claimed = Trust::Claimed;
    Facts {
        given_names: Name::parse(given, NameKind::Given)
            .map(|n| seen_once(n, claimed))
            .into_iter()
            .collect(),
        surnames: Name::parse(surname, NameKind::Surname)
            .map(|n| seen_once(n, claimed))
            .into_iter()
            .collect(),
        births: Birth::parse(birth, DateOrder::DayFirst)
            .map(|b| seen_once(b, claimed))
            .into_iter()
            .collect(),
        emails: Email::parse(email, &MailRules::default())
            .map(|e| seen_once(e, claimed))
            .into_iter()
            .collect(),
        phones: Phone::parse(phone, &PhoneRules::default())
            .map(|p| seen_once(p, claimed))
            .into_iter()
            .collect(),
        ..Facts::default()
    }
    .of_one_record()
}

/// Somebody of one certain home.
fn at_home(given: &str, surname: &str, birth: &str, email: &str, phone: &str) -> Facts {
    let mut facts = person(given, surname, birth, email, phone);
    facts.addresses = Address::parse(AddressText {
        street: "Via Garibaldi",
        number: "12",
        locality: "Faenza",
        postal_code: "48018",
        ..AddressText::default()
    })
    .map(|a| seen_once(a, Trust::Claimed))
    .into_iter()
    .collect();
    facts.of_one_record()
}

fn profiles_of(records: &[Facts]) -> Vec<ProfileId> {
    run(
        Mode::Online,
        records.len(),
        |at| records[at].clone(),
        &Policy::shipped(),
        1,
    )
    .profile_of
}

fn crm(id: &str) -> Facts {
    Facts {
        identifiers: vec![seen_once(
            Identifier::parse(IdentifierClass::Exclusive, "crm", id).unwrap(),
            Trust::Claimed,
        )],
        ..Facts::default()
    }
    .of_one_record()
}

#[test]
fn the_shipped_policy_is_valid() {
    assert_eq!(Policy::shipped().file().version, "shipped-2");
}

#[test]
fn a_nickname_on_a_known_telephone_is_the_same_person() {
    let is = profiles_of(&[
        person("Giuseppe", "Verdi", "", "", "333 1234567"),
        person("Beppe", "Verdi", "", "", "+39 333 1234567"),
    ]);
    assert_eq!(is[0], is[1]);
}

#[test]
fn a_family_on_one_telephone_stays_two_people() {
    let is = profiles_of(&[
        person("Anna", "Rossi", "", "", "333 1234567"),
        person("Marco", "Rossi", "", "", "333 1234567"),
    ]);
    assert_ne!(is[0], is[1]);
}

#[test]
fn a_call_without_a_name_from_a_shared_telephone_belongs_to_nobody() {
    let records = [
        person("Anna", "Rossi", "", "", "333 1234567"),
        person("", "", "", "", "333 1234567"),
        person("Marco", "Rossi", "", "", "333 1234567"),
    ];
    let is = profiles_of(&records);
    assert_eq!(
        is.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3,
        "the call was Anna's until Marco appeared"
    );
}

#[test]
fn father_and_son_of_one_name_stay_two_people_by_their_dates() {
    let is = profiles_of(&[
        person("Mario", "Rossi", "1950-03-02", "", "333 1234567"),
        person("Mario", "Rossi", "1986-11-17", "", "333 1234567"),
    ]);
    assert_ne!(is[0], is[1]);
}

#[test]
fn two_customer_numbers_are_two_people_and_one_outweighs_a_new_surname() {
    let (mut a, b, mut c) = (
        person("Anna", "Rossi", "", "anna.rossi77@libero.it", ""),
        crm("C1"),
        person("Anna", "Bianchi", "", "", ""),
    );
    a.absorb(&crm("C1"));
    c.absorb(&crm("C1"));
    let mut d = person("Anna", "Rossi", "", "anna.rossi77@libero.it", "");
    d.absorb(&crm("C2"));
    let is = profiles_of(&[a, b, c, d]);
    assert_eq!((is[1], is[2]), (is[0], is[0]));
    assert_ne!(is[0], is[3]);
}

#[test]
fn a_record_that_bridges_two_profiles_joins_them_and_the_log_says_so() {
    let policy = Policy::shipped();
    let mut store = MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64));
    let mut resolver = Resolver::new(&policy);
    let records = [
        person("", "", "", "anna.z@libero.it", ""),
        person("Anna", "Zanzottera", "", "", "333 1234567"),
        person("Anna", "Zanzottera", "", "anna.z@libero.it", "333 1234567"),
    ];
    for (at, facts) in records.into_iter().enumerate() {
        resolver.resolve(
            &mut store,
            Observation {
                record: RecordId(at as u128),
                facts,
            },
        );
        resolver.drain(&mut store, 8);
    }
    assert_eq!(store.profiles().len(), 1);
    assert!(
        store
            .take_changes()
            .iter()
            .any(|c| matches!(c, store::Change::Merged { .. }))
    );
}

#[test]
fn who_was_banned_stays_apart() {
    let policy = Policy::shipped();
    let mut store = MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64));
    let anna = |at| Observation {
        record: RecordId(at),
        facts: person("Anna", "Rossi", "1980-01-02", "anna.rossi77@libero.it", ""),
    };
    let (a, b) = (store.open(anna(1)), store.open(anna(2)));
    store.ban(a, b);
    let mut resolver = Resolver::new(&policy);
    resolver.look_again(a);
    resolver.drain(&mut store, 8);
    assert_eq!(store.profiles().len(), 2);
}

#[test]
fn evidence_is_said_in_words() {
    let policy = Policy::shipped();
    let store = MemoryStore::new(|record, _| ProfileId(record.0));
    let (a, b) = (
        person("Anna", "Rossi", "1980-01-02", "", "333 1234567"),
        person("Marco", "Rossi", "1980-01-02", "", "333 1234567"),
    );
    let score = Scorer::new(&policy, &store).score(
        Side {
            facts: &a,
            profile: None,
        },
        Side {
            facts: &b,
            profile: None,
        },
    );
    assert!(score.words().contains("telephone: equal (+"), "{}", score.words());
    assert!(
        score.words().ends_with("kept apart: two given names"),
        "{}",
        score.words()
    );
}

#[test]
fn the_same_seed_learns_the_same_weights() {
    let records: Vec<Facts> = (0..40)
        .map(|i| {
            person(
                "Anna",
                "Rossi",
                "1980-01-02",
                &format!("anna{}@libero.it", i / 2),
                "",
            )
        })
        .collect();
    let learn = || {
        train(
            &records,
            &vec![None; records.len()],
            &Policy::shipped(),
            "t",
            &Training::default(),
        )
        .unwrap()
        .0
    };
    assert_eq!(learn(), learn());
    assert!(Policy::new(learn()).is_ok());
}

#[test]
fn broken_files_are_refused_with_the_line() {
    let mapping = Mapping::parse("id: id\ncolumns: {name: surname}").unwrap();
    let policy = Policy::shipped();
    let read = |text: &str| match Rows::open(text.as_bytes(), &mapping, &policy).and_then(Rows::read) {
        Ok(table) => format!("{} rows", table.len()),
        Err(error) => error.to_string(),
    };
    assert_eq!(read("id,name\n1,Rossi\n"), "1 rows");
    assert_eq!(
        read("id,name\n1,Rossi\n1,Verdi\n"),
        "line 3: the id \"1\" has been there before"
    );
    assert_eq!(read("id,name\n,Rossi\n"), "line 2: the record's id is empty");
    assert_eq!(
        read("id,surname\n1,Rossi\n"),
        "there is no column \"name\"; there are: id, surname"
    );
    assert!(read("id,name\n1,Rossi,more\n").starts_with("line 2: "));
    assert!(
        Mapping::parse("id: id\ncolumns: {name: nonsense}")
            .unwrap_err()
            .to_string()
            .starts_with("not a mapping")
    );
}

fn any_record() -> impl Strategy<Value = Facts> {
    let names = prop::sample::select(vec!["", "Anna", "Marco", "Beppe", "Giuseppe", "Maria", "M."]);
    let surnames = prop::sample::select(vec!["", "Rossi", "Bianchi", "De Luca", "Rosi"]);
    let births = prop::sample::select(vec!["", "1980-01-02", "1980-02-01", "1955-10-30"]);
    let emails = prop::sample::select(vec![
        "",
        "anna.rossi@libero.it",
        "info@acme.it",
        "m.bianchi@gmail.com",
    ]);
    let phones = prop::sample::select(vec!["", "3331234567", "3331234568", "021234567"]);
    (names, surnames, births, emails, phones).prop_map(|(g, s, b, e, p)| person(g, s, b, e, p))
}

proptest! {
    #[test]
    fn normalisers_take_anything_and_keep_their_own_result(text in ".{0,40}") {
        for kind in [NameKind::Given, NameKind::Surname] {
            if let Some(name) = Name::parse(&text, kind) {
                prop_assert_eq!(Name::parse(&name.text, kind).map(|n| n.text), Some(name.text));
            }
        }
        let rules = MailRules::default();
        if let Some(email) = Email::parse(&text, &rules) {
            prop_assert_eq!(Email::parse(&email.address, &rules), Some(email));
        }
        if let Some(phone) = Phone::parse(&text, &PhoneRules::default()) {
            prop_assert_eq!(Phone::parse(&phone.e164, &PhoneRules::default()), Some(phone));
        }
        let _ = Birth::parse(&text, DateOrder::MonthFirst);
        let _ = Address::parse(AddressText { street: &text, locality: &text, ..AddressText::default() });
        let _ = Identifier::parse(IdentifierClass::National, "state", &text);
        let _ = Policy::parse(&text).is_ok();
        let _ = Mapping::parse(&text).is_ok();
        let _ = read_truth(text.as_bytes()).is_ok();
    }

    #[test]
    fn mail_addresses_keep_their_own_result(text in "[a-z.+]{1,12}@[a-z]{1,8}\\.(com|it|con)") {
        let rules = MailRules::default();
        if let Some(email) = Email::parse(&text, &rules) {
            prop_assert_eq!(Email::parse(&email.address, &rules), Some(email));
        }
    }

    #[test]
    fn weighing_is_the_same_both_ways(a in any_record(), b in any_record(), c in any_record()) {
        let policy = Policy::shipped();
        let mut store = MemoryStore::new(|record, _| ProfileId(record.0));
        store.open(Observation { record: RecordId(9), facts: c.clone() });
        let mut profile = b;
        profile.absorb(&c);
        let scorer = Scorer::new(&policy, &store);
        let (x, y) = (Side { facts: &a, profile: None }, Side { facts: &profile, profile: None });
        let (there, back) = (scorer.score(x, y), scorer.score(y, x));
        prop_assert!((there.bits - back.bits).abs() < 1e-3, "{} / {}", there.words(), back.words());
        prop_assert_eq!(there.vetoes, back.vetoes);
    }

    #[test]
    fn the_same_records_end_the_same(records in prop::collection::vec(any_record(), 1..25)) {
        prop_assert_eq!(profiles_of(&records), profiles_of(&records));
    }

    #[test]
    fn every_record_is_in_one_profile_and_keys_fit_facts(records in prop::collection::vec(any_record(), 1..25)) {
        let clustering = run(Mode::Online, records.len(), |at| records[at].clone(), &Policy::shipped(), 1);
        let mut held: Vec<u128> = clustering.store.profiles().iter().flat_map(|p| p.observations.iter().map(|o| o.record.0)).collect();
        held.sort_unstable();
        prop_assert_eq!(held, (0..records.len() as u128).collect::<Vec<_>>());
        for profile in clustering.store.profiles() {
            prop_assert_eq!(&profile.keys, &blocking::keys(&profile.facts));
            for key in &profile.keys {
                prop_assert!(clustering.store.holders(*key, usize::MAX).is_some_and(|h| h.contains(&profile.id)));
            }
        }
    }

    #[test]
    fn a_merge_forgets_nothing_and_a_detached_record_takes_all_of_itself(a in any_record(), b in any_record()) {
        let mut store = MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64));
        let one = store.open(Observation { record: RecordId(1), facts: a.clone() });
        let two = store.open(Observation { record: RecordId(2), facts: b });
        store.merge(one, two);
        store.detach(one, RecordId(2));
        prop_assert_eq!(&store.profile(one).unwrap().facts, &a);
        prop_assert_eq!(store.population(), 1);
    }
}

#[test]
fn twins_on_one_telephone_go_to_a_person_with_the_evidence() {
    let policy = Policy::shipped();
    let mut store = MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64));
    let mut resolver = Resolver::new(&policy);
    let mut say = |record, facts| {
        resolver
            .resolve(
                &mut store,
                Observation {
                    record: RecordId(record),
                    facts,
                },
            )
            .outcome
    };
    say(1, person("Anna", "Rossi", "1999-04-20", "", "333 1234567"));
    let outcome = say(2, person("Marco", "Rossi", "1999-04-20", "", "333 1234567"));
    let Outcome::Review { candidates, reason } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (candidates.len(), reason),
        (1, resolve::ReviewReason::Contradicted)
    );
}
