//! The first days: nobody is known yet, so nothing is known of how rare a name is.

use super::*;

fn store() -> MemoryStore {
    MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64))
}

/// A store with so many people, none of whom is of the tests' families.
fn store_of(people: usize) -> MemoryStore {
    const GIVEN: [&str; 5] = ["Luca", "Sara", "Paolo", "Elena", "Fabio"];
    const SURNAMES: [&str; 7] = ["Ferri", "Galli", "Conti", "Marini", "Greco", "Riva", "Fontana"];
    let mut store = store();
    for at in 0..people {
        let facts = person(
            GIVEN[at % GIVEN.len()],
            SURNAMES[at % SURNAMES.len()],
            "",
            &format!("cliente.numero{at}@libero.it"),
            "",
        );
        store.open(Observation {
            record: RecordId(1_000_000 + at as u128),
            facts,
        });
    }
    store
}

fn resolved(store: &mut MemoryStore, records: &[Facts]) -> Vec<Decision> {
    let policy = Policy::shipped();
    let mut resolver = Resolver::new(&policy);
    let decisions: Vec<Decision> = records
        .iter()
        .enumerate()
        .map(|(at, facts)| {
            let decision = resolver.resolve(
                store,
                Observation {
                    record: RecordId(at as u128),
                    facts: facts.clone(),
                },
            );
            resolver.drain(store, usize::MAX);
            decision
        })
        .collect();
    for profile in store.ids() {
        resolver.test_again(store, profile);
    }
    resolver.drain(store, usize::MAX);
    decisions
}

#[test]
fn people_of_one_name_with_different_mails_stay_apart_however_few_are_known() {
    for known in [0, 3, 50, 1_000] {
        for (given, surname) in [("Rita", "Rossini"), ("Ermenegilda", "Quattrocchi")] {
            let mut store = store_of(known);
            let records: Vec<Facts> = (0..3)
                .map(|i| person(given, surname, "", &format!("rita{i}@example.org"), ""))
                .collect();
            resolved(&mut store, &records);
            assert_eq!(
                store.profiles().len(),
                known + 3,
                "{given} {surname}, {known} known"
            );
        }
    }
}

#[test]
fn a_slip_explains_what_somebody_typed_and_nothing_that_was_delivered() {
    let with = |mail: &str, phone: &str, trust: Trust| {
        let mut facts = person("Rita", "Rossini", "", mail, phone);
        facts.emails.iter_mut().for_each(|e| e.trust = trust);
        facts.phones.iter_mut().for_each(|p| p.trust = trust);
        facts
    };
    for (one, other) in [
        (["", "333 1234500"], ["", "333 1234510"]),
        (["ritarossini@libero.it", ""], ["ritarosini@libero.it", ""]),
    ] {
        for (trust, other_trust, people) in [
            (Trust::Claimed, Trust::Claimed, 1),
            (Trust::Claimed, Trust::Verified, 1),
            (Trust::Observed, Trust::Claimed, 1),
            (Trust::Observed, Trust::Observed, 2),
            (Trust::Observed, Trust::Verified, 2),
            (Trust::Verified, Trust::Verified, 2),
        ] {
            let mut store = store();
            let records = [with(one[0], one[1], trust), with(other[0], other[1], other_trust)];
            resolved(&mut store, &records);
            assert_eq!(
                store.profiles().len(),
                people,
                "{one:?} {trust:?}, {other:?} {other_trust:?}"
            );
        }
    }
}

#[test]
fn names_without_anything_else_never_join() {
    for known in [0, 1_000] {
        let mut store = store_of(known);
        let name = || person("Ermenegilda", "Quattrocchi", "", "", "");
        let decisions = resolved(&mut store, &[name(), name()]);
        assert_eq!(store.profiles().len(), known + 2);
        assert!(!matches!(decisions[1].outcome, Outcome::Same { .. }));
    }
}

#[test]
fn very_rare_names_alone_are_shown_to_a_person_with_the_reason() {
    let policy = Policy::shipped();
    let mut store = store();
    // Everybody else was counted: these two names are unheard of.
    store.set_population(1_000_000);
    let name = || person("Ermenegilda", "Quattrocchi", "", "", "");
    let score = Scorer::new(&policy, &store).score(
        Side {
            facts: &name(),
            profile: None,
        },
        Side {
            facts: &name(),
            profile: None,
        },
    );
    assert!(score.names_alone && !score.is_same(&policy));
    assert!(
        score.words().ends_with("nothing agrees but names"),
        "{}",
        score.words()
    );
}

