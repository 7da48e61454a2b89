//! What the engine needs remembered. [`MemoryStore`](super::MemoryStore) is the one implementation that decides are made over:
//! online it holds what a batch needs, loaded from PostgreSQL, and its [`Change`]s are written back.

use super::{
    facts::Facts,
    hash::{BlockKey, ValueKey},
};

/// A profile: a person or company as the engine knows them. Opaque, given by the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(pub u128);

/// A record: one thing said by one source. Opaque, given by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u128);

/// A record with what it says.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Which record.
    pub record: RecordId,
    /// What it says.
    pub facts: Facts,
}

/// A profile and everything it stands on.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Which.
    pub id: ProfileId,
    /// The union of what the observations say.
    pub facts: Facts,
    /// The observations, in order of arrival.
    pub observations: Vec<Observation>,
    /// Its blocking keys, sorted.
    pub keys: Vec<BlockKey>,
    /// How many merges made it.
    pub merges: u32,
}

/// What a decision changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A profile begins with this record.
    Opened {
        /// The new profile.
        profile: ProfileId,
        /// Its first record.
        record: RecordId,
    },
    /// A record joins a profile.
    Attached {
        /// The profile.
        profile: ProfileId,
        /// The record.
        record: RecordId,
    },
    /// All of one profile moves into another.
    Merged {
        /// Stays.
        winner: ProfileId,
        /// Is gone.
        loser: ProfileId,
    },
    /// A record leaves a profile, because what held it there turned out to be shared.
    Detached {
        /// The profile it leaves.
        profile: ProfileId,
        /// The record.
        record: RecordId,
    },
}

/// How often people who live at one address under one surname turned out to be one person, or clearly two: whether homes are
/// shared in this population at all. Where they are not, a changed given name is a slip; where they are, it is the twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Homes {
    /// Records that found their own person at home: given name and date of birth agree.
    pub same: u64,
    /// Records that found somebody else at home: given name and date of birth contradict.
    pub apart: u64,
}

/// What is asked while deciding, and what is done.
pub trait Store {
    /// How many profiles there are in all, loaded or not.
    fn population(&self) -> u64;
    /// How many profiles know a value.
    fn frequency(&self, value: ValueKey) -> u32;
    /// The profiles with a blocking key, or `None` when there are more than `most`: such a key finds nobody.
    fn holders(&self, key: BlockKey, most: usize) -> Option<&[ProfileId]>;
    /// How many profiles have a blocking key, loaded or not.
    fn how_many_have(&self, key: BlockKey) -> usize;
    /// A profile.
    fn profile(&self, id: ProfileId) -> Option<&Profile>;
    /// A person said that these two are not the same.
    fn banned(&self, a: ProfileId, b: ProfileId) -> bool;
    /// What was found at homes so far.
    fn homes(&self) -> Homes;
    /// Counts what a record found at home.
    fn count_homes(&mut self, found: Homes);
    /// Begins a profile.
    fn open(&mut self, observation: Observation) -> ProfileId;
    /// Adds to a profile. True when it knows something new by it.
    fn attach(&mut self, profile: ProfileId, observation: Observation) -> bool;
    /// Moves all of one profile into another.
    fn merge(&mut self, winner: ProfileId, loser: ProfileId);
    /// Takes a record out of a profile; the profile goes when it was the last.
    fn detach(&mut self, profile: ProfileId, record: RecordId) -> Option<Observation>;
}
