//! Who a record is by what it says: candidates by blocking keys, judged by the matching engine.

mod judging;
mod loading;
mod neighbourhood;

use std::collections::BTreeSet;

use trama_proto::ids::CustomerId;

use crate::{
    domain::{customer::Customer, said::Said},
    matching::{Facts, Policy, blocking},
    store::similar::POPULATION,
};

pub use judging::{Read, Records, compare, judge};
pub use loading::{homes_are_shared, neighbourhoods, widen};
pub use neighbourhood::{Groups, Neighbourhood};

/// What somebody of whom something is said is found and counted by.
pub(super) struct Known {
    keys: Vec<i64>,
    values: BTreeSet<i64>,
}

impl Known {
    pub(super) fn of(policy: &Policy, said: &Said) -> Self {
        let facts = said.facts(policy);
        Self {
            keys: blocking::keys(&facts).into_iter().map(|k| k.0).collect(),
            values: counted(&facts),
        }
    }
}

/// What somebody is found and counted by who was not before.
#[derive(Default)]
pub(super) struct Found {
    pub(super) keys: BTreeSet<i64>,
    pub(super) values: BTreeSet<i64>,
}

impl Found {
    pub(super) fn add(&mut self, before: &Known, after: &Known) {
        // Keys are sorted.
        let new = after
            .keys
            .iter()
            .filter(|k| before.keys.binary_search(k).is_err());
        self.keys.extend(new);
        self.values.extend(after.values.difference(&before.values));
    }
}

/// The values that are counted, and the one that counts who knows any.
fn counted(facts: &Facts) -> BTreeSet<i64> {
    let mut values: BTreeSet<i64> = facts.counted_values().iter().map(|v| v.0.cast_signed()).collect();
    if !facts.is_empty() {
        values.insert(POPULATION);
    }
    values
}

/// The values by which a customer is counted.
pub(super) fn values_of(policy: &Policy, said: &Said) -> BTreeSet<i64> {
    counted(&said.facts(policy))
}

/// The values that two have in common: counted twice while they are two.
pub(super) fn values_of_both(policy: &Policy, one: &Said, other: &Said) -> Vec<i64> {
    let theirs = counted(&other.facts(policy));
    counted(&one.facts(policy))
        .intersection(&theirs)
        .copied()
        .collect()
}

/// The keys of one side of a split: those by which they were one already need not have been written for each.
pub(super) fn keys_of_side(policy: &Policy, side: &Customer) -> Vec<(CustomerId, i64)> {
    let members = side.members.iter().map(|m| (m.id, m.own.said.clone()));
    members
        .chain([(side.id, side.said())])
        .flat_map(|(id, said)| {
            Known::of(policy, &said)
                .keys
                .into_iter()
                .map(move |key| (id, key))
        })
        .collect()
}
