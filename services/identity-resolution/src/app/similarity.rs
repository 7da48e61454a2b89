//! Who a record is by what it says: candidates by blocking keys, judged by the matching engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        customer::Customer,
        merge::{Likeness, Part},
        resolution::{Doubt, Observation, Verdict, World},
        rules::Rules,
        said::Said,
    },
    matching::{
        self, Facts, MemoryStore, Outcome, Policy, Profile, ProfileId, RecordId, Resolver, Score, Scorer,
        blocking, resolve::ReviewReason, score::Side, store::Homes,
    },
    store::{
        self,
        similar::{HOMES_APART, HOMES_SAME, POPULATION},
    },
};

/// What an engine works on: the customers who could be meant, and how frequent their values are.
pub struct Neighbourhood {
    store: MemoryStore,
}

fn profile_id(id: CustomerId) -> ProfileId {
    ProfileId(id.uuid().as_u128())
}

fn customer_id(id: ProfileId) -> CustomerId {
    CustomerId::new(Uuid::from_u128(id.0))
}

/// A record that opens a profile gives it its own id: the customer that would be made of it.
fn id_of_record(record: RecordId, attempt: u32) -> ProfileId {
    ProfileId(record.0 ^ u128::from(attempt))
}

/// All that is said under the ids of a customer.
pub fn facts_of(customer: &Customer, policy: &Policy) -> Facts {
    let mut facts = Facts::default();
    for member in &customer.members {
        facts.absorb(&member.own.said.facts(policy));
    }
    facts
}