#[test]
fn a_household_on_the_first_day_is_as_many_people_as_it_has_names() {
    for known in [0, 3, 50, 1_000] {
        let mut store = store_of(known);
        resolved(
            &mut store,
            &[
                at_home("Anna", "Rossini", "", "", ""),
                at_home("Marco", "Rossini", "", "", ""),
                at_home("Anna", "Rossini", "", "", ""),
                at_home("Beatrice", "Rossini", "", "", ""),
            ],
        );
        assert_eq!(store.profiles().len(), known + 3, "{known} known");
    }
}

#[test]
fn twins_and_father_and_son_stay_apart_on_the_first_day() {
    let mut store = store();
    resolved(
        &mut store,
        &[
            at_home("Anna", "Rossini", "1999-04-20", "", ""),
            at_home("Marta", "Rossini", "1999-04-20", "", ""),
            at_home("Mario", "Rossini", "1950-03-02", "", ""),
            at_home("Mario", "Rossini", "1986-11-17", "", ""),
        ],
    );
    assert_eq!(store.profiles().len(), 4);
}

#[test]
fn who_is_written_the_wrong_way_round_once_is_not_nameless() {
    let mut store = store();
    resolved(
        &mut store,
        &[
            at_home("Emma", "Rossini", "", "", ""),
            at_home("Rossini", "Emma", "", "", ""),
            at_home("Marco", "Rossini", "", "", ""),
        ],
    );
    assert_eq!(store.profiles().len(), 2, "Emma, also swapped, and Marco");
}

#[test]
fn an_initial_does_not_make_two_written_out_names_one() {
    let mut anna = person("Gabriella", "Rossini", "", "", "333 1234567");
    anna.absorb(&person("G.", "Rossini", "", "", "333 1234567"));
    let mut store = store();
    resolved(
        &mut store,
        &[anna, person("Gemma", "Rossini", "", "", "333 1234567")],
    );
    assert_eq!(store.profiles().len(), 2);
}

#[test]
fn a_telephone_that_somebody_proved_to_be_theirs_joins_nobody_else() {
    let policy = Policy::shipped();
    let mut store = store();
    let mut owner = person("Anna", "Rossini", "", "", "333 1234567");
    for phone in &mut owner.phones {
        phone.trust = Trust::Verified;
    }
    let other = person("Marco", "Bianchi", "", "marco.bianchi77@libero.it", "");
    for (at, facts) in [owner, other].into_iter().enumerate() {
        store.open(Observation {
            record: RecordId(at as u128),
            facts,
        });
    }
    let both = person("Marco", "Bianchi", "", "marco.bianchi77@libero.it", "333 1234567");
    let decision = Resolver::new(&policy).resolve(
        &mut store,
        Observation {
            record: RecordId(9),
            facts: both,
        },
    );
    let Outcome::Review { candidates, reason } = decision.outcome else {
        panic!("{:?}", decision.outcome)
    };
    assert_eq!(reason, resolve::ReviewReason::Contradicted);
    assert!(candidates.iter().any(|c| c.score.vetoes.verified));
}

#[test]
fn arrival_does_not_matter_once_everybody_was_tested_again() {
    let given = ["Anna", "Marco", "Beppe", "Giuseppe", "A.", ""];
    let surnames = ["Rossini", "Rosini", "Bianchi", ""];
    let mut records = Vec::new();
    for at in 0..240_usize {
        let birth = if at % 5 == 0 { "1980-01-02" } else { "" };
        let mail = if at % 2 == 0 {
            format!("casella.numero{}@libero.it", at % 17)
        } else {
            String::new()
        };
        let phone = if at % 3 == 0 {
            format!("333 12345{:02}", at % 19)
        } else {
            String::new()
        };
        records.push(person(given[at % 6], surnames[at % 4], birth, &mail, &phone));
    }
    let partition = |order: &[usize]| {
        let clustering = run(
            Mode::Online,
            order.len(),
            |at| records[order[at]].clone(),
            &Policy::shipped(),
            2,
        );
        let mut groups: Vec<Vec<usize>> = clustering
            .store
            .profiles()
            .iter()
            .map(|p| {
                let mut of: Vec<usize> = p
                    .observations
                    .iter()
                    .map(|o| order[usize::try_from(o.record.0).unwrap()])
                    .collect();
                of.sort_unstable();
                of
            })
            .collect();
        groups.sort_unstable();
        groups
    };
    let straight: Vec<usize> = (0..records.len()).collect();
    let backwards: Vec<usize> = straight.iter().rev().copied().collect();
    let mixed: Vec<usize> = straight.iter().map(|at| at * 77 % records.len()).collect();
    assert_eq!(partition(&straight), partition(&backwards));
    assert_eq!(partition(&straight), partition(&mixed));
}
