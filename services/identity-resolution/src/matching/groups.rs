//! What holds the records of a profile together.

use super::{
    blocking,
    hash::ValueKey,
    store::{Observation, RecordId},
};

/// The records of a profile in groups that hang together by a handle, smallest first: what joins two groups is names and dates,
/// whose weight changes with the population.
pub(super) fn groups(observations: &[Observation]) -> Vec<Vec<RecordId>> {
    let mut group_of: Vec<usize> = (0..observations.len()).collect();
    let mut by_value: rustc_hash::FxHashMap<ValueKey, usize> = rustc_hash::FxHashMap::default();
    for (at, observation) in observations.iter().enumerate() {
        let exclusive = observation.facts.identifiers.iter().map(|i| i.value.key);
        for value in blocking::handle_values(&observation.facts)
            .into_iter()
            .chain(exclusive)
        {
            let Some(&mine) = group_of.get(at) else { continue };
            let with = *by_value.entry(value).or_insert(mine);
            // Few records: relabelling is cheaper than a forest.
            let with = group_of.get(with).copied().unwrap_or(with);
            for group in &mut group_of {
                if *group == mine {
                    *group = with;
                }
            }
        }
    }
    let mut groups: std::collections::BTreeMap<usize, Vec<RecordId>> = std::collections::BTreeMap::new();
    for (observation, group) in observations.iter().zip(group_of) {
        groups.entry(group).or_default().push(observation.record);
    }
    let mut groups: Vec<Vec<RecordId>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    groups
}
