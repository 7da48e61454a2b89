//! Order independence: a neighbourhood is taken apart and put together again in an order that does not depend on arrival.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Resolver, shared::is_weak};
use crate::matching::{
    blocking,
    facts::Facts,
    hash::{BlockKey, StableHasher, ValueKey},
    memory::MemoryStore,
    store::{Homes, Observation, Profile, ProfileId, RecordId, Store},
};

/// Profiles that are put together anew at once, and records in them: it costs about the square.
const MOST_PROFILES: usize = 48;
const MOST_RECORDS: usize = 200;
/// Profiles around them that share a handle: they only show whose it is.
const MOST_AROUND: usize = 64;

impl Resolver<'_> {
    /// Puts a profile and everybody it could be the same as together anew by what is known now, the records that say most first,
    /// and changes what comes out otherwise: records leave, join, profiles merge. For the nightly round, when frequencies and
    /// population have moved since the decisions were made. Returns the profiles that need no test of their own any more. [`Self::look_far`] first.
    pub fn test_again<S: Store>(&mut self, store: &mut S, profile: ProfileId) -> Vec<ProfileId> {
        let members = self.neighbourhood(store, profile);
        let mut records: Vec<(ProfileId, Observation)> = Vec::new();
        for id in &members {
            if let Some(known) = store.profile(*id) {
                records.extend(known.observations.iter().map(|o| (*id, o.clone())));
            }
        }
        if records.len() < 2 {
            return members;
        }
        records.sort_by_cached_key(|(_, o)| canonical(&o.facts));
        let clusters = self.put_together(store, &members, &records);
        self.change(store, clusters);
        members
    }

    /// Who could be the same, and who could be the same as those, and so on; nobody who must stay apart from another of them.
    fn neighbourhood<S: Store>(&self, store: &S, profile: ProfileId) -> Vec<ProfileId> {
        let (mut members, mut records) = (vec![profile], 0);
        let mut next = VecDeque::from([profile]);
        while let Some(id) = next.pop_front() {
            let Some(known) = store.profile(id) else { continue };
            records += known.observations.len();
            if records > MOST_RECORDS {
                break;
            }
            for candidate in self
                .candidates(store, &known.facts, &known.keys, Some(id))
                .candidates
            {
                let other = candidate.profile;
                if members.len() < MOST_PROFILES
                    && !members.contains(&other)
                    && !members.iter().any(|m| store.banned(*m, other))
                {
                    members.push(other);
                    next.push_back(other);
                }
            }
        }
        let mut kept = 0;
        members.retain(|id| {
            kept += store.profile(*id).map_or(0, |p| p.observations.len());
            *id == profile || kept <= MOST_RECORDS
        });
        if store
            .profile(profile)
            .is_none_or(|p| p.observations.len() > MOST_RECORDS)
        {
            members.clear();
        }
        members
    }

    /// The records of each profile as it would be, with the profiles they are in now.
    fn put_together<S: Store>(
        &self,
        store: &S,
        members: &[ProfileId],
        records: &[(ProfileId, Observation)],
    ) -> Vec<Cluster> {
        let mut aside = Aside {
            inner: MemoryStore::new(|record, attempt| {
                ProfileId(1 << 127 | u128::from(attempt) << 64 | record.0)
            }),
            outer: store,
        };
        let around = around(store, members, self.policy.limits().profiles_per_key);
        for id in &around {
            if let Some(known) = store.profile(*id) {
                // Without records of its own it is a landmark: nothing can be taken out of it.
                aside.inner.load(Profile {
                    observations: Vec::new(),
                    ..known.clone()
                });
            }
        }
        let mut anew = Resolver::new(self.policy);
        anew.look_far();
        for (place, (_, observation)) in records.iter().enumerate() {
            anew.resolve(
                &mut aside,
                Observation {
                    record: RecordId(place as u128),
                    facts: observation.facts.clone(),
                },
            );
            anew.drain(&mut aside, MOST_PROFILES);
        }
        anew.drain(&mut aside, records.len() * 4);
        let from = |o: &Observation| {
            usize::try_from(o.record.0)
                .ok()
                .and_then(|place| records.get(place))
        };
        aside
            .inner
            .profiles()
            .into_iter()
            .map(|profile| Cluster {
                known: around.contains(&profile.id).then_some(profile.id),
                records: profile
                    .observations
                    .iter()
                    .filter_map(from)
                    .map(|(of, o)| (*of, o.record))
                    .collect(),
            })
            .filter(|cluster| !cluster.records.is_empty())
            .collect()
    }

    /// Makes the store what came out, with as few changes as it takes: the profile that holds most of a cluster keeps its id.
    fn change<S: Store>(&mut self, store: &mut S, mut clusters: Vec<Cluster>) {
        let mut claims: Vec<(usize, usize, ProfileId)> = Vec::new();
        for (at, cluster) in clusters.iter().enumerate() {
            let mut held: BTreeMap<ProfileId, usize> = BTreeMap::new();
            for (of, _) in &cluster.records {
                *held.entry(*of).or_default() += 1;
            }
            claims.extend(held.into_iter().map(|(of, records)| (records, at, of)));
        }
        claims.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut taken: BTreeSet<ProfileId> = BTreeSet::new();
        for (_, at, of) in claims {
            if let Some(cluster) = clusters.get_mut(at)
                && cluster.known.is_none()
                && taken.insert(of)
            {
                cluster.known = Some(of);
            }
        }
        for cluster in &clusters {
            let Some(winner) = cluster.known else { continue };
            let others: BTreeSet<ProfileId> = cluster.records.iter().map(|(of, _)| *of).collect();
            for loser in others.into_iter().filter(|id| *id != winner) {
                let all_of_it = store.profile(loser).is_some_and(|p| {
                    p.observations
                        .iter()
                        .all(|o| cluster.records.iter().any(|(_, record)| *record == o.record))
                });
                let merges = |id| store.profile(id).map_or(0, |p| p.merges);
                if all_of_it && merges(winner) + merges(loser) < self.policy.limits().merges_per_profile {
                    store.merge(winner, loser);
                }
            }
        }
        // Everything that moves leaves first: a profile may lose to one and gain from another.
        let mut moving: Vec<(usize, Observation)> = Vec::new();
        for (at, cluster) in clusters.iter().enumerate() {
            for (of, record) in &cluster.records {
                if Some(*of) != cluster.known
                    && let Some(observation) = store.detach(*of, *record)
                {
                    moving.push((at, observation));
                }
            }
        }
        for (at, observation) in moving {
            let Some(cluster) = clusters.get_mut(at) else {
                continue;
            };
            match cluster.known.filter(|id| store.profile(*id).is_some()) {
                Some(id) => {
                    store.attach(id, observation);
                }
                None => cluster.known = Some(store.open(observation)),
            }
        }
    }
}

