//! Whose is it, by its handles alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Doubt, HashSet, Observation, Question, World,
    contradict::{contradiction, says_otherwise},
};
use crate::domain::{
    customer::Customer,
    handle::{Handle, HandleKey, HandleKind, Trust},
    merge::{Likeness, remains},
    rules::Rules,
};
use trama_proto::ids::CustomerId;

/// What handles alone come to.
pub(super) struct Decision {
    /// `None`: somebody new.
    pub survivor: Option<CustomerId>,
    /// Who becomes an alias, and on which handles alone that rests.
    pub merged: Vec<(CustomerId, Vec<i64>)>,
    pub anchor: Option<HandleKey>,
    pub questions: Vec<Question>,
    /// What led there was no more than a claim: it says who is meant, and nothing else.
    pub by_claim: bool,
}

/// By kind, the different values that are more than a claim.
type Kinds<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

impl World {
    pub(super) fn decide(&self, seen: &Observation, rules: &Rules) -> Decision {
        let mut contradicted: HashSet<CustomerId> = seen.contradicts.iter().map(|c| self.root(*c)).collect();
        // Of whom something was said in this very batch nobody could know before it.
        let grown = seen.handles.iter().filter_map(|h| self.owner(&h.key));
        let grown = grown.filter(|owner| self.grown.contains(&owner.id));
        contradicted.extend(
            grown
                .filter(|c| says_otherwise(&seen.said, c, rules))
                .map(|c| c.id),
        );
        let strong = |h: &&Handle| {
            let learnt = self.link(&h.key).is_some_and(|(_, held)| held.shared);
            h.trust > Trust::Claimed && !rules.joins_nobody(&h.key) && !learnt
        };
        let shown = shown(seen, rules);
        // Owners whose link is more than a claim, shown by a handle that is more than a claim.
        let mut candidates: Vec<(&Handle, &Customer)> = seen
            .handles
            .iter()
            .filter(strong)
            .filter_map(|h| {
                self.link(&h.key)
                    .filter(|(_, held)| held.trust > Trust::Claimed)
                    .map(|(owner, _)| (h, owner))
            })
            .filter(|(_, owner)| !contradicted.contains(&owner.id))
            .filter(|(_, owner)| one_person(&[&shown, &kinds(owner)], rules))
            .collect();
        candidates.sort_by_key(|(h, owner)| {
            (
                std::cmp::Reverse(h.trust),
                rules.priority(&h.key),
                owner.created_at,
                owner.id,
                h.key.clone(),
            )
        });
        if let Some((anchor, _)) = candidates.first() {
            return self.together(anchor.key.clone(), &candidates, shown, rules);
        }
        // Nobody by strong evidence. A handle in use is recognised even if so far it was only claimed; a claimed or
        // shared one only if the delivery shows nothing better.
        let has_strong = seen.handles.iter().any(|h| strong(&h));
        let proven = seen.handles.iter().any(|h| strong(&h) && says_who(h));
        let recognised = seen
            .handles
            .iter()
            .filter(|h| strong(h) || !has_strong)
            .filter_map(|h| self.link(&h.key).map(|(owner, held)| (h, held, owner)))
            // Of a handle that many were seen with nobody knows whose it is this time.
            .filter(|(_, held, _)| !held.shared)
            // Whoever shows who they are is not taken for another of whom their number was only said: they take it.
            .filter(|(_, held, _)| !proven || held.trust > Trust::Claimed)
            // Nor of a name under which anybody can write, until somebody has linked it by hand.
            .filter(|(h, held, _)| h.key.kind != HandleKind::Review || held.trust > Trust::Claimed)
            .filter(|(_, _, owner)| !contradicted.contains(&owner.id))
            .filter(|(_, _, owner)| one_person(&[&shown, &kinds(owner)], rules))
            .min_by_key(|(h, held, owner)| {
                (
                    std::cmp::Reverse(held.trust),
                    owner.created_at,
                    owner.id,
                    h.key.clone(),
                )
            });
        Decision {
            survivor: recognised.map(|(.., owner)| owner.id),
            merged: Vec::new(),
            anchor: recognised.map(|(h, ..)| h.key.clone()),
            questions: Vec::new(),
            by_claim: recognised.is_some_and(|(_, held, _)| held.trust == Trust::Claimed),
        }
    }

