//! What an evaluation says, in JSON.

use std::collections::HashMap;

use serde::Serialize;

use super::{
    metrics::{ClusterFigures, Judged, PairFigures, Truth, cluster_figures},
    pairs::blocking_recall,
    run::{Clustering, LaterChanges, Mode, Reviews},
};
use crate::matching::{Facts, Policy, store::Homes};

/// What an evaluation says.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How records arrived.
    pub mode: Mode,
    /// Only pairs across the two files count.
    pub link: bool,
    /// Records.
    pub records: usize,
    /// Which weights decided.
    pub policy: PolicyUsed,
    /// Rounds of testing everybody again after the last record.
    pub rounds: u32,
    /// Precision, recall and F1 of the pairs the engine calls the same, at the policy's fixed threshold.
    pub pairwise: Option<PairFigures>,
    /// Clusters against people.
    pub clusters: Option<ClusterFigures>,
    /// Records left out of the figures, because the truth says that nothing links them.
    pub thin_records_left_out: usize,
    /// The figures with those records.
    pub clusters_with_thin: Option<ClusterFigures>,
    /// Of the true pairs, the share whose records share a blocking key.
    pub blocking_recall: Option<f64>,
    /// Records a person should look at, by why, when they arrived.
    pub review: Reviews,
    /// Their share of all.
    pub review_share: f64,
    /// Profiles a person should still look at in the end, by why: later evidence has answered the rest.
    pub open_review: Reviews,
    /// By the number of records.
    pub open_review_share: f64,
    /// What was changed after a record had been placed.
    pub later: LaterChanges,
    /// What was found at homes, and what follows.
    pub homes: HomesFound,
    /// Profiles at the end.
    pub profiles: usize,
    /// Seconds for normalising, deciding and storing, on one thread.
    pub seconds: f64,
    /// Records per second of that.
    pub records_per_second: f64,
    /// Seconds for the rounds after the last record.
    pub seconds_testing_again: f64,
}

/// Which weights decided.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyUsed {
    /// Their version.
    pub version: String,
    /// `shipped`, or the file.
    pub from: String,
    /// The threshold, in bits: from here on two are the same.
    pub same: f32,
}

/// What was found at homes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HomesFound {
    /// Records that found their own person at home.
    pub same: u64,
    /// Records that found somebody else at home.
    pub apart: u64,
    /// So two people may well live at one address under one surname.
    pub shared: bool,
}

/// What was tried, and what came of it. `facts`, `truth` and `source` are by place of the record.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// How records arrived.
    pub mode: Mode,
    /// `shipped`, or the file of the policy.
    pub policy_from: &'a str,
    /// The policy.
    pub policy: &'a Policy,
    /// Rounds after the last record.
    pub rounds: u32,
    /// Where the records ended.
    pub clustering: &'a Clustering,
    /// What the records say.
    pub facts: &'a [Facts],
    /// Whose they are.
    pub truth: &'a [Option<Truth>],
    /// Which file they came from.
    pub source: &'a [u8],
    /// Only pairs across the two files count.
    pub link: bool,
}

/// Says what came out.
#[must_use]
pub fn report(trial: Trial<'_>) -> Report {
    let Trial {
        mode,
        policy_from: from,
        policy,
        rounds,
        clustering,
        facts,
        truth,
        source,
        link,
    } = trial;
    let records = facts.len();
    let judge = |with_thin: bool| {
        let judged = judged(clustering, truth, source, with_thin);
        (!judged.is_empty()).then(|| cluster_figures(&judged, link))
    };
    let clusters = judge(false);
    let thin = truth.iter().flatten().filter(|t| t.thin).count();
    let reviews = clustering.reviews;
    let seconds = clustering.resolving.as_secs_f64();
    Report {
        mode,
        link,
        records,
        policy: PolicyUsed {
            version: policy.file().version.clone(),
            from: from.to_owned(),
            same: policy.thresholds().same,
        },
        rounds,
        pairwise: clusters.map(|c| c.pairs),
        clusters,
        thin_records_left_out: thin,
        clusters_with_thin: if thin > 0 { judge(true) } else { None },
        blocking_recall: clusters.map(|_| {
            let entities = numbered(truth, false);
            blocking_recall(facts, &entities, |a, b| !link || source.get(a) != source.get(b))
        }),
        review: reviews,
        review_share: reviews.total() as f64 / records.max(1) as f64,
        open_review: clustering.open_reviews,
        open_review_share: clustering.open_reviews.total() as f64 / records.max(1) as f64,
        later: clustering.later,
        homes: homes(clustering.homes, policy),
        profiles: clustering.store.ids().len(),
        seconds,
        records_per_second: records as f64 / seconds.max(1e-9),
        seconds_testing_again: clustering.testing_again.as_secs_f64(),
    }
}

fn homes(found: Homes, policy: &Policy) -> HomesFound {
    HomesFound {
        same: found.same,
        apart: found.apart,
        shared: policy.homes_are_shared(found),
    }
}

/// Numbers for the people of a truth, by place of the record.
#[must_use]
pub fn numbered(truth: &[Option<Truth>], with_thin: bool) -> Vec<Option<u32>> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    truth
        .iter()
        .map(|t| {
            let t = t.as_ref().filter(|t| with_thin || !t.thin)?;
            let next = u32::try_from(numbers.len()).ok()?;
            Some(*numbers.entry(t.entity.as_str()).or_insert(next))
        })
        .collect()
}

fn judged(clustering: &Clustering, truth: &[Option<Truth>], source: &[u8], with_thin: bool) -> Vec<Judged> {
    let mut clusters = HashMap::new();
    numbered(truth, with_thin)
        .into_iter()
        .zip(&clustering.profile_of)
        .zip(source)
        .filter_map(|((entity, profile), source)| {
            let next = u32::try_from(clusters.len()).ok()?;
            Some(Judged {
                entity: entity?,
                cluster: *clusters.entry(*profile).or_insert(next),
                source: *source,
            })
        })
        .collect()
}
