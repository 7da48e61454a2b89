//! Whether what a profile learnt can change anything between it and others.

use super::Resolver;
use crate::matching::{
    blocking,
    hash::BlockKey,
    score::{Scorer, Side},
    store::{ProfileId, Store},
};

impl Resolver<'_> {
    /// Whether a profile that grew by a record must be looked at again. Not when everybody who could be meant by what is new
    /// was weighed for the record already, and is not like the profile with it either: most who come back under another
    /// address are of this kind.
    ///
    /// `before` are the profile's keys without the record, `of_record` the record's own.
    pub(super) fn may_concern_others<S: Store>(
        &self,
        store: &S,
        profile: ProfileId,
        before: &[BlockKey],
        of_record: &[BlockKey],
    ) -> bool {
        let Some(grown) = store.profile(profile) else {
            return false;
        };
        let thresholds = self.policy.thresholds();
        let least = thresholds.review.min(thresholds.same - thresholds.margin);
        let most = self.policy.limits().profiles_per_key;
        let handles = blocking::handle_keys(&grown.facts);
        let scorer = Scorer::new(self.policy, store);
        let own = Side {
            facts: &grown.facts,
            profile: Some(profile),
        };
        let new = grown.keys.iter().filter(|key| before.binary_search(key).is_err());
        for key in new {
            // Of what the record and the profile say together nobody was asked.
            if of_record.binary_search(key).is_err() {
                return true;
            }
            let Some(holders) = store.holders(*key, most) else {
                continue;
            };
            let mut others = holders.iter().filter(|id| **id != profile).peekable();
            if others.peek().is_none() {
                continue;
            }
            // Whose handle it is as well may lose what stood on it alone; and of whom is not loaded nothing is known.
            if handles.contains(key) || store.how_many_have(*key) > holders.len() {
                return true;
            }
            let alike = others.filter_map(|id| store.profile(*id)).any(|other| {
                let theirs = Side {
                    facts: &other.facts,
                    profile: Some(other.id),
                };
                scorer.score(own, theirs).bits >= least
            });
            if alike {
                return true;
            }
        }
        false
    }
}