impl Neighbourhood {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(id_of_record),
        }
    }

    fn add(&mut self, root: CustomerId, members: &[(CustomerId, Facts)]) {
        let mut facts = Facts::default();
        let mut observations = Vec::with_capacity(members.len());
        for (member, said) in members {
            facts.absorb(said);
            observations.push(matching::Observation {
                record: RecordId(member.uuid().as_u128()),
                facts: said.clone(),
            });
        }
        self.store.load(Profile {
            id: profile_id(root),
            keys: blocking::keys(&facts),
            facts,
            merges: u32::try_from(members.len().saturating_sub(1)).unwrap_or(u32::MAX),
            observations,
        });
    }

    /// How alike two customers are.
    pub fn score(&self, policy: &Policy, one: CustomerId, other: CustomerId) -> Option<Score> {
        use crate::matching::Store as _;
        let side = |id| {
            let profile = self.store.profile(profile_id(id))?;
            Some(Side {
                facts: &profile.facts,
                profile: Some(profile.id),
            })
        };
        Some(Scorer::new(policy, &self.store).score(side(one)?, side(other)?))
    }

    /// Judges a record that nobody is known for; later records of the batch see it.
    fn judge(&mut self, policy: &Policy, new_id: CustomerId, facts: &Facts) -> Verdict {
        let observation = matching::Observation {
            record: RecordId(new_id.uuid().as_u128()),
            facts: facts.clone(),
        };
        let decision = Resolver::new(policy).resolve(&mut self.store, observation);
        match decision.outcome {
            Outcome::New => Verdict::Nobody,
            Outcome::Same { score } => Verdict::Same {
                customer: customer_id(decision.profile),
                likeness: likeness(policy, &score),
            },
            Outcome::Review { candidates, reason } => Verdict::Ask {
                kind: match reason {
                    ReviewReason::Uncertain | ReviewReason::Ambiguous | ReviewReason::Limit => Doubt::Likely,
                    ReviewReason::Contradicted => Doubt::Contradiction,
                },
                candidates: candidates
                    .iter()
                    .map(|c| (customer_id(c.profile), likeness(policy, &c.score)))
                    .collect(),
            },
        }
    }

    /// Looks at customers again: what is new may make one of several, or several of one. `anew`: puts everybody together
    /// again from the records, because frequencies have moved since. Gives the ids that belong together now, if anything is
    /// otherwise than before.
    pub fn settle(&mut self, policy: &Policy, again: &[CustomerId], anew: bool) -> Option<Groups> {
        let several = self.members_of_several();
        let mut resolver = Resolver::new(policy);
        let mut done = HashSet::new();
        for id in again.iter().map(|id| profile_id(*id)) {
            if !anew {
                resolver.look_again(id);
            } else if !done.contains(&id) {
                done.extend(resolver.test_again(&mut self.store, id));
            }
        }
        resolver.drain(&mut self.store, again.len() * 4);
        (!self.store.take_changes().is_empty()).then(|| self.groups(several))
    }

    fn groups(&self, several: Vec<CustomerId>) -> Groups {
        let mut groups = Groups {
            groups: BTreeMap::new(),
            several,
        };
        for (group, profile) in self.store.profiles().into_iter().enumerate() {
            for observation in &profile.observations {
                let id = CustomerId::new(Uuid::from_u128(observation.record.0));
                groups.groups.insert(id, group);
            }
        }
        groups
    }

    /// Who is so like one of these that their own neighbours must be known as well: what could be theirs is not another's.
    pub fn alike(&self, policy: &Policy, these: &[CustomerId]) -> Vec<Facts> {
        use crate::matching::Store as _;
        let known: HashSet<CustomerId> = these.iter().copied().collect();
        let mut found = BTreeSet::new();
        for one in these {
            found.extend(self.of(policy, *one).into_iter().filter(|other| {
                !known.contains(other)
                    && self
                        .score(policy, *one, *other)
                        .is_some_and(|score| score.bits >= policy.thresholds().review)
            }));
        }
        let profiles = found
            .into_iter()
            .filter_map(|id| self.store.profile(profile_id(id)));
        profiles.map(|profile| profile.facts.clone()).collect()
    }

    /// The ids of all who are made of several.
    fn members_of_several(&self) -> Vec<CustomerId> {
        let several = self
            .store
            .profiles()
            .into_iter()
            .filter(|p| p.observations.len() > 1);
        several
            .flat_map(|p| {
                p.observations
                    .iter()
                    .map(|o| CustomerId::new(Uuid::from_u128(o.record.0)))
            })
            .collect()
    }

    /// Whether a person keeps two apart.
    pub fn is_banned(&self, one: CustomerId, other: CustomerId) -> bool {
        use crate::matching::Store as _;
        self.store.banned(profile_id(one), profile_id(other))
    }

    /// Whether people of one home are several here, as far as is known.
    fn homes(&self) -> Homes {
        use crate::matching::Store as _;
        self.store.homes()
    }

    /// A person keeps two apart.
    pub fn ban(&mut self, one: CustomerId, other: CustomerId) {
        self.store.ban(profile_id(one), profile_id(other));
    }

    /// Who shares a key with a customer.
    pub fn of(&self, policy: &Policy, one: CustomerId) -> BTreeSet<CustomerId> {
        use crate::matching::Store as _;
        let most = policy.limits().profiles_per_key;
        let Some(profile) = self.store.profile(profile_id(one)) else {
            return BTreeSet::new();
        };
        let holders = profile
            .keys
            .iter()
            .filter_map(|key| self.store.holders(*key, most));
        let others = holders.flatten().filter(|id| **id != profile.id);
        others.map(|id| customer_id(*id)).collect()
    }

    /// Everybody who is near.
    pub fn ids(&self) -> Vec<CustomerId> {
        self.store.profiles().iter().map(|p| customer_id(p.id)).collect()
    }
}

/// Ids that belong together: each with the number of its group. Ids of which nothing is said are in none.
#[derive(Debug)]
pub struct Groups {
    groups: BTreeMap<CustomerId, usize>,
    several: Vec<CustomerId>,
}

impl Groups {
    /// The group of an id.
    pub fn of(&self, id: CustomerId) -> Option<usize> {
        self.groups.get(&id).copied()
    }

    /// The ids that were one customer with others before.
    pub fn were_of_several(&self) -> &[CustomerId] {
        &self.several
    }

    /// The groups of more than one id.
    pub fn several(&self) -> impl Iterator<Item = Vec<CustomerId>> {
        let mut groups: BTreeMap<usize, Vec<CustomerId>> = BTreeMap::new();
        for (id, group) in &self.groups {
            groups.entry(*group).or_default().push(*id);
        }
        groups.into_values().filter(|ids| ids.len() > 1)
    }
}

