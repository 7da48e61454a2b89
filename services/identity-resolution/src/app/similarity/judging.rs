//! Records of a batch, judged by what they say.

use std::{cell::OnceCell, sync::Arc};

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

use super::{loading::neighbourhoods, neighbourhood::id_of_record};
use crate::{
    domain::{
        resolution::{Observation, Verdict, World},
        rules::Rules,
    },
    matching::{Facts, MemoryStore, Policy, Scorer, nearest::Reach, score::Side},
    store::{
        self,
        similar::{HOMES_APART, HOMES_SAME},
    },
};

/// A tenant's rules and its records, by their place in the batch.
pub struct Records<'t, 'a> {
    /// Whose data.
    pub tenant: &'t TenantId,
    /// What holds.
    pub rules: Arc<Rules>,
    /// The records to judge, in order, with what [`compare`] made of them.
    pub observations: Vec<(&'a mut Observation, Option<Read>)>,
}

/// What a record says, read once: of whoever writes again as before nobody needs it.
pub type Read = OnceCell<Facts>;

/// Notes whom a record cannot mean although they have a handle of it. Gives what it says, where similarity may judge it.
pub fn compare(seen: &mut Observation, rules: &Rules, world: &World) -> Option<Read> {
    let policy = rules.similarity()?;
    seen.verdict = Verdict::Nobody;
    seen.settled = None;
    seen.contradicts.clear();
    if !seen.said.names_somebody() {
        return None;
    }
    let read = Read::new();
    contradictions(seen, &read, world, policy);
    Some(read)
}

/// Judges the records whom no handle names. Gives what was found at homes, to count.
pub async fn judge<'t>(
    conn: &mut PgConnection,
    mut records: Vec<Records<'t, '_>>,
    worlds: &store::Worlds,
) -> Result<Vec<(&'t TenantId, i64, i32)>, Error> {
    let nobody = World::default();
    let mut unknown: Vec<(usize, Vec<(usize, Facts)>)> = Vec::new();
    for (place, of_tenant) in records.iter_mut().enumerate() {
        let world = worlds.get(of_tenant.tenant).unwrap_or(&nobody);
        let mut facts_here = Vec::new();
        let Some(policy) = of_tenant.rules.similarity() else {
            continue;
        };
        for (number, (seen, read)) in of_tenant.observations.iter_mut().enumerate() {
            if let Some(read) = read.take()
                && world.knows_nobody(seen, &of_tenant.rules)
            {
                let facts = read.into_inner().unwrap_or_else(|| seen.said.facts(policy));
                facts_here.push((number, facts));
            }
        }
        if !facts_here.is_empty() {
            unknown.push((place, facts_here));
        }
    }
    let wanted: Vec<(&TenantId, &Policy, Vec<&Facts>)> = unknown
        .iter()
        .filter_map(|(place, facts)| {
            let of_tenant = &records[*place];
            let policy = of_tenant.rules.similarity()?;
            Some((of_tenant.tenant, policy, facts.iter().map(|(_, f)| f).collect()))
        })
        .collect();
    let mut near = neighbourhoods(conn, &wanted, &[], Reach::Near).await?;
    drop(wanted);
    let mut found = Vec::new();
    for (place, facts) in unknown {
        let of_tenant = &mut records[place];
        let rules = Arc::clone(&of_tenant.rules);
        let (Some(policy), Some(near)) = (rules.similarity(), near.get_mut(of_tenant.tenant)) else {
            continue;
        };
        let before = near.homes();
        for (number, facts) in facts {
            let (seen, _) = &mut of_tenant.observations[number];
            let (verdict, settled) = near.judge(policy, seen.new_id, &facts);
            seen.verdict = verdict;
            seen.settled = settled.then_some(near.complete_to);
        }
        let after = near.homes();
        for (value, count) in [
            (HOMES_SAME, after.same - before.same),
            (HOMES_APART, after.apart - before.apart),
        ] {
            if count > 0 {
                found.push((of_tenant.tenant, value, i32::try_from(count).unwrap_or(i32::MAX)));
            }
        }
    }
    Ok(found)
}