/// Records that belong together, each with the profile it is in now; and the profile that they shall be.
struct Cluster {
    known: Option<ProfileId>,
    records: Vec<(ProfileId, RecordId)>,
}

/// Others who hold a handle of these: without them a shared handle would look like somebody's own.
fn around<S: Store>(store: &S, members: &[ProfileId], most: usize) -> BTreeSet<ProfileId> {
    let mut found = BTreeSet::new();
    for known in members.iter().filter_map(|id| store.profile(*id)) {
        for value in blocking::handle_values(&known.facts) {
            let holders = store.holders(blocking::handle_key(value), most).unwrap_or(&[]);
            for holder in holders.iter().filter(|h| !members.contains(h)) {
                if found.len() < MOST_AROUND {
                    found.insert(*holder);
                }
            }
        }
    }
    found
}

/// Who says most comes first: named before nameless, many values before few; what they say decides between equals.
fn canonical(facts: &Facts) -> (bool, std::cmp::Reverse<usize>, u64) {
    let keys = blocking::unplaced_keys(facts);
    let mut hash = StableHasher::new(0);
    for key in &keys {
        hash = hash.bytes(&key.0.to_le_bytes());
    }
    for name in facts.given_names.iter().chain(&facts.surnames) {
        hash = hash.part(&name.value.text);
    }
    (is_weak(facts), std::cmp::Reverse(keys.len()), hash.finish())
}

/// A place to try things: its own profiles, everybody's statistics.
struct Aside<'s, S> {
    inner: MemoryStore,
    outer: &'s S,
}

impl<S: Store> Store for Aside<'_, S> {
    fn population(&self) -> u64 {
        self.outer.population()
    }

    fn frequency(&self, value: ValueKey) -> u32 {
        self.outer.frequency(value)
    }

    fn holders(&self, key: BlockKey, most: usize) -> Option<&[ProfileId]> {
        self.outer.holders(key, most)?;
        self.inner.holders(key, most)
    }

    fn how_many_have(&self, key: BlockKey) -> usize {
        self.outer.how_many_have(key)
    }

    fn profile(&self, id: ProfileId) -> Option<&Profile> {
        self.inner.profile(id)
    }

    fn banned(&self, a: ProfileId, b: ProfileId) -> bool {
        self.outer.banned(a, b)
    }

    fn homes(&self) -> Homes {
        self.outer.homes()
    }

    fn count_homes(&mut self, _found: Homes) {
        // What is tried again was counted when it arrived.
    }

    fn open(&mut self, observation: Observation) -> ProfileId {
        self.inner.open(observation)
    }

    fn attach(&mut self, profile: ProfileId, observation: Observation) -> bool {
        self.inner.attach(profile, observation)
    }

    fn merge(&mut self, winner: ProfileId, loser: ProfileId) {
        self.inner.merge(winner, loser);
    }

    fn detach(&mut self, profile: ProfileId, record: RecordId) -> Option<Observation> {
        self.inner.detach(profile, record)
    }
}
