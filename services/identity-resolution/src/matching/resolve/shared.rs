//! Handles that turn out to be shared: what stood on them alone stands no more.

use super::Resolver;
use crate::matching::{
    blocking,
    facts::Facts,
    score::{Scorer, Side},
    store::{ProfileId, RecordId, Store},
};

impl Resolver<'_> {
    /// A handle that another named profile holds as well is shared from now on: records that stood on it alone stand no more.
    pub(super) fn look_again_at_shared<S: Store>(&mut self, store: &mut S, profile: ProfileId) {
        let most = self.policy.limits().profiles_per_key;
        let Some(known) = store.profile(profile) else {
            return;
        };
        if known.facts.is_anonymous() {
            return;
        }
        let mut doubtful: Vec<(ProfileId, RecordId)> = Vec::new();
        for value in blocking::handle_values(&known.facts) {
            let holders = store.holders(blocking::handle_key(value), most).unwrap_or(&[]);
            if holders.len() < 2 {
                continue;
            }
            for holder in holders {
                let Some(holding) = store.profile(*holder) else {
                    continue;
                };
                if holding.observations.len() < 2 {
                    continue;
                }
                doubtful.extend(
                    holding
                        .observations
                        .iter()
                        .filter(|o| blocking::handle_values(&o.facts).contains(&value) && is_weak(&o.facts))
                        .map(|o| (*holder, o.record)),
                );
            }
        }
        doubtful.sort_unstable();
        doubtful.dedup();
        for (holder, record) in doubtful {
            if self.still_holds(store, holder, record) {
                continue;
            }
            if let Some(observation) = store.detach(holder, record) {
                store.open(observation);
            }
        }
    }

    fn still_holds<S: Store>(&self, store: &S, profile: ProfileId, record: RecordId) -> bool {
        let Some(known) = store.profile(profile) else {
            return true;
        };
        let mut rest = Facts::default();
        let mut own = None;
        for observation in &known.observations {
            if observation.record == record {
                own = Some(&observation.facts);
            } else {
                rest.absorb(&observation.facts);
            }
        }
        let Some(own) = own else { return true };
        let score = Scorer::new(self.policy, store).score(
            Side {
                facts: own,
                profile: None,
            },
            Side {
                facts: &rest,
                profile: Some(profile),
            },
        );
        score.is_same(self.policy)
    }
}

/// Without a written-out given name and a date of birth a record stands on its handles alone.
pub(super) fn is_weak(facts: &Facts) -> bool {
    facts.births.is_empty() && facts.given_names.iter().all(|g| g.value.is_initial())
}