/// Whoever has a handle of the record but is called something else, or was born on another day, is not meant. One variant that
/// fits is enough: nothing is compared for a record that calls its owner as they were called before.
fn contradictions(seen: &mut Observation, read: &Read, world: &World, policy: &Policy) {
    let empty = MemoryStore::new(id_of_record);
    let scorer = Scorer::new(policy, &empty);
    for handle in &seen.handles {
        let Some(owner) = world.owner(&handle.key) else {
            continue;
        };
        if seen.contradicts.contains(&owner.id) || owner.is_called_as(&seen.said) {
            continue;
        }
        let facts = read.get_or_init(|| seen.said.facts(policy));
        let theirs = owner.facts(policy);
        let side = |facts| Side { facts, profile: None };
        let vetoes = scorer.score(side(facts), side(&theirs)).vetoes;
        if vetoes.given_name || vetoes.birth_date {
            seen.contradicts.insert(owner.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::{collection::vec, prelude::*, sample::select};
    use trama_proto::ids::CustomerId;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{
        customer::{Customer, Member, Own},
        handle::Trust,
        said::{Attribute, Said},
    };

    /// Names that meet in many ways: nicknames, initials, two in one, the same in both places, other scripts.
    const NAMES: [&str; 16] = [
        "Anna",
        "Anna Maria",
        "Annamaria",
        "A.",
        "Maria",
        "Giuseppe",
        "Beppe",
        "Rossi",
        "De Rossi",
        "Rossi Bianchi",
        "Bianchi",
        "Bianchi Rossi",
        "Müller",
        "Mueller",
        "Анна",
        "Andrea",
    ];
    const WHOLE: [&str; 6] = [
        "Anna Rossi",
        "Rossi Anna",
        "Anna Maria De Rossi",
        "Giuseppe Bianchi",
        "Andrea",
        "Beppe Bianchi Rossi",
    ];
    const BIRTHS: [&str; 5] = ["1980-02-03", "1980-03-02", "1980-02-04", "1955-11-30", "80"];

    fn says() -> impl Strategy<Value = (Attribute, &'static str)> {
        prop_oneof![
            4 => select(&NAMES[..]).prop_map(|text| (Attribute::GivenName, text)),
            4 => select(&NAMES[..]).prop_map(|text| (Attribute::Surname, text)),
            2 => select(&WHOLE[..]).prop_map(|text| (Attribute::FullName, text)),
            2 => select(&BIRTHS[..]).prop_map(|text| (Attribute::Birth, text)),
            1 => Just((Attribute::Email, "anna@casa.test")),
            1 => Just((Attribute::Address, "via Roma\u{1f}1\u{1f}Milano\u{1f}\u{1f}20121")),
        ]
    }

    fn said(all: &[(Attribute, &str)]) -> Said {
        let mut said = Said::default();
        for (attribute, text) in all {
            said.add(*attribute, text, Trust::Observed);
        }
        said
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// Who is not compared because they are called as before would not have been contradicted either: not by what one of
        /// their records says, nor by all that is said of them.
        #[test]
        fn who_is_called_as_before_is_never_contradicted(
            members in vec(vec(says(), 0..4), 1..3),
            kept in any::<u16>(),
            // Most records say all of the name and nothing else, or hardly one would be called as before.
            whole in prop::bool::weighted(0.8),
            others in prop_oneof![4 => Just(vec![]), 1 => vec(says(), 1..3)],
        ) {
            let policy = Policy::shipped();
            let mut owner = Customer::new(CustomerId::new(Uuid::from_u128(1)), DateTime::UNIX_EPOCH);
            let ids = (1_u128..).map(|id| CustomerId::new(Uuid::from_u128(id)));
            owner.members = ids.zip(&members).map(|(id, all)| Member {
                id,
                created_at: DateTime::UNIX_EPOCH,
                merged_at: None,
                own: Own { said: said(all), ..Own::default() },
                version: 1,
            }).collect();
            let known = members.iter().flatten().enumerate();
            let says = |(n, (attribute, _)): &(usize, &(Attribute, _))| whole && attribute.is_name() || kept >> n & 1 == 1;
            let record: Vec<_> = known.filter(says).map(|(_, s)| *s).chain(others).collect();
            let record = said(&record);
            if !owner.is_called_as(&record) {
                return Ok(());
            }
            let (facts, theirs) = (record.facts(&policy), owner.facts(&policy));
            let empty = MemoryStore::new(id_of_record);
            let side = |facts| Side { facts, profile: None };
            let vetoes = Scorer::new(&policy, &empty).score(side(&facts), side(&theirs)).vetoes;
            prop_assert!(!vetoes.given_name && !vetoes.birth_date, "{record:?} of {owner:?}");
        }
    }
}
