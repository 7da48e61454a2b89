//! Whose are the handles of a delivery? None known → somebody new; one → attach; several → one customer, if strong
//! evidence of the same delivery says so.

mod attach;
mod contradict;
mod decide;
mod join;

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use trama_proto::ids::{CustomerId, InteractionId, MergeId};
use uuid::Uuid;

use super::{
    customer::{Customer, Field, Held, Origin},
    handle::{Handle, HandleKey, Trust, evidence_of_customer},
    ids::ObservationId,
    merge::{Likeness, MergeRecord},
    rules::Rules,
    said::Said,
    standing::{Standing, stands},
    survivorship,
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
    /// Customers into whom matching merged as often as it may.
    full: HashSet<CustomerId>,
    /// The merges made here.
    joined: Vec<Joined>,
    /// Customers of whom something was said here that was not known before.
    grown: HashSet<CustomerId>,
}

/// What was known of the two sides of a merge before it.
#[derive(Debug)]
pub struct Joined {
    /// Who became an alias.
    pub merged: CustomerId,
    /// What was said of who remains.
    pub survivor_said: Said,
    /// What was said of the alias.
    pub merged_said: Said,
}

/// What a delivery or a record shows of a person.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The interaction, if it is one.
    pub interaction: Option<InteractionId>,
    /// The record of another system, if it is one.
    pub record: Option<ObservationId>,
    /// Valid, unblocked handles, the party's first; each once.
    pub handles: Vec<Handle>,
    /// All that it says of the person, handles included.
    pub said: Said,
    /// Fields that it fills; a name and a language of an interaction only where nothing is known.
    pub fields: Vec<(Field, String)>,
    /// Who says it: a channel, `import:crm`.
    pub source: String,
    /// A proof of identity came with it.
    pub verified: bool,
    /// Id of the customer to make if it is nobody known.
    pub new_id: CustomerId,
    /// Customers who cannot be meant, whatever handle they have: what they are called contradicts.
    pub contradicts: HashSet<CustomerId>,
    /// What similarity says, if it was asked.
    pub verdict: Verdict,
    /// Set when that says all there is to say but for customers whom transactions from this one on add: nobody need look at it
    /// again for others.
    pub settled: Option<i64>,
}

/// Who a record is by what it says, beside its handles.
#[derive(Debug, Clone, Default)]
pub enum Verdict {
    /// Nobody that is known, or nobody asked.
    #[default]
    Nobody,
    /// Surely this customer.
    Same {
        /// Who.
        customer: CustomerId,
        /// Why.
        likeness: Likeness,
    },
    /// Perhaps one of these; a person decides.
    Ask {
        /// Why matching does not decide.
        kind: Doubt,
        /// Who it could be, the likeliest first.
        candidates: Vec<(CustomerId, Likeness)>,
    },
}

/// Why a person is asked whether two are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Alike, but not surely the same.
    Likely,
    /// Alike, and something contradicts.
    Contradiction,
    /// One delivery showed handles of both, and something forbids the merge.
    Bridge,
}

/// Two of whom a person shall say whether they are one.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// One.
    pub one: CustomerId,
    /// The other.
    pub other: CustomerId,
    /// Why a person is asked.
    pub doubt: Doubt,
    /// In words.
    pub words: String,
    /// How alike they are.
    pub likeness: Option<Likeness>,
}

/// What an observation changed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose it is.
    pub customer: CustomerId,
    /// Under which of their ids it is kept.
    pub member: CustomerId,
    /// The row that it made; merged at once into `customer` when similarity says so.
    pub created: Option<CustomerId>,
    /// Nobody like this was known.
    pub is_new: bool,
    /// What is said under `member` changed.
    pub changed: bool,
    /// Something is known under `member` that was not known there before.
    pub grown: Option<Growth>,
    /// The interaction's own evidence.
    pub evidence: i64,
    /// The id under which the interaction's own handle is kept.
    pub evidence_member: CustomerId,
    /// Handles to write: linked, trusted more, or not seen for a while.
    pub sightings: Vec<Held>,
    /// Handles that were only claimed by another customer.
    pub moved: Vec<Moved>,
    /// Handles of others that it showed: who is seen with them may share them.
    pub claims: Vec<HandleKey>,
    /// Merges that it caused.
    pub merges: Vec<MergeRecord>,
    /// What a person shall decide.
    pub questions: Vec<Question>,
    /// A handle that the customer had is believed more than before.
    pub trusts_more: bool,
    /// What led here was no more than a claim, or likeness: what comes along is believed no more than that.
    pub by_claim: bool,
    /// Which of the customer's proofs hold for whoever was there.
    pub standing: Standing,
}

impl Outcome {
    /// The merges that others must hear of. Of a row that was made just now nobody has heard: that it is another's is how that one
    /// was recognised.
    pub fn merges_of_others(&self) -> impl Iterator<Item = &MergeRecord> {
        self.merges.iter().filter(|m| Some(m.merged) != self.created)
    }

