//! Precision, recall and the like, as `score.py` counts them.

use std::collections::HashMap;

use serde::Serialize;

/// What is true of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Whose it is.
    pub entity: String,
    /// Nothing in it could link it to anybody.
    pub thin: bool,
}

/// Figures of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairFigures {
    /// Of the pairs that were joined, the share that is right.
    pub precision: f64,
    /// Of the pairs that are right, the share that was joined.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Pairs joined and right.
    pub true_positives: u64,
    /// Pairs joined and wrong.
    pub false_positives: u64,
    /// Pairs right and not joined.
    pub false_negatives: u64,
}

impl PairFigures {
    /// From counts.
    #[must_use]
    pub fn new(joined_right: u64, joined: u64, right: u64) -> Self {
        let share = |a: u64, b: u64| if b == 0 { 1.0 } else { a as f64 / b as f64 };
        let (precision, recall) = (share(joined_right, joined), share(joined_right, right));
        Self {
            precision,
            recall,
            f1: harmonic(precision, recall),
            true_positives: joined_right,
            false_positives: joined - joined_right,
            false_negatives: right - joined_right,
        }
    }
}

/// Figures of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClusterFigures {
    /// Of all pairs within clusters.
    pub pairs: PairFigures,
    /// Clusters that are exactly one person: harmonic mean of both shares.
    pub exact_f1: f64,
    /// Clusters with records of two people or more: each leaks.
    pub over_merged: usize,
    /// People in more than one cluster.
    pub split: usize,
    /// Clusters.
    pub clusters: usize,
    /// People.
    pub entities: usize,
    /// Records in the biggest cluster.
    pub biggest: usize,
}

/// A record as the figures see it.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// Where the engine put it.
    pub cluster: u32,
    /// Where it belongs.
    pub entity: u32,
    /// Which file it came from.
    pub source: u8,
}

/// Counts. With `link` only pairs across the two files count.
#[must_use]
pub fn cluster_figures(records: &[Judged], link: bool) -> ClusterFigures {
    let mut clusters: HashMap<u32, Group> = HashMap::new();
    let mut entities: HashMap<u32, Group> = HashMap::new();
    let mut both: HashMap<(u32, u32), Group> = HashMap::new();
    for r in records {
        clusters.entry(r.cluster).or_default().add(r.source);
        entities.entry(r.entity).or_default().add(r.source);
        both.entry((r.cluster, r.entity)).or_default().add(r.source);
    }
    let (mut of_cluster, mut of_entity): (HashMap<u32, usize>, HashMap<u32, usize>) =
        (HashMap::new(), HashMap::new());
    let mut exact = 0_usize;
    for ((cluster, entity), group) in &both {
        *of_cluster.entry(*cluster).or_default() += 1;
        *of_entity.entry(*entity).or_default() += 1;
        let size = group.size();
        if clusters.get(cluster).map(Group::size) == Some(size)
            && entities.get(entity).map(Group::size) == Some(size)
        {
            exact += 1;
        }
    }
    let pairs = |groups: &mut dyn Iterator<Item = &Group>| groups.map(|g| g.pairs(link)).sum::<u64>();
    let share = |n: usize, of: usize| if of == 0 { 1.0 } else { n as f64 / of as f64 };
    ClusterFigures {
        pairs: PairFigures::new(
            pairs(&mut both.values()),
            pairs(&mut clusters.values()),
            pairs(&mut entities.values()),
        ),
        exact_f1: harmonic(share(exact, clusters.len()), share(exact, entities.len())),
        over_merged: of_cluster.values().filter(|n| **n > 1).count(),
        split: of_entity.values().filter(|n| **n > 1).count(),
        clusters: clusters.len(),
        entities: entities.len(),
        biggest: clusters.values().map(Group::size).max().unwrap_or(0),
    }
}

#[derive(Default)]
struct Group {
    first: u64,
    second: u64,
}

impl Group {
    fn add(&mut self, source: u8) {
        if source == 0 {
            self.first += 1;
        } else {
            self.second += 1;
        }
    }

    fn size(&self) -> usize {
        (self.first + self.second) as usize
    }

    fn pairs(&self, link: bool) -> u64 {
        let all = self.first + self.second;
        if link {
            self.first * self.second
        } else {
            all * all.saturating_sub(1) / 2
        }
    }
}

fn harmonic(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 }
}
