//! One home, one mailbox, one telephone: how many people?

use super::*;
use crate::matching::eval::metrics::{Judged, cluster_figures};

#[test]
fn father_and_son_of_one_name_at_one_address_stay_two() {
    let is = profiles_of(&[
        at_home(
            "Mario",
            "Rossini",
            "1950-03-02",
            "mario.rossini@libero.it",
            "333 1234567",
        ),
        at_home(
            "Mario",
            "Rossini",
            "1986-11-17",
            "mario_rossini@libero.it",
            "347 7654321",
        ),
        at_home("Mario", "Rossini", "1950-03-02", "", ""),
    ]);
    assert_ne!(is[0], is[1]);
    assert_eq!(is[0], is[2], "and the father is still himself");
}

#[test]
fn a_second_mailbox_and_telephone_of_one_name_at_home_is_the_son() {
    let is = profiles_of(&[
        at_home("Mario", "Rossini", "", "mario.rossini@libero.it", "333 1234567"),
        at_home("Mario", "Rossini", "", "mario_rossini@libero.it", "347 7654321"),
    ]);
    assert_ne!(is[0], is[1]);
}

#[test]
fn a_family_mailbox_merges_nobody() {
    for mailbox in [
        "famiglia.rossini7@gmail.com",
        "fam.rossini@libero.it",
        "famigliarossini@gmail.com",
    ] {
        let is = profiles_of(&[
            person("Anna", "Rossini", "", mailbox, ""),
            person("", "", "", mailbox, ""),
            person("Marco", "Rossini", "", mailbox, ""),
        ]);
        assert!(is[0] != is[1] && is[1] != is[2] && is[0] != is[2], "{mailbox}");
    }
}

#[test]
fn who_was_written_the_wrong_way_round_is_not_everybody_of_that_surname() {
    let is = profiles_of(&[
        at_home("William", "Arbuckle", "1969-11-05", "", ""),
        at_home("Arbuckle", "William", "1969-11-05", "", ""),
        at_home("Indiana", "Arbuckle", "1971-11-05", "", ""),
        at_home("Arbuckle", "Indiana", "1971-11-05", "", ""),
    ]);
    assert_eq!((is[0], is[2]), (is[1], is[3]));
    assert_ne!(is[0], is[2]);
}

#[test]
fn twins_stay_two_however_short_a_name_is_not_said() {
    let is = profiles_of(&[
        at_home("Carlo", "Rossini", "1979-07-06", "", ""),
        at_home("Anna", "Rossini", "1979-07-06", "", ""),
        at_home("", "Rossini", "1979-07-06", "", ""),
    ]);
    assert!(
        is[0] != is[1] && is[2] != is[0] && is[2] != is[1],
        "it could be either"
    );
}

/// `bench/identity/households.py --style it --households 150 --seed 4`.
#[test]
fn of_a_set_of_households_hardly_anybody_is_taken_for_another() {
    let mapping = Mapping::parse(include_str!(
        "../../../../../examples/identity/mappings/households.yaml"
    ))
    .unwrap();
    let policy = Policy::shipped();
    let records = include_str!("households.csv");
    let table = Rows::open(records.as_bytes(), &mapping, &policy)
        .and_then(Rows::read)
        .unwrap();
    let truth = read_truth(include_str!("households.truth.csv").as_bytes()).unwrap();
    let clustering = run(
        Mode::Online,
        table.len(),
        |at| table.facts(at, &policy),
        &policy,
        1,
    );
    let number = |text: &str| text.trim_start_matches('p').parse().unwrap();
    let judged: Vec<Judged> = table
        .ids()
        .zip(&clustering.profile_of)
        .filter_map(|(id, profile)| {
            let truth = truth.get(id).filter(|t| !t.thin)?;
            Some(Judged {
                cluster: u32::try_from(profile.0).unwrap(),
                entity: number(&truth.entity),
                source: 0,
            })
        })
        .collect();
    let figures = cluster_figures(&judged, false);
    assert!(figures.pairs.precision >= 0.97, "{figures:?}");
    assert!(figures.pairs.f1 >= 0.94, "{figures:?}");
    assert!(figures.over_merged <= 7, "{figures:?}");
}
