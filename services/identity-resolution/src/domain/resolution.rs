//! Whose are the handles of a delivery? None known → somebody new; one → attach; several → one customer, if strong
//! evidence of the same delivery says so.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use trama_proto::ids::{CustomerId, InteractionId, MergeId};
use uuid::Uuid;

use super::{
    customer::{Customer, Held},
    handle::{Handle, HandleKey, HandleKind, Trust, evidence_of_customer},
    merge::{MATCHING, MergeRecord, Reason, merge},
    rules::Rules,
};

/// How old `last_seen` may grow before it is written again: a chat of a hundred lines is one sighting.
const SIGHTING: Duration = Duration::seconds(60);

/// What is known of the customers that a batch may be about.
#[derive(Debug, Default)]
pub struct World {
    customers: HashMap<CustomerId, Customer>,
    owners: HashMap<HandleKey, CustomerId>,
    /// Old ids of customers that were merged.
    aliases: HashMap<CustomerId, CustomerId>,
    /// Pairs that a person parted, smaller id first.
    apart: HashSet<(CustomerId, CustomerId)>,
}

/// What a delivery shows of a person.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The interaction.
    pub interaction: InteractionId,
    /// Valid, unblocked handles, the party's first; each once.
    pub handles: Vec<Handle>,
    /// Name that came along.
    pub display_name: String,
    /// Language that came along.
    pub language: String,
    /// Id of the customer to make if it is nobody known.
    pub new_id: CustomerId,
}

/// What an observation changed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose it is.
    pub customer: CustomerId,
    /// It made the customer.
    pub is_new: bool,
    /// It named a customer who had no name.
    pub named: bool,
    /// The interaction's own evidence.
    pub evidence: i64,
    /// Handles to write: linked, trusted more, or not seen for a while.
    pub sightings: Vec<Held>,
    /// Handles that were only claimed by another customer.
    pub moved: Vec<Moved>,
    /// Merges that it caused.
    pub merges: Vec<MergeRecord>,
}

/// A handle that goes from one who claimed it to one who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub key: HandleKey,
    /// Whose row it was.
    pub from: CustomerId,
    /// Whose it is.
    pub to: CustomerId,
    /// How much it may be believed.
    pub trust: Trust,
    /// The handle that led here.
    pub evidence: i64,
}

struct Decision {
    /// `None`: somebody new.
    survivor: Option<CustomerId>,
    merged: Vec<CustomerId>,
    anchor: Option<HandleKey>,
}

impl World {
    /// Adds a customer as stored, with the ids that lead to it.
    pub fn add(&mut self, customer: Customer, asked_as: &[CustomerId]) {
        for alias in asked_as.iter().filter(|a| **a != customer.id) {
            self.aliases.insert(*alias, customer.id);
        }
        for held in &customer.handles {
            self.owners.insert(held.key.clone(), customer.id);
        }
        self.customers.insert(customer.id, customer);
    }

    /// Two customers that matching must not join.
    pub fn keep_apart(&mut self, one: CustomerId, other: CustomerId) {
        self.apart.insert((one.min(other), one.max(other)));
    }

    /// A customer, by their own id or an old one.
    pub fn get(&self, id: CustomerId) -> Option<&Customer> {
        self.customers.get(&self.root(id))
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: CustomerId) -> Option<&mut Customer> {
        let root = self.root(id);
        self.customers.get_mut(&root)
    }

    /// Takes a customer out.
    pub fn take(&mut self, id: CustomerId) -> Option<Customer> {
        let root = self.root(id);
        self.customers.remove(&root)
    }

    /// Who holds a handle.
    pub fn owner(&self, key: &HandleKey) -> Option<&Customer> {
        self.customers.get(self.owners.get(key)?)
    }

    fn root(&self, id: CustomerId) -> CustomerId {
        let mut id = id;
        while let Some(next) = self.aliases.get(&id) {
            id = *next;
        }
        id
    }

    fn link(&self, key: &HandleKey) -> Option<(&Customer, Trust)> {
        let owner = self.owner(key)?;
        Some((owner, owner.holds(key)?.trust))
    }

