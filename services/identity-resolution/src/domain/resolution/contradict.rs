//! Whether what is known of two says that they are two people.

use crate::{
    domain::{customer::Customer, merge::Likeness, rules::Rules, said::Said},
    matching::{Facts, MemoryStore, Policy, ProfileId, RecordId, Score, Scorer, score::Side},
};

/// What parts two whom one delivery would join: two given names, two dates of birth, two ids of which a person has one.
/// Nobody is compared where the policy wants no similarity.
pub(super) fn contradiction(one: &Customer, other: &Customer, rules: &Rules) -> Option<Likeness> {
    let policy = rules.similarity()?;
    let score = compare(&one.facts(policy), &other.facts(policy), policy);
    let vetoes = score.vetoes;
    let parts = vetoes.given_name || vetoes.birth_date || vetoes.exclusive;
    parts.then(|| Likeness {
        vetoes: vetoes.words().map(str::to_owned).collect(),
        ..Likeness::of(policy, &score)
    })
}

/// Whether somebody who says this of themselves cannot be this customer.
pub(super) fn says_otherwise(said: &Said, customer: &Customer, rules: &Rules) -> bool {
    let Some(policy) = rules.similarity().filter(|_| said.names_somebody()) else {
        return false;
    };
    let vetoes = compare(&said.facts(policy), &customer.facts(policy), policy).vetoes;
    vetoes.given_name || vetoes.birth_date
}

fn compare(one: &Facts, other: &Facts, policy: &Policy) -> Score {
    let nobody = MemoryStore::new(|RecordId(record), attempt| ProfileId(record ^ u128::from(attempt)));
    let side = |facts| Side { facts, profile: None };
    Scorer::new(policy, &nobody).score(side(one), side(other))
}