    /// The owners of several handles of one delivery are one person, as far as nothing forbids it. What would exceed a
    /// limit does not count: the handle with the lowest priority comes last and is the one that is left out.
    fn together(
        &self,
        anchor: HandleKey,
        candidates: &[(&Handle, &Customer)],
        shown: Kinds<'_>,
        rules: &Rules,
    ) -> Decision {
        let mut group: Vec<&Customer> = Vec::with_capacity(1);
        let mut known = shown;
        let mut questions = Vec::new();
        for (_, owner) in candidates {
            if group.iter().any(|c| c.id == owner.id) {
                continue;
            }
            let theirs = kinds(owner);
            if !one_person(&[&known, &theirs], rules) {
                continue;
            }
            // The handle of the one who is left out is another's from now on: as often as that happens it is learnt that
            // several people use it.
            if let Some((other, words, likeness)) = group.iter().find_map(|c| self.objection(c, owner, rules))
            {
                questions.push(Question {
                    one: other,
                    other: owner.id,
                    doubt: Doubt::Bridge,
                    words: format!("one delivery showed handles of both, but {words}"),
                    likeness,
                });
                continue;
            }
            for (kind, values) in theirs {
                known.entry(kind).or_default().extend(values);
            }
            group.push(owner);
        }
        let survivor = group.iter().copied().reduce(remains).map(|c| c.id);
        let ids: Vec<CustomerId> = group.iter().map(|c| c.id).collect();
        let merged = ids.iter().filter(|id| Some(**id) != survivor);
        Decision {
            survivor,
            merged: merged.map(|id| (*id, rests_on(candidates, &ids, *id))).collect(),
            anchor: Some(anchor),
            questions,
            by_claim: false,
        }
    }

    /// Why handles do not join somebody to one of a group.
    fn objection(
        &self,
        one: &Customer,
        other: &Customer,
        rules: &Rules,
    ) -> Option<(CustomerId, String, Option<Likeness>)> {
        if let Some(words) = self.obstacle(one, other) {
            return Some((one.id, words.to_owned(), None));
        }
        let likeness = contradiction(one, other, rules)?;
        let words = format!("they have {}", likeness.vetoes.join(", "));
        Some((one.id, words, Some(likeness)))
    }

    /// Whether an observation tells a customer nothing that they did not know.
    pub(super) fn shows_nothing_new(&self, id: CustomerId, seen: &Observation) -> bool {
        let handles_known = seen.handles.iter().all(|h| self.owners.contains_key(&h.key));
        handles_known
            && self
                .customers
                .get(&id)
                .is_some_and(|customer| !customer.said().absorb(&seen.said))
    }
}

/// The handles without which one of a group would not be joined to the others: a side that shows one line only rests on it.
fn rests_on(candidates: &[(&Handle, &Customer)], group: &[CustomerId], merged: CustomerId) -> Vec<i64> {
    let of = |theirs: bool| -> Vec<&HandleKey> {
        let shown = candidates.iter();
        let shown = shown.filter(|(_, owner)| group.contains(&owner.id) && (owner.id == merged) == theirs);
        shown.map(|(handle, _)| &handle.key).collect()
    };
    let alone = |side: &Vec<&HandleKey>| side.iter().all(|key| key.same_line(side[0]));
    let sides = [of(true), of(false)].into_iter().filter(alone);
    sides.flatten().map(HandleKey::evidence).collect()
}

/// Whether a handle says by itself who somebody is: possession was proven, or it is the id in the company's books.
fn says_who(handle: &Handle) -> bool {
    handle.trust == Trust::Verified || handle.key.kind == HandleKind::Crm
}

fn shown<'a>(seen: &'a Observation, rules: &Rules) -> Kinds<'a> {
    let mut kinds = Kinds::new();
    for handle in &seen.handles {
        if handle.trust > Trust::Claimed && !rules.joins_nobody(&handle.key) {
            kinds
                .entry(handle.key.kind.as_str())
                .or_default()
                .insert(&handle.key.value);
        }
    }
    kinds
}

fn kinds(customer: &Customer) -> Kinds<'_> {
    let mut kinds = Kinds::new();
    for held in &customer.handles {
        if held.trust > Trust::Claimed && !held.shared {
            kinds
                .entry(held.key.kind.as_str())
                .or_default()
                .insert(&held.key.value);
        }
    }
    kinds
}

/// Whether one person can have all of this: of each kind no more values than the limit, unless they are some side's
/// already.
fn one_person(sides: &[&Kinds<'_>], rules: &Rules) -> bool {
    rules.limits().all(|(kind, limit)| {
        let of = |side: &&Kinds<'_>| side.get(kind).map_or(0, BTreeSet::len);
        let all: BTreeSet<&str> = sides
            .iter()
            .filter_map(|s| s.get(kind))
            .flat_map(|values| values.iter().copied())
            .collect();
        let most = sides.iter().map(of).max().unwrap_or_default();
        all.len() <= limit.max(most)
    })
}
