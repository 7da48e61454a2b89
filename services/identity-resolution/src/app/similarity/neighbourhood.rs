//! The customers who could be meant, in memory, and what the engine says of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use trama_proto::ids::CustomerId;
use uuid::Uuid;

use crate::{
    domain::{
        merge::Likeness,
        resolution::{Doubt, Verdict},
    },
    matching::{
        self, Facts, MemoryStore, Outcome, Policy, Profile, ProfileId, RecordId, Resolver, Score, Scorer,
        blocking,
        hash::BlockKey,
        resolve::ReviewReason,
        score::Side,
        store::{Change, Homes},
    },
    store::similar::{HOMES_APART, HOMES_SAME, POPULATION},
};

/// What an engine works on: the customers who could be meant, and how frequent their values are.
pub struct Neighbourhood {
    pub(super) store: MemoryStore,
    /// Transactions from this one on may have added somebody who is not here.
    pub(super) complete_to: i64,
    /// Values, by how many ids say them, and whether their frequency was asked for.
    values: HashMap<i64, Asked>,
}

/// What is known of the need for a value's frequency. It matters only where two agree: values that one alone says are not
/// worth a look.
enum Asked {
    /// One says it.
    NotYet,
    /// Several say it, or a record that is to be judged.
    Wanted,
    /// It was.
    Done,
}

impl Default for Neighbourhood {
    fn default() -> Self {
        Self {
            store: MemoryStore::new(id_of_record),
            complete_to: i64::MAX,
            values: [POPULATION, HOMES_SAME, HOMES_APART]
                .map(|value| (value, Asked::Wanted))
                .into(),
        }
    }
}

impl Asked {
    fn want(&mut self) {
        if matches!(self, Self::NotYet) {
            *self = Self::Wanted;
        }
    }
}

fn profile_id(id: CustomerId) -> ProfileId {
    ProfileId(id.uuid().as_u128())
}

fn customer_id(id: ProfileId) -> CustomerId {
    CustomerId::new(Uuid::from_u128(id.0))
}

/// A record that opens a profile gives it its own id: the customer that would be made of it.
pub(super) fn id_of_record(record: RecordId, attempt: u32) -> ProfileId {
    ProfileId(record.0 ^ u128::from(attempt))
}

impl Neighbourhood {
    pub(super) fn add(&mut self, root: CustomerId, members: &[(CustomerId, Facts)]) {
        let mut facts = Facts::default();
        let mut observations = Vec::with_capacity(members.len());
        for (member, said) in members {
            for value in said.counted_values() {
                self.values
                    .entry(value.0.cast_signed())
                    .and_modify(Asked::want)
                    .or_insert(Asked::NotYet);
            }
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

    /// The record with these facts is to be judged.
    pub(super) fn ask_for_values(&mut self, facts: &Facts) {
        for value in facts.counted_values() {
            self.values
                .entry(value.0.cast_signed())
                .or_insert(Asked::NotYet)
                .want();
        }
    }

    /// The values whose frequency is wanted; each is given once.
    pub(super) fn take_asked(&mut self) -> Vec<i64> {
        let wanted = self
            .values
            .iter_mut()
            .filter(|(_, asked)| matches!(asked, Asked::Wanted));
        let mut values: Vec<i64> = wanted
            .map(|(value, asked)| {
                *asked = Asked::Done;
                *value
            })
            .collect();
        values.sort_unstable();
        values
    }

    /// How many customers have a key; `None` when they are too many.
    pub(super) fn set_holders(&mut self, key: BlockKey, holders: Option<usize>) {
        self.store.set_holders(key, holders.unwrap_or(usize::MAX));
    }

    /// Whether a customer is here.
    pub(super) fn knows(&self, id: CustomerId) -> bool {
        use crate::matching::Store as _;
        self.store.profile(profile_id(id)).is_some()
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

    /// Judges a record that nobody is known for; later records of the batch see it. Says as well whether that settles it: then
    /// only those who arrive at the same moment can still be meant.
    pub(super) fn judge(&mut self, policy: &Policy, new_id: CustomerId, facts: &Facts) -> (Verdict, bool) {
        let observation = matching::Observation {
            record: RecordId(new_id.uuid().as_u128()),
            facts: facts.clone(),
        };
        self.store.take_changes();
        let mut resolver = Resolver::new(policy);
        let decision = resolver.resolve(&mut self.store, observation);
        let took_away = |change: &Change| matches!(change, Change::Detached { .. } | Change::Merged { .. });
        let settled = resolver.waiting() == 0 && !self.store.take_changes().iter().any(took_away);
        let verdict = match decision.outcome {
            Outcome::New => Verdict::Nobody,
            Outcome::Same { score } => Verdict::Same {
                customer: customer_id(decision.profile),
                likeness: Likeness::of(policy, &score),
            },
            Outcome::Review { candidates, reason } => Verdict::Ask {
                kind: match reason {
                    ReviewReason::Uncertain | ReviewReason::Ambiguous | ReviewReason::Limit => Doubt::Likely,
                    ReviewReason::Contradicted => Doubt::Contradiction,
                },
                candidates: candidates
                    .iter()
                    .map(|c| (customer_id(c.profile), Likeness::of(policy, &c.score)))
                    .collect(),
            },
        };
        (verdict, settled)
    }

    /// Looks at customers again: what is new may make one of several, or several of one. `anew`: puts everybody together
    /// again from the records, because frequencies have moved since. Gives the ids that belong together now, if anything is
    /// otherwise than before.
    pub fn settle(&mut self, policy: &Policy, again: &[CustomerId], anew: bool) -> Option<Groups> {
        let several = self.members_of_several();
        let mut resolver = Resolver::new(policy);
        if anew {
            resolver.look_far();
        }
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
    pub(super) fn homes(&self) -> Homes {
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
