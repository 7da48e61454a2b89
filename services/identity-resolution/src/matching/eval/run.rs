//! Runs the engine over records.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::matching::{
    Facts, MemoryStore, Observation, Policy, ProfileId, RecordId, Resolver,
    memory::Statistics,
    resolve::{Outcome, ReviewReason},
    store::{Change, Homes, Store as _},
};

/// How records arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One by one, as they stand in the file; nothing is known beforehand.
    Online,
    /// Names, streets and homes are counted in a first pass, decisions are made in a second.
    Batch,
}

/// Records a person should look at, by why, when they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Reviews {
    /// Likely, but not likely enough.
    pub uncertain: usize,
    /// Two profiles fit about as well.
    pub ambiguous: usize,
    /// Likely by weight, but something forbids it.
    pub contradicted: usize,
    /// A limit was reached.
    pub limit: usize,
}

impl Reviews {
    fn count(&mut self, reason: ReviewReason) {
        match reason {
            ReviewReason::Uncertain => self.uncertain += 1,
            ReviewReason::Ambiguous => self.ambiguous += 1,
            ReviewReason::Contradicted => self.contradicted += 1,
            ReviewReason::Limit => self.limit += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn total(self) -> usize {
        self.uncertain + self.ambiguous + self.contradicted + self.limit
    }
}

/// What was changed after a record had been placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LaterChanges {
    /// Profiles that turned out to be one.
    pub merged: usize,
    /// Records that left a profile.
    pub detached: usize,
}

/// Where the records ended.
pub struct Clustering {
    /// The store, for those who want to look closer.
    pub store: MemoryStore,
    /// Profile of each record, in order.
    pub profile_of: Vec<ProfileId>,
    /// Records that a person should look at, when they arrived.
    pub reviews: Reviews,
    /// Profiles that a person should look at in the end, once nothing waits to be looked at again.
    pub open_reviews: Reviews,
    /// What was changed later.
    pub later: LaterChanges,
    /// What was found at homes.
    pub homes: Homes,
    /// How long normalising, deciding and storing took.
    pub resolving: Duration,
    /// How long the rounds of testing everybody again took.
    pub testing_again: Duration,
}

fn profile_id(record: RecordId, attempt: u32) -> ProfileId {
    ProfileId(record.0 | u128::from(attempt) << 64)
}

/// Resolves records one after the other, each in full before the next; then tests everybody again so many times, as the nightly
/// round does. The records are asked for one by one, so that normalising them is part of the time.
#[must_use]
pub fn run(
    mode: Mode,
    count: usize,
    facts_of: impl Fn(usize) -> Facts,
    policy: &Policy,
    rounds: u32,
) -> Clustering {
    match mode {
        Mode::Online => pass(MemoryStore::new(profile_id), count, &facts_of, policy, rounds),
        Mode::Batch => {
            let known: Statistics = pass(MemoryStore::new(profile_id), count, &facts_of, policy, 0)
                .store
                .statistics();
            pass(
                MemoryStore::knowing(profile_id, known),
                count,
                &facts_of,
                policy,
                rounds,
            )
        }
    }
}

fn pass(
    mut store: MemoryStore,
    count: usize,
    facts_of: &impl Fn(usize) -> Facts,
    policy: &Policy,
    rounds: u32,
) -> Clustering {
    let started = Instant::now();
    let mut resolver = Resolver::new(policy);
    let mut reviews = Reviews::default();
    for at in 0..count {
        let decision = resolver.resolve(
            &mut store,
            Observation {
                record: RecordId(at as u128),
                facts: facts_of(at),
            },
        );
        if let Outcome::Review { reason, .. } = decision.outcome {
            reviews.count(reason);
        }
        resolver.drain(&mut store, AT_ONCE);
    }
    resolver.drain(&mut store, usize::MAX);
    let resolving = started.elapsed();
    if rounds > 0 {
        resolver.look_far();
    }
    for _ in 0..rounds {
        let mut tested = FxHashSet::default();
        for profile in store.ids() {
            if !tested.contains(&profile) {
                tested.extend(resolver.test_again(&mut store, profile));
            }
        }
        resolver.drain(&mut store, usize::MAX);
    }
    let testing_again = started.elapsed().saturating_sub(resolving);
    let mut open_reviews = Reviews::default();
    for profile in store.ids() {
        if let Some(reason) = resolver.doubt(&store, profile) {
            open_reviews.count(reason);
        }
    }
    let mut later = LaterChanges::default();
    for change in store.take_changes() {
        match change {
            Change::Opened { .. } | Change::Attached { .. } => {}
            Change::Merged { .. } => later.merged += 1,
            Change::Detached { .. } => later.detached += 1,
        }
    }
    let mut profile_of = vec![ProfileId(0); count];
    for profile in store.profiles() {
        for observation in &profile.observations {
            if let Some(place) = usize::try_from(observation.record.0)
                .ok()
                .and_then(|at| profile_of.get_mut(at))
            {
                *place = profile.id;
            }
        }
    }
    let homes = store.homes();
    Clustering {
        store,
        profile_of,
        reviews,
        open_reviews,
        later,
        homes,
        resolving,
        testing_again,
    }
}

/// Profiles looked at again after each record.
const AT_ONCE: usize = 32;