    /// Whether anything is otherwise than before. That somebody was seen again, or a record came once more, is nothing.
    pub fn is_news(&self) -> bool {
        let linked = |handle: &Held| handle.first_seen == handle.last_seen;
        self.created.is_some()
            || self.changed
            || self.trusts_more
            || self.sightings.iter().any(linked)
            || !(self.moved.is_empty()
                && self.claims.is_empty()
                && self.merges.is_empty()
                && self.questions.is_empty())
    }
}

/// What was said before and is said now.
#[derive(Debug, Clone)]
pub struct Growth {
    /// Under the id that grew.
    pub member: (Said, Said),
    /// Under all ids of the customer.
    pub customer: (Said, Said),
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

impl World {
    /// Adds a customer as stored, with the ids that lead to it. What is here already stays: it may have been changed.
    pub fn add(&mut self, customer: Customer) {
        if self.customers.contains_key(&customer.id) || self.aliases.contains_key(&customer.id) {
            return;
        }
        for alias in customer.members.iter().filter(|m| m.id != customer.id) {
            self.aliases.insert(alias.id, customer.id);
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

    /// A customer into whom matching must not merge any more.
    pub fn close(&mut self, customer: CustomerId) {
        self.full.insert(customer);
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

    /// Everybody, to be put into another world.
    pub fn into_customers(self) -> impl Iterator<Item = Customer> {
        self.customers.into_values()
    }

    /// The merges that were made here since this was last asked.
    pub fn take_joined(&mut self) -> Vec<Joined> {
        std::mem::take(&mut self.joined)
    }

    /// Whether no handle of an observation leads to anybody.
    pub fn knows_nobody(&self, seen: &Observation, rules: &Rules) -> bool {
        self.decide(seen, rules).survivor.is_none() && !self.customers.contains_key(&self.root(seen.new_id))
    }

    /// Who holds a handle.
    pub fn owner(&self, key: &HandleKey) -> Option<&Customer> {
        self.customers.get(self.owners.get(key)?)
    }

    /// Who holds all of the handles of an observation, if it has any.
    pub fn only_owner(&self, seen: &Observation) -> Option<CustomerId> {
        let mut owners = seen.handles.iter().map(|h| self.owner(&h.key).map(|c| c.id));
        let first = owners.next()??;
        owners.all(|owner| owner == Some(first)).then_some(first)
    }

    /// Who an id leads to.
    pub fn root(&self, id: CustomerId) -> CustomerId {
        let mut id = id;
        while let Some(next) = self.aliases.get(&id) {
            id = *next;
        }
        id
    }

    fn link(&self, key: &HandleKey) -> Option<(&Customer, &Held)> {
        let owner = self.owner(key)?;
        Some((owner, owner.holds(key)?))
    }

    /// Why matching may not join two; `None` when it may.
    pub fn obstacle(&self, one: &Customer, other: &Customer) -> Option<&'static str> {
        let parted = one.members.iter().any(|a| {
            let pair = |b: CustomerId| (a.id.min(b), a.id.max(b));
            other.members.iter().any(|b| self.apart.contains(&pair(b.id)))
        });
        if parted {
            Some("a person keeps them apart")
        } else if one.is_protected() && other.is_protected() {
            Some("both are protected")
        } else if self.full.contains(&one.id) || self.full.contains(&other.id) {
            Some("matching merged into one of them as often as the policy allows")
        } else {
            None
        }
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
        let known = decision
            .survivor
            .or_else(|| Some(self.root(seen.new_id)).filter(|id| self.customers.contains_key(id)));
        let alike = match (known, &seen.verdict) {
            (None, Verdict::Same { customer, likeness }) => {
                let id = self.root(*customer);
                self.customers.contains_key(&id).then(|| (id, likeness.clone()))
            }
            (Some(_), Verdict::Same { .. }) | (_, Verdict::Nobody | Verdict::Ask { .. }) => None,
        };
        // Who is recognised by what they say and shows nothing new is simply there again.
        let nothing_new = alike
            .as_ref()
            .is_some_and(|(id, _)| self.shows_nothing_new(*id, seen));
        let id = match (known, &alike) {
            (Some(id), _) => id,
            (None, Some((id, _))) if nothing_new => *id,
            (None, _) => seen.new_id,
        };
        let created = (!self.customers.contains_key(&id)).then_some(id);
        if created.is_some() {
            self.customers.insert(id, Customer::new(id, now));
        }
        let merges = decision
            .merged
            .iter()
            .filter_map(|(m, rests_on)| {
                let words = self.words_of_join(id, *m, seen);
                let mut record = self.join(id, *m, &words, None, rules, now, MergeId::new(merge_id()))?;
                record.rests_on.clone_from(rests_on);
                Some(record)
            })
            .collect();
        let by_claim = decision.by_claim || nothing_new;
        let standing = self.standing(id, seen, created.is_some() && !by_claim, rules);
        let member = decision
            .anchor
            .as_ref()
            .and_then(|key| self.customers.get(&id)?.holds(key))
            .map_or(id, |held| held.row_owner);
        let mut outcome = Outcome {
            customer: id,
            member,
            created,
            is_new: created.is_some(),
            changed: created.is_some(),
            grown: None,
            evidence: evidence_of_customer(id),
            evidence_member: member,
            sightings: Vec::new(),
            moved: Vec::new(),
            claims: Vec::new(),
            merges,
            questions: decision.questions,
            trusts_more: false,
            by_claim,
            standing,
        };
        // Somebody new is known by the first handle that they get; the others came through it.
        let mut anchor = decision.anchor.map(|a| a.evidence());
        for handle in &seen.handles {
            self.attach(&mut outcome, handle, &mut anchor, seen, rules, now);
        }
        self.take_evidence(&mut outcome, anchor, seen);
        self.take_words(&mut outcome, seen, rules, now);
        if let (Some((target, likeness)), false) = (alike, nothing_new) {
            self.join_by_likeness(
                &mut outcome,
                target,
                likeness,
                rules,
                now,
                MergeId::new(merge_id()),
            );
        }
        if let (Verdict::Ask { kind, candidates }, true) = (&seen.verdict, known.is_none()) {
            for (candidate, likeness) in candidates {
                outcome.questions.push(Question {
                    one: outcome.customer,
                    other: self.root(*candidate),
                    doubt: *kind,
                    words: match kind {
                        Doubt::Likely => "alike, but not surely the same".to_owned(),
                        Doubt::Contradiction => likeness.vetoes.join(", "),
                        Doubt::Bridge => "one delivery showed both".to_owned(),
                    },
                    likeness: Some(likeness.clone()),
                });
            }
        }
        outcome
    }

    /// What leads from whoever was there to a customer, by what was known before.
    fn standing(&self, id: CustomerId, seen: &Observation, is_new: bool, rules: &Rules) -> Standing {
        let by = seen.handles.iter().filter(|h| h.trust > Trust::Claimed);
        let own = by
            .clone()
            .filter(|h| !rules.is_shared(&h.key))
            .filter_map(|h| self.link(&h.key))
            .filter(|(owner, held)| owner.id == id && stands(held, rules))
            .map(|(_, held)| held.row_owner);
        // What has no handle is somebody of its own.
        let itself =
            (is_new || seen.handles.is_empty() && self.root(seen.new_id) == id).then_some(seen.new_id);
        let alone = by.filter(|h| {
            let learnt = self.link(&h.key).is_some_and(|(_, held)| held.shared);
            !learnt && !rules.is_shared(&h.key)
        });
        Standing {
            by: alone.map(|h| h.key.evidence()).collect(),
            under: own.chain(itself).collect::<BTreeSet<_>>(),
            interaction: seen.interaction,
        }
    }

    /// The interaction's own evidence: the handle of the party, else the one that led here.
    fn take_evidence(&self, outcome: &mut Outcome, anchor: Option<i64>, seen: &Observation) {
        let party = seen
            .handles
            .first()
            .and_then(|h| self.link(&h.key))
            .filter(|(owner, _)| owner.id == outcome.customer)
            .map(|(_, held)| (held.key.evidence(), held.row_owner));
        match (party, anchor) {
            (Some((evidence, member)), _) => {
                outcome.evidence = evidence;
                outcome.evidence_member = member;
            }
            (None, Some(evidence)) => outcome.evidence = evidence,
            (None, None) => {}
        }
    }

    /// Keeps what the observation says, under the id that its evidence leads to.
    fn take_words(&mut self, outcome: &mut Outcome, seen: &Observation, rules: &Rules, now: DateTime<Utc>) {
        let Some(customer) = self.customers.get_mut(&outcome.customer) else {
            return;
        };
        let known = Field::ALL.map(|field| !customer.profile.value(field).is_empty());
        let origin = || Origin {
            source: seen.source.clone(),
            at: now,
            verified: seen.verified,
            by_hand: false,
        };
        let before = customer.said();
        let Some(own) = customer.own_mut(outcome.member) else {
            return;
        };
        let mut changed = false;
        for (field, value) in &seen.fields {
            // An interaction names who has no name; a record says what holds, unless somebody who is believed more has said it.
            let origin = origin();
            let wanted = match seen.interaction {
                None => survivorship::may_replace(own, *field, &origin, &rules.policy().survivorship),
                Some(_) => !known[*field as usize],
            };
            if wanted && !value.is_empty() {
                changed |= own.say(*field, value, origin);
            }
        }
        let own_before = own.said.clone();
        if own.said.absorb(&seen.said) {
            let mut after = before.clone();
            after.absorb(&seen.said);
            self.grown.insert(outcome.customer);
            outcome.grown = Some(Growth {
                member: (own_before, own.said.clone()),
                customer: (before, after),
            });
        } else {
            // How often it was said is not worth a row.
            own.said = own_before;
        }
        outcome.changed |= changed || outcome.grown.is_some();
        if changed {
            customer.choose(rules);
        }
    }
}

#[cfg(test)]
mod tests;
