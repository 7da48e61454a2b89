//! What becomes of each handle that an observation shows.

use chrono::{DateTime, Utc};
use trama_proto::ids::CustomerId;

use super::{Moved, Observation, Outcome, SIGHTING, World};
use crate::domain::{
    customer::Held,
    handle::{Handle, HandleKey, Trust},
    rules::Rules,
};

impl World {
    pub(super) fn attach(
        &mut self,
        outcome: &mut Outcome,
        handle: &Handle,
        anchor: &mut Option<i64>,
        seen: &Observation,
        rules: &Rules,
        now: DateTime<Utc>,
    ) {
        let id = outcome.customer;
        // Whoever uses what was only claimed to be the customer's is meant, but who says that it is them? What they bring along
        // is as good as the claim, until something else leads to the customer as well.
        let trust = if outcome.by_claim {
            Trust::Claimed
        } else {
            handle.trust
        };
        let strong = trust > Trust::Claimed && !rules.joins_nobody(&handle.key);
        match self
            .link(&handle.key)
            .map(|(owner, held)| (owner.id, held.trust, held.shared))
        {
            Some((owner, ..)) if owner == id => {
                let Some(held) = self.held_mut(id, &handle.key) else {
                    return;
                };
                if trust > held.trust || now - held.last_seen >= SIGHTING {
                    outcome.trusts_more |= trust > held.trust;
                    held.trust = held.trust.max(trust);
                    held.last_seen = now;
                    outcome.sightings.push(held.clone());
                }
            }
            // What another has proven or used stays theirs.
            Some((_, link, shared)) if !strong || link > Trust::Claimed => {
                if !shared {
                    outcome.claims.push(handle.key.clone());
                }
            }
            Some((owner, ..)) => {
                let evidence = *anchor.get_or_insert(handle.key.evidence());
                let Some(claimant) = self.customers.get_mut(&owner) else {
                    return;
                };
                let Some(position) = claimant.handles.iter().position(|h| h.key == handle.key) else {
                    return;
                };
                let mut held = claimant.handles.remove(position);
                let from = held.row_owner;
                held.trust = trust;
                held.last_seen = now;
                held.evidence = Some(evidence);
                held.row_owner = outcome.member;
                held.source.clone_from(&seen.source);
                outcome.moved.push(Moved {
                    key: held.key.clone(),
                    from,
                    to: outcome.member,
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
                    evidence: Some(*anchor.get_or_insert(handle.key.evidence())),
                    via: seen.interaction,
                    source: seen.source.clone(),
                    ..Held::first(handle.key.clone(), trust, outcome.member, now)
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