    /// Works an observation in.
    pub fn observe(
        &mut self,
        seen: &Observation,
        rules: &Rules,
        now: DateTime<Utc>,
        merge_id: &mut dyn FnMut() -> Uuid,
    ) -> Outcome {
        let decision = self.decide(seen, rules);
        let is_new = decision.survivor.is_none() && !self.customers.contains_key(&self.root(seen.new_id));
        let id = decision.survivor.unwrap_or_else(|| self.root(seen.new_id));
        if is_new {
            let mut customer = Customer::new(id, now);
            customer.profile.display_name.clone_from(&seen.display_name);
            customer.profile.language.clone_from(&seen.language);
            self.customers.insert(id, customer);
        }
        let merges = decision
            .merged
            .iter()
            .filter_map(|m| self.join(id, *m, seen, now, MergeId::new(merge_id())))
            .collect();
        let mut outcome = Outcome {
            customer: id,
            is_new,
            named: false,
            evidence: evidence_of_customer(id),
            sightings: Vec::new(),
            moved: Vec::new(),
            merges,
        };
        // Somebody new is known by the first handle that they get; the others came through it.
        let mut anchor = decision.anchor.map(|a| a.evidence());
        for handle in &seen.handles {
            self.attach(&mut outcome, handle, &mut anchor, seen, rules, now);
        }
        let party = seen
            .handles
            .first()
            .filter(|h| self.owners.get(&h.key) == Some(&id))
            .map(|h| h.key.evidence());
        if let Some(evidence) = party.or(anchor) {
            outcome.evidence = evidence;
        }
        if let Some(customer) = self.customers.get_mut(&id)
            && customer.profile.display_name.is_empty()
            && !seen.display_name.is_empty()
        {
            customer.profile.display_name.clone_from(&seen.display_name);
            outcome.named = true;
        }
        outcome
    }

    fn decide(&self, seen: &Observation, rules: &Rules) -> Decision {
        let strong = |h: &&Handle| h.trust > Trust::Claimed && !rules.is_shared(&h.key);
        let observed_crm: BTreeSet<&str> = seen
            .handles
            .iter()
            .filter(strong)
            .filter(|h| h.key.kind == HandleKind::Crm)
            .map(|h| h.key.value.as_str())
            .collect();
        let fits = |owner: &Customer, crm: &BTreeSet<&str>| {
            let theirs = crm_of(owner);
            theirs.is_empty() || crm.is_empty() || !theirs.is_disjoint(crm)
        };
        // Owners whose link is more than a claim, shown by a handle that is more than a claim.
        let mut candidates: Vec<(&Handle, &Customer)> = seen
            .handles
            .iter()
            .filter(strong)
            .filter_map(|h| {
                self.link(&h.key)
                    .filter(|(_, link)| *link > Trust::Claimed)
                    .map(|(owner, _)| (h, owner))
            })
            .filter(|(_, owner)| fits(owner, &observed_crm))
            .collect();
        candidates.sort_by_key(|(h, owner)| {
            (
                std::cmp::Reverse(h.trust),
                owner.created_at,
                owner.id,
                h.key.clone(),
            )
        });
        if let Some((anchor, first)) = candidates.first() {
            let mut group = vec![*first];
            let mut crm: BTreeSet<&str> = observed_crm.union(&crm_of(first)).copied().collect();
            for (_, owner) in &candidates[1..] {
                let known = group.iter().any(|c| c.id == owner.id);
                let parted = group
                    .iter()
                    .any(|c| self.apart.contains(&(c.id.min(owner.id), c.id.max(owner.id))));
                if !known && !parted && fits(owner, &crm) {
                    crm.extend(crm_of(owner));
                    group.push(owner);
                }
            }
            group.sort_by_key(|c| (c.created_at, c.id));
            return Decision {
                survivor: Some(group[0].id),
                merged: group[1..].iter().map(|c| c.id).collect(),
                anchor: Some(anchor.key.clone()),
            };
        }
        // Nobody by strong evidence. A handle in use is recognised even if so far it was only claimed; a claimed or
        // shared one only if the delivery shows nothing better.
        let has_strong = seen.handles.iter().any(|h| strong(&h));
        let recognised = seen
            .handles
            .iter()
            .filter(|h| strong(h) || !has_strong)
            .filter_map(|h| self.link(&h.key).map(|(owner, link)| (h, link, owner)))
            .filter(|(_, _, owner)| fits(owner, &observed_crm))
            .min_by_key(|(h, link, owner)| {
                (
                    std::cmp::Reverse(*link),
                    owner.created_at,
                    owner.id,
                    h.key.clone(),
                )
            });
        match recognised {
            Some((h, _, owner)) => Decision {
                survivor: Some(owner.id),
                merged: Vec::new(),
                anchor: Some(h.key.clone()),
            },
            None => Decision {
                survivor: None,
                merged: Vec::new(),
                anchor: None,
            },
        }
    }