/// A score as it is kept and shown.
pub fn likeness(policy: &Policy, score: &Score) -> Likeness {
    let mut parts: Vec<Part> = score
        .evidence()
        .map(|e| Part {
            what: e.comparison.words().to_owned(),
            words: e.level.words().to_owned(),
            bits: f64::from(e.bits),
        })
        .collect();
    parts.sort_by(|a, b| b.bits.abs().total_cmp(&a.bits.abs()));
    parts.push(Part {
        what: "rarity".into(),
        words: "one in all customers".into(),
        bits: f64::from(score.prior),
    });
    if score.household_excess > 0.0 {
        parts.push(Part {
            what: "household".into(),
            words: "who lives together shares surname and address".into(),
            bits: -f64::from(score.household_excess),
        });
    }
    let vetoes = [
        (score.vetoes.exclusive, "two customer numbers"),
        (score.vetoes.given_name, "two given names"),
        (score.vetoes.birth_date, "two dates of birth"),
    ];
    Likeness {
        bits: f64::from(score.bits),
        parts,
        vetoes: vetoes
            .into_iter()
            .filter(|(vetoed, _)| *vetoed)
            .map(|(_, words)| words.to_owned())
            .collect(),
        model: policy.file().version.clone(),
    }
}

/// A tenant's rules and its records, by their place in the batch.
pub struct Records<'t, 'a> {
    /// Whose data.
    pub tenant: &'t TenantId,
    /// What holds.
    pub rules: Arc<Rules>,
    /// The records to judge, in order.
    pub observations: Vec<&'a mut Observation>,
}

