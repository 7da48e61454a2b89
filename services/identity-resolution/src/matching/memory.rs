//! Profiles in memory: all of them in `trama identity eval`, those that a batch needs when it serves.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::{
    blocking,
    facts::Facts,
    hash::{BlockKey, ValueKey},
    store::{Change, Homes, Observation, Profile, ProfileId, RecordId, Store},
};

/// Gives the id of a profile that begins with a record; the number tells attempts apart when the id is taken.
pub type NewProfileId = fn(RecordId, u32) -> ProfileId;

/// What is known of the whole population.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    population: u64,
    frequencies: FxHashMap<ValueKey, u32>,
    homes: Homes,
}

/// Profiles in memory.
pub struct MemoryStore {
    profiles: FxHashMap<ProfileId, Profile>,
    keys: FxHashMap<BlockKey, Vec<ProfileId>>,
    frequencies: FxHashMap<ValueKey, u32>,
    bans: BTreeSet<(ProfileId, ProfileId)>,
    population: u64,
    homes: Homes,
    /// How many profiles have a key, where that is known of those that are not loaded too.
    holders: FxHashMap<BlockKey, usize>,
    /// What was counted beforehand, and holds whatever is stored here.
    known: Option<Statistics>,
    changes: Vec<Change>,
    new_id: NewProfileId,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new(new_id: NewProfileId) -> Self {
        Self {
            profiles: FxHashMap::default(),
            keys: FxHashMap::default(),
            frequencies: FxHashMap::default(),
            bans: BTreeSet::new(),
            population: 0,
            homes: Homes::default(),
            holders: FxHashMap::default(),
            known: None,
            changes: Vec::new(),
            new_id,
        }
    }

    /// An empty one that already knows the population it will hold.
    #[must_use]
    pub fn knowing(new_id: NewProfileId, known: Statistics) -> Self {
        Self {
            known: Some(known),
            ..Self::new(new_id)
        }
    }

    /// What is known of the whole population, for another store.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            population: self.population,
            frequencies: self.frequencies.clone(),
            homes: self.homes,
        }
    }

    /// Puts a profile that is stored elsewhere where the engine sees it. Counts nothing: population and frequencies are told
    /// by [`Self::set_population`] and [`Self::set_frequency`].
    pub fn load(&mut self, profile: Profile) {
        for key in &profile.keys {
            let holders = self.keys.entry(*key).or_default();
            if !holders.contains(&profile.id) {
                holders.push(profile.id);
            }
        }
        self.profiles.insert(profile.id, profile);
    }

    /// How many profiles there are in all.
    pub fn set_population(&mut self, population: u64) {
        self.population = population;
    }

    /// How many profiles know a value.
    pub fn set_frequency(&mut self, value: ValueKey, profiles: u32) {
        self.frequencies.insert(value, profiles);
    }

    /// How many profiles have a key, loaded or not.
    pub fn set_holders(&mut self, key: BlockKey, profiles: usize) {
        self.holders.insert(key, profiles);
    }

    /// How often people and others were found at home.
    pub fn set_homes(&mut self, homes: Homes) {
        self.homes = homes;
    }

    /// A person said that these two are not the same.
    pub fn ban(&mut self, a: ProfileId, b: ProfileId) {
        self.bans.insert((a.min(b), a.max(b)));
    }

    /// All profiles, by id.
    #[must_use]
    pub fn profiles(&self) -> Vec<&Profile> {
        let mut all: Vec<&Profile> = self.profiles.values().collect();
        all.sort_unstable_by_key(|p| p.id);
        all
    }

    /// Ids of all profiles, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<ProfileId> {
        self.profiles().into_iter().map(|p| p.id).collect()
    }

    /// What was changed since this was last asked, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Brings keys and frequencies of a profile in line with its facts.
    fn index(&mut self, id: ProfileId, before: &Facts) {
        let Some(profile) = self.profiles.get_mut(&id) else {
            return;
        };
        let (old_values, new_values) = (before.counted_values(), profile.facts.counted_values());
        let new_keys = blocking::keys(&profile.facts);
        let old_keys = std::mem::replace(&mut profile.keys, new_keys.clone());
        for_each_only_in(&new_values, &old_values, |v| {
            *self.frequencies.entry(*v).or_default() += 1
        });
        for_each_only_in(&old_values, &new_values, |v| {
            if let Some(n) = self.frequencies.get_mut(v) {
                *n = n.saturating_sub(1);
            }
        });
        for_each_only_in(&new_keys, &old_keys, |k| {
            self.keys.entry(*k).or_default().push(id)
        });
        for_each_only_in(&old_keys, &new_keys, |k| {
            if let Some(holders) = self.keys.get_mut(k) {
                holders.retain(|h| *h != id);
            }
        });
    }

    fn forget(&mut self, id: ProfileId) -> Option<Profile> {
        let profile = self.profiles.remove(&id)?;
        for key in &profile.keys {
            if let Some(holders) = self.keys.get_mut(key) {
                holders.retain(|h| *h != id);
            }
        }
        for value in profile.facts.counted_values() {
            if let Some(n) = self.frequencies.get_mut(&value) {
                *n = n.saturating_sub(1);
            }
        }
        self.population = self.population.saturating_sub(1);
        Some(profile)
    }
}