    fn join(
        &mut self,
        survivor: CustomerId,
        merged: CustomerId,
        seen: &Observation,
        now: DateTime<Utc>,
        id: MergeId,
    ) -> Option<MergeRecord> {
        let kinds: Vec<&str> = seen
            .handles
            .iter()
            .filter(|h| {
                self.owners
                    .get(&h.key)
                    .is_some_and(|o| *o == survivor || *o == merged)
            })
            .map(|h| h.key.kind.as_str())
            .collect();
        let words = format!("one delivery showed {} of both", kinds.join(" and "));
        self.merge(
            survivor,
            merged,
            Reason {
                decided_by: MATCHING,
                words: &words,
            },
            now,
            id,
        )
    }

    /// Makes one customer of two, here; `None` when one of them is not known here.
    pub fn merge(
        &mut self,
        survivor: CustomerId,
        merged: CustomerId,
        reason: Reason<'_>,
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
        Some(merge(id, survivor, lost, reason, now))
    }

    fn attach(
        &mut self,
        outcome: &mut Outcome,
        handle: &Handle,
        anchor: &mut Option<i64>,
        seen: &Observation,
        rules: &Rules,
        now: DateTime<Utc>,
    ) {
        let id = outcome.customer;
        let strong = handle.trust > Trust::Claimed && !rules.is_shared(&handle.key);
        match self.link(&handle.key).map(|(owner, link)| (owner.id, link)) {
            Some((owner, _)) if owner == id => {
                let Some(held) = self.held_mut(id, &handle.key) else {
                    return;
                };
                if handle.trust > held.trust || now - held.last_seen >= SIGHTING {
                    held.trust = held.trust.max(handle.trust);
                    held.last_seen = now;
                    outcome.sightings.push(held.clone());
                }
            }
            // What another has proven or used stays theirs.
            Some((_, link)) if !strong || link > Trust::Claimed => {}
            Some((owner, _)) => {
                let evidence = *anchor.get_or_insert(handle.key.evidence());
                let Some(claimant) = self.customers.get_mut(&owner) else {
                    return;
                };
                let Some(position) = claimant.handles.iter().position(|h| h.key == handle.key) else {
                    return;
                };
                let mut held = claimant.handles.remove(position);
                let from = held.row_owner;
                held.trust = handle.trust;
                held.last_seen = now;
                held.evidence = Some(evidence);
                outcome.moved.push(Moved {
                    key: held.key.clone(),
                    from,
                    to: id,
                    trust: held.trust,
                    evidence,
                });
                self.owners.insert(held.key.clone(), id);
                if let Some(customer) = self.customers.get_mut(&id) {
                    customer.handles.push(held);
                }
            }
            None => {
                let held = Held {
                    key: handle.key.clone(),
                    trust: handle.trust,
                    first_seen: now,
                    last_seen: now,
                    evidence: Some(*anchor.get_or_insert(handle.key.evidence())),
                    via: Some(seen.interaction),
                    row_owner: id,
                };
                outcome.sightings.push(held.clone());
                self.owners.insert(handle.key.clone(), id);
                if let Some(customer) = self.customers.get_mut(&id) {
                    customer.handles.push(held);
                }
            }
        }
    }

    fn held_mut(&mut self, id: CustomerId, key: &HandleKey) -> Option<&mut Held> {
        self.customers
            .get_mut(&id)?
            .handles
            .iter_mut()
            .find(|h| h.key == *key)
    }
}

/// Ids in the company's own books that are more than a claim: two people have two.
fn crm_of(customer: &Customer) -> BTreeSet<&str> {
    customer
        .handles
        .iter()
        .filter(|h| h.key.kind == HandleKind::Crm && h.trust > Trust::Claimed)
        .map(|h| h.key.value.as_str())
        .collect()
}

#[cfg(test)]
mod tests;
