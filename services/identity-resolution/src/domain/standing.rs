//! For whom a proof holds: not for everybody who is taken for the customer, only for who came by what is the customer's.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1 as wire,
    ids::{CustomerId, InteractionId},
};

use super::{
    customer::{Customer, Held, Verification},
    handle::{HandleKey, Trust, evidence_of_customer},
    rules::Rules,
};

/// What leads from somebody who is there now to the customer whom they are taken for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Handles that they came by, as evidence: delivered from, or proven.
    pub by: BTreeSet<i64>,
    /// The ids under which links of these handles are kept that are more than a claim.
    pub under: BTreeSet<CustomerId>,
    /// In which interaction.
    pub interaction: Option<InteractionId>,
}

impl Standing {
    /// Of whoever is reached by a handle that the customer holds.
    pub fn of_handle(held: &Held, rules: &Rules) -> Self {
        let mut standing = Self::default();
        if stands(held, rules) {
            standing.by.insert(held.key.evidence());
            standing.under.insert(held.row_owner);
        }
        standing
    }

    /// Nothing but a claim, a handle that several people share, or likeness: it says who may be meant, no more.
    pub fn is_weak(&self) -> bool {
        self.under.is_empty()
    }
}

/// Whether a link is enough to believe that whoever comes by the handle is the customer.
pub fn stands(held: &Held, rules: &Rules) -> bool {
    held.trust > Trust::Claimed && !held.shared && !rules.is_shared(&held.key)
}

impl Customer {
    /// The proofs that hold for somebody who is there now. One holds for who comes by the very handle that it rests on, for
    /// who came by another one of the same person, and in the interaction in which it was asked for. What likeness alone
    /// joined is one customer, but nobody's proof.
    pub fn proofs_for(&self, standing: &Standing) -> Vec<Verification> {
        let holds = |proof: &&Verification| {
            let asked = proof.asked_in.is_some() && proof.asked_in == standing.interaction;
            asked
                || standing.by.contains(&proof.evidence)
                || self
                    .home_of(proof)
                    .is_some_and(|home| standing.under.iter().any(|id| self.are_tied(*id, home)))
        };
        self.verifications.iter().filter(holds).cloned().collect()
    }

    /// Whether a proof may hold for others of this customer and not for somebody who is there now.
    pub fn is_in_doubt(&self, standing: &Standing) -> bool {
        let tied = self.tied_to(standing.under.clone());
        !self.ids().iter().all(|id| tied.contains(id))
    }

    /// What everybody downstream needs to know, with the proof that holds for somebody who is there now.
    pub fn context_for(
        &self,
        standing: &Standing,
        rules: &Rules,
        now: DateTime<Utc>,
        is_new: bool,
    ) -> wire::CustomerContext {
        let mut context = self.context(rules, now, is_new);
        if !self.verifications.is_empty() {
            let proofs = self.proofs_for(standing);
            let best = proofs
                .iter()
                .filter(|p| p.expires_at > now)
                .max_by_key(|p| (p.level, p.expires_at));
            context.verification = Some(best.map(Verification::to_wire).unwrap_or_default());
        }
        context
    }

    /// Whether a proof rests on a handle, or on the same line under another kind.
    pub fn is_line(&self, key: &HandleKey, evidence: i64) -> bool {
        let mut same = self.handles.iter().filter(|h| h.key.same_line(key));
        evidence == key.evidence() || same.any(|h| h.key.evidence() == evidence)
    }

    /// Adds proofs that were given before others: of one kind the later one stays, as long as either holds.
    pub fn take_back(&mut self, earlier: Vec<Verification>) {
        for proof in earlier {
            let same = |v: &&mut Verification| v.method == proof.method && v.evidence == proof.evidence;
            match self.verifications.iter_mut().find(same) {
                Some(held) => held.expires_at = held.expires_at.max(proof.expires_at),
                None => self.verifications.push(proof),
            }
        }
    }

    /// The id that a proof is of; `None` when what it rests on is no more than claimed by now.
    fn home_of(&self, proof: &Verification) -> Option<CustomerId> {
        let held = self.handles.iter().find(|h| h.key.evidence() == proof.evidence);
        match held {
            Some(held) => (held.trust > Trust::Claimed).then_some(held.row_owner),
            None => {
                let ids = self.members.iter().map(|m| m.id);
                let of_member = ids.clone().find(|id| evidence_of_customer(*id) == proof.evidence);
                Some(of_member.unwrap_or(self.id))
            }
        }
    }

    /// Whether more than likeness made two ids one.
    fn are_tied(&self, one: CustomerId, other: CustomerId) -> bool {
        one == other || self.tied_to([one].into()).contains(&other)
    }

    /// The ids that more than likeness made one with these, and they.
    fn tied_to(&self, ids: BTreeSet<CustomerId>) -> BTreeSet<CustomerId> {
        let mut open: Vec<CustomerId> = ids.iter().copied().collect();
        let mut reached = ids;
        while let Some(id) = open.pop() {
            for (a, b) in &self.ties {
                for next in [(a, b), (b, a)]
                    .into_iter()
                    .filter(|(from, _)| **from == id)
                    .map(|(_, to)| *to)
                {
                    if reached.insert(next) {
                        open.push(next);
                    }
                }
            }
        }
        reached
    }
}