impl Store for MemoryStore {
    fn population(&self) -> u64 {
        self.known.as_ref().map_or(self.population, |k| k.population)
    }

    fn frequency(&self, value: ValueKey) -> u32 {
        self.known
            .as_ref()
            .map_or(&self.frequencies, |k| &k.frequencies)
            .get(&value)
            .copied()
            .unwrap_or(0)
    }

    fn holders(&self, key: BlockKey, most: usize) -> Option<&[ProfileId]> {
        if self.how_many_have(key) > most {
            return None;
        }
        Some(self.keys.get(&key).map_or(&[], Vec::as_slice))
    }

    fn how_many_have(&self, key: BlockKey) -> usize {
        let loaded = self.keys.get(&key).map_or(0, Vec::len);
        let in_all = self.holders.get(&key).copied();
        in_all.map_or(loaded, |in_all| in_all.max(loaded))
    }

    fn profile(&self, id: ProfileId) -> Option<&Profile> {
        self.profiles.get(&id)
    }

    fn banned(&self, a: ProfileId, b: ProfileId) -> bool {
        !self.bans.is_empty() && self.bans.contains(&(a.min(b), a.max(b)))
    }

    fn homes(&self) -> Homes {
        self.known.as_ref().map_or(self.homes, |k| k.homes)
    }

    fn count_homes(&mut self, found: Homes) {
        self.homes.same += found.same;
        self.homes.apart += found.apart;
    }

    fn open(&mut self, observation: Observation) -> ProfileId {
        let record = observation.record;
        let id = (0..)
            .map(|attempt| (self.new_id)(record, attempt))
            .find(|id| !self.profiles.contains_key(id))
            .expect("the attempts are endless");
        let profile = Profile {
            id,
            facts: observation.facts.clone(),
            observations: vec![observation],
            keys: Vec::new(),
            merges: 0,
        };
        self.profiles.insert(id, profile);
        self.population += 1;
        self.index(id, &Facts::default());
        self.changes.push(Change::Opened { profile: id, record });
        id
    }

    fn attach(&mut self, profile: ProfileId, observation: Observation) -> bool {
        let Some(known) = self.profiles.get_mut(&profile) else {
            return false;
        };
        self.changes.push(Change::Attached {
            profile,
            record: observation.record,
        });
        let before = known.facts.clone();
        let grown = known.facts.absorb(&observation.facts);
        known.observations.push(observation);
        if grown {
            self.index(profile, &before);
        }
        grown
    }

    fn merge(&mut self, winner: ProfileId, loser: ProfileId) {
        let Some(gone) = self.forget(loser) else { return };
        let Some(kept) = self.profiles.get_mut(&winner) else {
            return;
        };
        let before = kept.facts.clone();
        kept.facts.absorb(&gone.facts);
        kept.observations.extend(gone.observations);
        kept.merges += gone.merges + 1;
        self.index(winner, &before);
        // What a person said of the loser holds for the winner.
        let inherited: Vec<_> = self
            .bans
            .iter()
            .filter(|(a, b)| *a == loser || *b == loser)
            .copied()
            .collect();
        for (a, b) in inherited {
            self.ban(winner, if a == loser { b } else { a });
        }
        self.changes.push(Change::Merged { winner, loser });
    }

    fn detach(&mut self, profile: ProfileId, record: RecordId) -> Option<Observation> {
        let known = self.profiles.get_mut(&profile)?;
        let at = known.observations.iter().position(|o| o.record == record)?;
        let taken = known.observations.remove(at);
        if known.observations.is_empty() {
            // Its facts still stand for its keys, so it can be forgotten as it was.
            self.forget(profile);
        } else {
            let before = std::mem::take(&mut known.facts);
            let mut facts = Facts::default();
            for observation in &known.observations {
                facts.absorb(&observation.facts);
            }
            known.facts = facts;
            self.index(profile, &before);
        }
        self.changes.push(Change::Detached { profile, record });
        Some(taken)
    }
}

fn for_each_only_in<T: Ord>(these: &[T], not_those: &[T], mut each: impl FnMut(&T)) {
    let mut others = not_those.iter().peekable();
    for one in these {
        while others.next_if(|o| *o < one).is_some() {}
        if others.peek() != Some(&one) {
            each(one);
        }
    }
}