/// Notes for each record whom it cannot mean, and judges those whom no handle names. Gives what was found at homes, to count.
pub async fn judge<'t>(
    conn: &mut PgConnection,
    mut records: Vec<Records<'t, '_>>,
    worlds: &store::Worlds,
) -> Result<Vec<(&'t TenantId, i64, i32)>, Error> {
    let nobody = World::default();
    let mut unknown: Vec<(usize, Vec<(usize, Facts)>)> = Vec::new();
    for (place, of_tenant) in records.iter_mut().enumerate() {
        let world = worlds.get(of_tenant.tenant).unwrap_or(&nobody);
        let Some(policy) = of_tenant.rules.similarity() else {
            continue;
        };
        let mut facts_here = Vec::new();
        for (number, seen) in of_tenant.observations.iter_mut().enumerate() {
            seen.verdict = Verdict::Nobody;
            seen.contradicts.clear();
            if !seen.said.names_somebody() {
                continue;
            }
            let facts = seen.said.facts(policy);
            contradictions(seen, &facts, world, policy);
            if world.knows_nobody(seen, &of_tenant.rules) {
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
    let mut near = neighbourhoods(conn, &wanted, &[]).await?;
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
            let seen = &mut of_tenant.observations[number];
            seen.verdict = near.judge(policy, seen.new_id, &facts);
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

/// Whether people of one home are several in a tenant, as far as is known.
pub async fn homes_are_shared(
    conn: &mut PgConnection,
    tenant: &TenantId,
    policy: &Policy,
) -> Result<bool, Error> {
    let values = [(tenant, HOMES_SAME), (tenant, HOMES_APART)];
    let mut homes = Homes::default();
    for (_, value, count) in store::similar::frequencies(conn, &values).await? {
        count_home(&mut homes, value, count);
    }
    Ok(policy.homes_are_shared(homes))
}

/// Takes a count that is about homes; tells whether it was.
fn count_home(homes: &mut Homes, value: i64, count: u32) -> bool {
    match value {
        HOMES_SAME => homes.same = u64::from(count),
        HOMES_APART => homes.apart = u64::from(count),
        _ => return false,
    }
    true
}

/// Whoever has a handle of the record but is called something else, or was born on another day, is not meant.
fn contradictions(seen: &mut Observation, facts: &Facts, world: &World, policy: &Policy) {
    let empty = MemoryStore::new(id_of_record);
    let scorer = Scorer::new(policy, &empty);
    for handle in &seen.handles {
        let Some(owner) = world.owner(&handle.key) else {
            continue;
        };
        if seen.contradicts.contains(&owner.id) {
            continue;
        }
        let theirs = facts_of(owner, policy);
        let side = |facts| Side { facts, profile: None };
        let vetoes = scorer.score(side(facts), side(&theirs)).vetoes;
        if vetoes.given_name || vetoes.birth_date {
            seen.contradicts.insert(owner.id);
        }
    }
}

/// The customers near to some facts, and near to some customers, by tenant.
pub async fn neighbourhoods<'a>(
    conn: &mut PgConnection,
    wanted: &[(&'a TenantId, &'a Policy, Vec<&Facts>)],
    besides: &[(&'a TenantId, &Customer)],
) -> Result<HashMap<TenantId, Neighbourhood>, Error> {
    let mut all = HashMap::new();
    let mut keys: Vec<(&TenantId, i64)> = Vec::new();
    let mut most = 0;
    for (tenant, policy, facts) in wanted {
        most = most.max(i64::try_from(policy.limits().profiles_per_key).unwrap_or(i64::MAX - 1));
        for facts in facts {
            keys.extend(blocking::keys(facts).into_iter().map(|k| (*tenant, k.0)));
        }
    }
    if keys.is_empty() && besides.is_empty() {
        return Ok(all);
    }
    let mut candidates = store::similar::candidates(conn, &keys, most).await?;
    let mut values: BTreeMap<&TenantId, Vec<i64>> = BTreeMap::new();
    for (tenant, policy, facts) in wanted {
        let mut near = Neighbourhood::new();
        let counted = values
            .entry(tenant)
            .or_insert_with(|| vec![POPULATION, HOMES_SAME, HOMES_APART]);
        let mut count = |facts: &Facts| {
            counted.extend(facts.counted_values().into_iter().map(|v| v.0.cast_signed()));
        };
        facts.iter().for_each(|f| count(f));
        let own = besides.iter().filter(|(t, _)| t == tenant).map(|(_, customer)| {
            let members = customer.members.iter().map(|m| (m.id, m.own.said.clone()));
            (customer.id, members.collect::<Vec<(CustomerId, Said)>>())
        });
        for (root, members) in candidates
            .remove(*tenant)
            .unwrap_or_default()
            .into_iter()
            .chain(own)
        {
            let members: Vec<_> = members
                .into_iter()
                .map(|(member, said)| (member, said.facts(policy)))
                .collect();
            members.iter().for_each(|(_, f)| count(f));
            near.add(root, &members);
        }
        counted.sort_unstable();
        counted.dedup();
        all.insert((*tenant).clone(), near);
    }
    let values: Vec<(&TenantId, i64)> = values
        .into_iter()
        .flat_map(|(tenant, values)| values.into_iter().map(move |v| (tenant, v)))
        .collect();
    for (tenant, value, customers) in store::similar::frequencies(conn, &values).await? {
        if let Some(near) = all.get_mut(&tenant) {
            let mut homes = near.homes();
            if count_home(&mut homes, value, customers) {
                near.store.set_homes(homes);
            } else if value == POPULATION {
                near.store.set_population(u64::from(customers));
            } else {
                near.store
                    .set_frequency(matching::hash::ValueKey(value.cast_unsigned()), customers);
            }
        }
    }
    Ok(all)
}

/// The keys by which somebody is found who was not found by them before.
pub(super) fn new_keys(policy: &Policy, (before, after): &(Said, Said)) -> Vec<i64> {
    let old: HashSet<i64> = blocking::keys(&before.facts(policy))
        .into_iter()
        .map(|k| k.0)
        .collect();
    let keys = blocking::keys(&after.facts(policy)).into_iter();
    keys.map(|k| k.0).filter(|k| !old.contains(k)).collect()
}

/// The values that are counted, and the one that counts who knows any.
fn counted(policy: &Policy, said: &Said) -> BTreeSet<i64> {
    let facts = said.facts(policy);
    let mut values: BTreeSet<i64> = facts.counted_values().iter().map(|v| v.0.cast_signed()).collect();
    if !facts.is_empty() {
        values.insert(POPULATION);
    }
    values
}

/// The values that are known and were not known before.
pub(super) fn new_values(policy: &Policy, (before, after): &(Said, Said)) -> Vec<i64> {
    let old = counted(policy, before);
    counted(policy, after).difference(&old).copied().collect()
}

/// The values that two have in common: counted twice while they are two.
pub(super) fn values_of_both(policy: &Policy, one: &Said, other: &Said) -> Vec<i64> {
    let theirs = counted(policy, other);
    counted(policy, one).intersection(&theirs).copied().collect()
}
