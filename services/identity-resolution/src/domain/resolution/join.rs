//! Several become one customer, in memory.

use chrono::{DateTime, Utc};
use trama_proto::ids::{CustomerId, MergeId};

use super::{Doubt, Joined, Observation, Outcome, Question, World};
use crate::domain::{
    merge::{Likeness, MATCHING, MergeRecord, Reason, merge},
    rules::Rules,
};

impl World {
    /// Somebody new is somebody known after all: a merge like any other, so that it can be undone.
    pub(super) fn join_by_likeness(
        &mut self,
        outcome: &mut Outcome,
        target: CustomerId,
        likeness: Likeness,
        rules: &Rules,
        now: DateTime<Utc>,
        id: MergeId,
    ) {
        let obstacle = match (self.customers.get(&target), self.customers.get(&outcome.customer)) {
            (Some(one), Some(other)) if rules.policy().similarity.joins => self.obstacle(one, other),
            (Some(_), Some(_)) => Some("the policy wants a person to decide"),
            (None, _) | (_, None) => return,
        };
        if let Some(words) = obstacle {
            outcome.questions.push(Question {
                one: target,
                other: outcome.customer,
                doubt: Doubt::Likely,
                words: format!("surely the same, but {words}"),
                likeness: Some(likeness),
            });
            return;
        }
        let words = "what both say of the person is surely of one";
        if let Some(record) = self.join(target, outcome.customer, words, Some(likeness), rules, now, id) {
            outcome.customer = target;
            outcome.is_new = false;
            outcome.merges.push(record);
        }
    }

    pub(super) fn words_of_join(
        &self,
        survivor: CustomerId,
        merged: CustomerId,
        seen: &Observation,
    ) -> String {
        let kinds: Vec<&str> = seen
            .handles
            .iter()
            .filter(|h| {
                let owner = self.owners.get(&h.key);
                owner.is_some_and(|o| *o == survivor || *o == merged)
            })
            .map(|h| h.key.kind.as_str())
            .collect();
        format!("one delivery showed {} of both", kinds.join(" and "))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one decision")]
    pub(super) fn join(
        &mut self,
        survivor: CustomerId,
        merged: CustomerId,
        words: &str,
        likeness: Option<Likeness>,
        rules: &Rules,
        now: DateTime<Utc>,
        id: MergeId,
    ) -> Option<MergeRecord> {
        let reason = Reason {
            decided_by: MATCHING,
            words,
            likeness,
        };
        self.merge(survivor, merged, reason, rules, now, id)
    }

    /// Makes one customer of two, here; `None` when one of them is not known here.
    pub fn merge(
        &mut self,
        survivor: CustomerId,
        merged: CustomerId,
        reason: Reason<'_>,
        rules: &Rules,
        now: DateTime<Utc>,
        id: MergeId,
    ) -> Option<MergeRecord> {
        if survivor == merged || !self.customers.contains_key(&survivor) {
            return None;
        }
        let lost = self.customers.remove(&merged)?;
        for held in &lost.handles {
            self.owners.insert(held.key.clone(), survivor);
        }
        self.aliases.insert(merged, survivor);
        let survivor = self.customers.get_mut(&survivor)?;
        self.joined.push(Joined {
            merged,
            survivor_said: survivor.said(),
            merged_said: lost.said(),
        });
        Some(merge(id, survivor, lost, reason, rules, now))
    }
}
