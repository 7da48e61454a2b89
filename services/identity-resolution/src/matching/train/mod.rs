//! Learning weights from records: with labels when there are some, else by expectation and maximisation, starting from the
//! weights there are. It looks at what the serving engine looks at: records against the profiles they find, one after the other.

mod counts;

use std::collections::HashMap;

use super::{
    Facts, MemoryStore, Observation, Policy, RecordId, Resolver, Scorer, Store,
    policy::{InvalidPolicy, PolicyFile},
    score::Side,
    store::ProfileId,
};
use counts::Counts;

/// How to learn.
#[derive(Debug, Clone)]
pub struct Training {
    /// Of the random pairs; the same seed gives the same weights.
    pub seed: u64,
    /// Rounds of expectation and maximisation; labels need one.
    pub rounds: u32,
    /// Random profiles each record is compared with, to learn what agrees by chance.
    pub random_pairs: u32,
    /// How many observed pairs outweigh what the starting policy says.
    pub faith: f64,
    /// Which of two files each record is from, when the two are linked: then nothing is learnt from pairs within one.
    pub linked: Option<Vec<u8>>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            seed: 1,
            rounds: 3,
            random_pairs: 10,
            faith: 200.0,
            linked: None,
        }
    }
}

/// What was learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Learnt {
    /// Records.
    pub records: usize,
    /// Records with a label.
    pub labelled: usize,
    /// Pairs of a record and a profile that were taken for one person, in the last round.
    pub same_pairs: u64,
    /// Random pairs.
    pub random_pairs: u64,
}

/// Learns. `labels` gives for each record whose it is, or nothing.
///
/// # Errors
/// When what was learnt makes no policy, which pseudo-counts prevent unless the starting policy has none.
pub fn train(
    records: &[Facts],
    labels: &[Option<u32>],
    start: &Policy,
    version: &str,
    how: &Training,
) -> Result<(PolicyFile, Learnt), InvalidPolicy> {
    let mut policy = start.clone();
    let labelled = labels.iter().flatten().count();
    let rounds = if labelled == records.len() { 1 } else { how.rounds };
    let mut learnt = Learnt {
        records: records.len(),
        labelled,
        same_pairs: 0,
        random_pairs: 0,
    };
    for _ in 0..rounds {
        let counts = count(records, labels, &policy, how);
        learnt.same_pairs = counts.same_pairs();
        learnt.random_pairs = counts.random_pairs();
        let mut file = start.file().clone();
        counts.apply(&mut file, how.faith);
        file.version = version.to_owned();
        file.origin = format!(
            "trama identity train, seed {}: {} records, {} labelled, {} rounds, from {}",
            how.seed,
            records.len(),
            labelled,
            rounds,
            start.file().version
        );
        policy = Policy::new(file)?;
    }
    Ok((policy.file().clone(), learnt))
}

fn count(records: &[Facts], labels: &[Option<u32>], policy: &Policy, how: &Training) -> Counts {
    let mut counts = Counts::default();
    let mut store = MemoryStore::new(|record, attempt| ProfileId(record.0 | u128::from(attempt) << 64));
    let mut resolver = Resolver::new(policy);
    let mut random = SplitMix(how.seed);
    // Whose a profile is, by its first labelled record.
    let mut owner: HashMap<ProfileId, u32> = HashMap::new();
    let mut opened: Vec<ProfileId> = Vec::new();
    let mut files = Files::default();
    for (at, facts) in records.iter().enumerate() {
        let label = labels.get(at).copied().flatten();
        let file = how.linked.as_ref().and_then(|files| files.get(at)).copied();
        for candidate in resolver.weigh(&store, facts) {
            if !files.count(candidate.profile, file) {
                continue;
            }
            let score = &candidate.score;
            match label.and_then(|l| owner.get(&candidate.profile).map(|o| *o == l)) {
                Some(same) => counts.labelled(score, same),
                None if score.vetoes.any() => {}
                None => counts.pair(score, 1.0 / (1.0 + f64::from(-score.bits).exp2())),
            }
        }
        let scorer = Scorer::new(policy, &store);
        for _ in 0..how.random_pairs {
            let other = opened
                .get(random.below(opened.len()))
                .and_then(|id| store.profile(*id));
            if let Some(other) = other
                && files.count(other.id, file)
                && (label.is_none() || owner.get(&other.id) != label.as_ref())
            {
                counts.random(&scorer.score(
                    Side { facts, profile: None },
                    Side {
                        facts: &other.facts,
                        profile: Some(other.id),
                    },
                ));
            }
        }
        let decision = resolver.resolve(
            &mut store,
            Observation {
                record: RecordId(at as u128),
                facts: facts.clone(),
            },
        );
        resolver.drain(&mut store, 32);
        if let Some(label) = label {
            owner.entry(decision.profile).or_insert(label);
        }
        files.note(decision.profile, file);
        opened.push(decision.profile);
    }
    counts
}

/// Which files the records of a profile are from, when two are linked.
#[derive(Default)]
struct Files(HashMap<ProfileId, Vec<u8>>);

impl Files {
    /// Whether a pair with this profile counts: it does when something in it is from the other file.
    fn count(&self, profile: ProfileId, file: Option<u8>) -> bool {
        file.is_none_or(|file| {
            self.0
                .get(&profile)
                .is_some_and(|of| of.iter().any(|f| *f != file))
        })
    }

    fn note(&mut self, profile: ProfileId, file: Option<u8>) {
        if let Some(file) = file {
            let of = self.0.entry(profile).or_default();
            if !of.contains(&file) {
                of.push(file);
            }
        }
    }
}

/// A small random number generator whose stream never changes.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}
