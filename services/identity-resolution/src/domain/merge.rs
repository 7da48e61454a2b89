//! Merges are edges that can be taken away again.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use trama_proto::ids::{CustomerId, MergeId};

use super::{
    customer::{Customer, Profile},
    handle::{HandleKey, evidence_of_customer},
};

/// Who decides when no person does.
pub const MATCHING: &str = "matching";

/// What is remembered of a merge, so that it can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeRecord {
    /// Its id.
    pub id: MergeId,
    /// Who remained.
    pub survivor: CustomerId,
    /// Who became an alias.
    pub merged: CustomerId,
    /// Agent id, or [`MATCHING`].
    pub decided_by: String,
    /// Why, in words.
    pub reason: String,
    /// Handles of the survivor before.
    pub survivor_handles: Vec<HandleKey>,
    /// Handles of the merged one before.
    pub merged_handles: Vec<HandleKey>,
    /// Customers that were aliases of the merged one before.
    pub merged_aliases: Vec<CustomerId>,
    /// Profile of the survivor before.
    pub survivor_before: Profile,
    /// Profile of the survivor after.
    pub survivor_after: Profile,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why two customers become one.
#[derive(Debug, Clone, Copy)]
pub struct Reason<'a> {
    /// Agent id, or [`MATCHING`].
    pub decided_by: &'a str,
    /// In words, for whoever wants to undo it.
    pub words: &'a str,
}

/// Makes one customer of two. Proofs stay with those who gave them: a merge never lifts the survivor's level.
pub fn merge(
    id: MergeId,
    survivor: &mut Customer,
    merged: Customer,
    reason: Reason<'_>,
    now: DateTime<Utc>,
) -> MergeRecord {
    let keys = |customer: &Customer| customer.handles.iter().map(|h| h.key.clone()).collect::<Vec<_>>();
    let after = survivor.profile.joined(&merged.profile);
    let record = MergeRecord {
        id,
        survivor: survivor.id,
        merged: merged.id,
        decided_by: reason.decided_by.to_owned(),
        reason: reason.words.to_owned(),
        survivor_handles: keys(survivor),
        merged_handles: keys(&merged),
        merged_aliases: Vec::new(),
        survivor_before: survivor.profile.clone(),
        survivor_after: after.clone(),
        at: now,
    };
    survivor.profile = after;
    survivor.handles.extend(merged.handles);
    survivor
        .handles
        .sort_by(|a, b| (a.first_seen, &a.key).cmp(&(b.first_seen, &b.key)));
    record
}

/// What a split gives back to the restored customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Handles.
    pub handles: Vec<HandleKey>,
    /// Evidence by which interactions are theirs.
    pub evidence: Vec<i64>,
}

/// Which of the handles that the survivor holds now belong to the merged side: those it held before, and those
/// that were linked since through one of them, directly or by way of others.
pub fn to_restore(record: &MergeRecord, survivor_now: &Customer) -> Restored {
    let was_merged: HashSet<&HandleKey> = record.merged_handles.iter().collect();
    let was_survivor: HashSet<&HandleKey> = record.survivor_handles.iter().collect();
    let mut handles: Vec<HandleKey> = survivor_now
        .handles
        .iter()
        .map(|h| &h.key)
        .filter(|k| was_merged.contains(k))
        .cloned()
        .collect();
    let mut evidence: HashSet<i64> = record.merged_handles.iter().map(HandleKey::evidence).collect();
    loop {
        let before = handles.len();
        for held in &survivor_now.handles {
            let since = !was_merged.contains(&held.key) && !was_survivor.contains(&held.key);
            let theirs = held.evidence.is_some_and(|e| evidence.contains(&e));
            if since && theirs && evidence.insert(held.key.evidence()) {
                handles.push(held.key.clone());
            }
        }
        if handles.len() == before {
            break;
        }
    }
    let mut evidence: HashSet<i64> = handles.iter().map(HandleKey::evidence).collect();
    evidence.extend(
        record
            .merged_aliases
            .iter()
            .chain([&record.merged])
            .map(|id| evidence_of_customer(*id)),
    );
    let mut evidence: Vec<i64> = evidence.into_iter().collect();
    evidence.sort_unstable();
    Restored { handles, evidence }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use trama_proto::ids::derive;

    use super::*;
    use crate::domain::{
        customer::Held,
        handle::{HandleKind, Trust},
    };

    fn customer(name: &str, handles: &[u8], at: DateTime<Utc>) -> Customer {
        let id = CustomerId::new(derive(&[name.as_bytes()]));
        let mut customer = Customer::new(id, at);
        for handle in handles {
            let key = HandleKey {
                kind: HandleKind::Crm,
                value: handle.to_string(),
            };
            let evidence = Some(key.evidence());
            customer.handles.push(Held {
                key,
                trust: Trust::Observed,
                first_seen: at,
                last_seen: at,
                evidence,
                via: None,
                row_owner: id,
            });
        }
        customer
    }

    fn keys(handles: impl IntoIterator<Item = HandleKey>) -> BTreeSet<HandleKey> {
        handles.into_iter().collect()
    }

    proptest! {
        #[test]
        fn split_after_merge_is_as_before(
            ours in prop::collection::btree_set(0..40_u8, 0..6),
            theirs in prop::collection::btree_set(40..80_u8, 0..6),
            since in prop::collection::vec((80..120_u8, any::<prop::sample::Index>()), 0..6),
        ) {
            let at = DateTime::<Utc>::UNIX_EPOCH;
            let (ours, theirs): (Vec<_>, Vec<_>) = (ours.into_iter().collect(), theirs.into_iter().collect());
            let mut survivor = customer("a", &ours, at);
            let merged = customer("b", &theirs, at);
            let before = (keys(survivor.handles.iter().map(|h| h.key.clone())), keys(merged.handles.iter().map(|h| h.key.clone())));
            let id = MergeId::new(derive(&[b"m"]));
            let record = merge(id, &mut survivor, merged, Reason { decided_by: MATCHING, words: "test" }, at);

            let restored = to_restore(&record, &survivor);
            prop_assert_eq!(&keys(restored.handles), &before.1);

            // What is linked since goes by its own evidence.
            let (mut a, mut b) = before;
            for (value, through) in since {
                let key = HandleKey { kind: HandleKind::Crm, value: value.to_string() };
                if survivor.handles.is_empty() || survivor.holds(&key).is_some() {
                    continue;
                }
                let through = survivor.handles[through.index(survivor.handles.len())].key.clone();
                if b.contains(&through) { b.insert(key.clone()) } else { a.insert(key.clone()) };
                survivor.handles.push(Held {
                    key, trust: Trust::Claimed, first_seen: at, last_seen: at, evidence: Some(through.evidence()), via: None, row_owner: survivor.id,
                });
            }
            prop_assert_eq!(keys(to_restore(&record, &survivor).handles), b);
        }
    }
}
