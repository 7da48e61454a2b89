//! Pairs of records, for those who judge pairs.

use std::collections::{BTreeSet, HashMap};

use super::run::Clustering;
use crate::matching::{Facts, Policy, Scorer, blocking, hash::BlockKey, score::Side};

/// Two records and how far above the policy's threshold they are: from 0 on the engine says that they are one person.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Place of the one.
    pub left: usize,
    /// Place of the other.
    pub right: usize,
    /// Bits above the threshold, moved to the engine's side of 0 when the whole profile decided otherwise than the two records.
    pub score: f32,
    /// Bits above the threshold that the two records have on their own, whatever the profiles around them decided.
    pub alone: f32,
}

/// A key that more records share than this is left out, as the engine leaves out keys that find too many.
const MOST_RECORDS_PER_KEY: usize = 64;
/// The closest to the threshold that a pair of the other side may come.
const BESIDE: f32 = 0.01;

/// The pairs of each profile, and the pairs that share a key and are in two profiles.
#[must_use]
pub fn pairs(clustering: &Clustering, facts: &[Facts], policy: &Policy) -> Vec<Pair> {
    let scorer = Scorer::new(policy, &clustering.store);
    let same = policy.thresholds().same;
    let mut wanted: BTreeSet<(usize, usize)> = BTreeSet::new();
    for profile in clustering.store.profiles() {
        let mut places: Vec<usize> = profile
            .observations
            .iter()
            .filter_map(|o| usize::try_from(o.record.0).ok())
            .collect();
        places.sort_unstable();
        for (at, left) in places.iter().enumerate() {
            wanted.extend(places.iter().skip(at + 1).map(|right| (*left, *right)));
        }
    }
    for holders in by_key(facts)
        .into_values()
        .filter(|h| h.len() <= MOST_RECORDS_PER_KEY)
    {
        for (at, left) in holders.iter().enumerate() {
            wanted.extend(holders.iter().skip(at + 1).map(|right| (*left, *right)));
        }
    }
    wanted
        .into_iter()
        .filter_map(|(left, right)| {
            let (a, b) = (facts.get(left)?, facts.get(right)?);
            let joined = clustering.profile_of.get(left) == clustering.profile_of.get(right);
            let bits = scorer
                .score(
                    Side {
                        facts: a,
                        profile: None,
                    },
                    Side {
                        facts: b,
                        profile: None,
                    },
                )
                .bits
                - same;
            Some(Pair {
                left,
                right,
                alone: bits,
                score: if joined {
                    bits.max(BESIDE)
                } else {
                    bits.min(-BESIDE)
                },
            })
        })
        .collect()
}

/// Of the true pairs, the share whose two records have a key in common, before profiles bridge the others.
#[must_use]
pub fn blocking_recall(
    facts: &[Facts],
    entity_of: &[Option<u32>],
    link: impl Fn(usize, usize) -> bool,
) -> f64 {
    let mut members: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, entity) in entity_of.iter().enumerate() {
        if let Some(entity) = entity {
            members.entry(*entity).or_default().push(at);
        }
    }
    let (mut found, mut all) = (0_u64, 0_u64);
    for places in members.values() {
        let keys: Vec<Vec<BlockKey>> = places
            .iter()
            .map(|at| facts.get(*at).map(blocking::keys).unwrap_or_default())
            .collect();
        for (i, (left, mine)) in places.iter().zip(&keys).enumerate() {
            for (right, theirs) in places.iter().zip(&keys).skip(i + 1) {
                if link(*left, *right) {
                    all += 1;
                    found += u64::from(mine.iter().any(|k| theirs.binary_search(k).is_ok()));
                }
            }
        }
    }
    if all == 0 { 1.0 } else { found as f64 / all as f64 }
}

fn by_key(facts: &[Facts]) -> HashMap<BlockKey, Vec<usize>> {
    let mut holders: HashMap<BlockKey, Vec<usize>> = HashMap::new();
    for (at, facts) in facts.iter().enumerate() {
        for key in blocking::keys(facts) {
            holders.entry(key).or_default().push(at);
        }
    }
    holders
}
