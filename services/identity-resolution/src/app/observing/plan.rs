//! What a batch comes to, decided in memory before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Duration, Utc};
use trama_proto::{
    identity_resolution::v1::{RelationKind, RelationStatus},
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use super::{Decided, Item};
use crate::{
    app::similarity::{Found, Known, values_of_both},
    domain::{
        customer::{Own, Verification},
        handle::{HandleKey, HandleKind},
        ids::ObservationId,
        merge::{MATCHING, MergeRecord},
        resolution::{Joined, Moved, Outcome, Question as Doubtful, World},
        said::Said,
    },
    store::{
        HandleRow, Owner, Worlds,
        handles::Claim,
        proofs::LogEntry,
        relations::{self, Relation},
        similar::Observed,
    },
};

/// What a batch comes to, decided in memory.
#[derive(Default)]
pub struct Plan<'a> {
    pub created: HashSet<CustomerId>,
    pub handles: BTreeMap<(&'a TenantId, HandleKey), HandleRow<'a>>,
    pub moved: Vec<(&'a TenantId, Moved)>,
    pub claims: Vec<(Claim<'a>, i64)>,
    pub merges: Vec<(&'a TenantId, MergeRecord)>,
    /// What is said under ids now.
    pub own: BTreeMap<(&'a TenantId, CustomerId), Written>,
    pub proofs: Vec<(&'a TenantId, CustomerId, Verification)>,
    /// Proofs that are news for the log; a line more of the same login is none.
    pub logins: Vec<(&'a TenantId, CustomerId, LogEntry)>,
    pub owners: Vec<Owner<'a>>,
    pub questions: Vec<(&'a TenantId, Doubtful, DateTime<Utc>)>,
    pub relations: Vec<(&'a TenantId, Relation)>,
    pub keys: BTreeSet<(&'a TenantId, i64, CustomerId)>,
    pub values: BTreeMap<(&'a TenantId, i64), i32>,
    pub said: Vec<Remembered<'a>>,
    pub again: BTreeSet<(&'a TenantId, CustomerId)>,
    pub settled: BTreeMap<(&'a TenantId, CustomerId), (Vec<i64>, i64)>,
    /// The ids of those who are merged, as they were read.
    pub joined: BTreeSet<(&'a TenantId, CustomerId)>,
    /// Customers of the database to which something new is attached.
    pub attached: BTreeSet<(&'a TenantId, CustomerId)>,
    pub decided: Vec<Decided>,
}

/// What is said under an id from now on.
pub struct Written {
    pub own: Own,
    /// What it follows from; 0 for an id that is new.
    pub version: i32,
    /// Of whom it is said.
    pub customer: CustomerId,
}

/// What an observation said, and of whom.
pub struct Remembered<'a> {
    tenant: &'a TenantId,
    /// Which observation.
    pub id: ObservationId,
    member: CustomerId,
    source: String,
    evidence: i64,
    said: Said,
}

impl Remembered<'_> {
    /// The row that keeps it.
    pub fn row(&self) -> Observed<'_> {
        Observed {
            tenant: self.tenant,
            id: self.id,
            member: self.member,
            source: &self.source,
            evidence: self.evidence,
            said: &self.said,
        }
    }
}

/// Decides a batch, in order.
pub fn plan<'a>(
    items: &[Item<'a>],
    worlds: &mut Worlds,
    now: DateTime<Utc>,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Plan<'a> {
    let mut plan = Plan::default();
    for item in items {
        let world = worlds.entry(item.tenant.clone()).or_default();
        let outcome = world.observe(&item.observation, &item.rules, now, new_id);
        plan.created.extend(outcome.created);
        let lifted = plan.take_proof(item, &outcome, world, now);
        plan.note(item, &outcome, world, now);
        plan.weigh(item, &outcome, world);
        if let Some(customer) = world.get(outcome.customer) {
            let context = customer.context_for(&outcome.standing, &item.rules, now, outcome.is_new);
            plan.decided.push(Decided {
                in_doubt: customer.is_in_doubt(&outcome.standing),
                outcome,
                context,
                lifted,
            });
        }
    }
    let created = std::mem::take(&mut plan.created);
    plan.attached.retain(|(_, customer)| !created.contains(customer));
    plan.created = created;
    plan
}

impl<'a> Plan<'a> {
    /// Whether nothing but sightings, and what was said, is to be written.
    pub fn changes_nobody(&self) -> bool {
        let Self {
            created,
            handles: _,
            moved,
            claims,
            merges,
            own,
            proofs,
            logins,
            owners,
            questions,
            relations,
            keys,
            values,
            said: _,
            again,
            settled,
            joined,
            attached,
            decided: _,
        } = self;
        created.is_empty()
            && moved.is_empty()
            && claims.is_empty()
            && merges.is_empty()
            && own.is_empty()
            && proofs.is_empty()
            && logins.is_empty()
            && owners.is_empty()
            && questions.is_empty()
            && relations.is_empty()
            && keys.is_empty()
            && values.is_empty()
            && again.is_empty()
            && settled.is_empty()
            && joined.is_empty()
            && attached.is_empty()
    }

    /// Keeps the proof of identity that the channel gave, unless it is known already. True when it says more than what
    /// was proven before.
    fn take_proof(
        &mut self,
        item: &Item<'a>,
        outcome: &Outcome,
        world: &mut World,
        now: DateTime<Utc>,
    ) -> bool {
        let (Some(proof), Some(customer)) = (&item.proof, world.get_mut(outcome.customer)) else {
            return false;
        };
        // The proof is of who is in the books under that id, not of whom the delivery was given to otherwise.
        if proof
            .crm
            .as_ref()
            .is_some_and(|crm| customer.holds(crm).is_none())
        {
            return false;
        }
        let evidence = proof.crm.as_ref().map_or(outcome.evidence, HandleKey::evidence);
        let proof = Verification {
            evidence,
            ..proof.verification.clone()
        };
        let known = customer.verifications.iter().any(|v| {
            v.method == proof.method
                && v.evidence == proof.evidence
                && v.level >= proof.level
                && v.expires_at >= proof.expires_at
        });
        if proof.level <= 0 || proof.expires_at <= now || known {
            return false;
        }
        let lifted = proof.level > customer.verification(now).map_or(0, |v| v.level);
        let mut as_strong = customer
            .verifications
            .iter()
            .filter(|v| v.expires_at > now && v.level >= proof.level)
            .peekable();
        let repeats = as_strong.peek().is_some();
        let goes_on = as_strong.any(|v| {
            (&v.method, v.evidence, &v.verified_by) == (&proof.method, proof.evidence, &proof.verified_by)
        });
        if !goes_on {
            self.logins
                .push((item.tenant, customer.id, logged(&proof, repeats)));
        }
        self.proofs.push((item.tenant, customer.id, proof.clone()));
        self.attached.insert((item.tenant, customer.id));
        customer.prove(proof);
        lifted
    }

    /// What is to be written.
    fn note(&mut self, item: &Item<'a>, outcome: &Outcome, world: &World, now: DateTime<Utc>) {
        let tenant = item.tenant;
        for held in &outcome.sightings {
            if held.first_seen == now {
                self.attached.insert((tenant, outcome.customer));
            }
            self.handles
                .entry((tenant, held.key.clone()))
                .and_modify(|row| row.held.trust = row.held.trust.max(held.trust))
                .or_insert_with(|| HandleRow {
                    tenant,
                    held: held.clone(),
                    linked_by: None,
                });
        }
        if !outcome.moved.is_empty() {
            self.attached.insert((tenant, outcome.customer));
        }
        self.moved
            .extend(outcome.moved.iter().map(|m| (tenant, m.clone())));
        if !outcome.merges.is_empty()
            && let Some(whole) = world.get(outcome.customer)
        {
            self.joined.extend(whole.members.iter().map(|m| (tenant, m.id)));
        }
        self.merges
            .extend(outcome.merges.iter().map(|m| (tenant, m.clone())));
        let most = i64::from(item.rules.policy().shared_after_customers);
        for key in &outcome.claims {
            self.claims
                .push(((tenant, key.clone(), outcome.evidence_member), most));
            self.suggest(item, outcome, key, world, now);
        }
        let due = now + Duration::hours(i64::from(item.rules.policy().similarity.review_hours));
        self.questions
            .extend(outcome.questions.iter().map(|q| (tenant, q.clone(), due)));
        if outcome.changed
            && let Some(member) = world.get(outcome.customer).and_then(|c| c.member(outcome.member))
        {
            let written = Written {
                own: member.own.clone(),
                version: member.version,
                customer: outcome.customer,
            };
            self.own.insert((tenant, outcome.member), written);
            self.attached.insert((tenant, outcome.customer));
        }
        if let Some(interaction) = item.observation.interaction {
            self.owners.push(Owner {
                tenant,
                interaction,
                customer: outcome.evidence_member,
                evidence: outcome.evidence,
                weak: outcome.standing.is_weak(),
            });
        }
    }

    /// Two who use the same address may live together, or one works for the other.
    fn suggest(
        &mut self,
        item: &Item<'a>,
        outcome: &Outcome,
        key: &HandleKey,
        world: &World,
        now: DateTime<Utc>,
    ) {
        let Some(owner) = world.owner(key).map(|c| c.id).filter(|o| *o != outcome.customer) else {
            return;
        };
        let kind = match &key.kind {
            HandleKind::Email if item.rules.is_role(key) => RelationKind::CompanyContact,
            HandleKind::Email | HandleKind::Phone | HandleKind::Loyalty => RelationKind::Household,
            HandleKind::Whatsapp
            | HandleKind::Webchat
            | HandleKind::Crm
            | HandleKind::Cookie
            | HandleKind::Device
            | HandleKind::Push
            | HandleKind::Social(_)
            | HandleKind::Review
            | HandleKind::Other(_) => return,
        };
        let (one, other) = relations::in_order(owner, outcome.customer, kind);
        let relation = Relation {
            id: relations::id_of(item.tenant, one, other, kind),
            one,
            other,
            kind,
            role: String::new(),
            status: RelationStatus::Suggested,
            evidence: format!("both were seen with the same {}", key.kind.as_str()),
            decided_by: MATCHING.to_owned(),
            created_at: now,
        };
        self.relations.push((item.tenant, relation));
    }

    /// What similarity must know: new keys, new values, whom to look at again.
    fn weigh(&mut self, item: &Item<'a>, outcome: &Outcome, world: &mut World) {
        let tenant = item.tenant;
        let mut joined = world.take_joined();
        if let Some(record) = item.observation.record {
            self.remember(item, outcome, record);
        }
        let Some(policy) = item.rules.similarity() else {
            return;
        };
        if let Some(growth) = &outcome.grown {
            let mut found_by = Found::default();
            // Of a row that is somebody known after all, only what they were not found by before is written: a split
            // writes the rest.
            match joined.iter().position(|j| Some(j.merged) == outcome.created) {
                Some(fresh) => {
                    let Joined {
                        survivor_said: before,
                        merged_said,
                        ..
                    } = joined.swap_remove(fresh);
                    let mut after = before.clone();
                    after.absorb(&merged_said);
                    found_by.add(&Known::of(policy, &before), &Known::of(policy, &after));
                }
                None => {
                    let member = [&growth.member.0, &growth.member.1].map(|s| Known::of(policy, s));
                    found_by.add(&member[0], &member[1]);
                    if growth.member != growth.customer {
                        let customer = [&growth.customer.0, &growth.customer.1].map(|s| Known::of(policy, s));
                        found_by.values.clear();
                        found_by.add(&customer[0], &customer[1]);
                    }
                }
            }
            // Whoever is found by nothing new can meet nobody new.
            if growth.customer.1.names_somebody() && !found_by.keys.is_empty() {
                match item.observation.settled.filter(|_| outcome.created.is_some()) {
                    Some(complete_to) => {
                        let (keys, least) = self
                            .settled
                            .entry((tenant, outcome.customer))
                            .or_insert_with(|| (Vec::new(), complete_to));
                        keys.extend(&found_by.keys);
                        *least = complete_to.min(*least);
                    }
                    None => {
                        self.again.insert((tenant, outcome.customer));
                    }
                }
            }
            self.keys
                .extend(found_by.keys.into_iter().map(|key| (tenant, key, outcome.member)));
            for value in found_by.values {
                self.count(tenant, value, 1);
            }
            if item.observation.record.is_none() && item.observation.said.names_somebody() {
                let id = ObservationId::derived(&[
                    b"said",
                    tenant.as_str().as_bytes(),
                    outcome.member.uuid().as_bytes(),
                    &item.observation.said.encode(),
                ]);
                self.remember(item, outcome, id);
            }
        }
        for joined in joined {
            for value in values_of_both(policy, &joined.survivor_said, &joined.merged_said) {
                self.count(tenant, value, -1);
            }
        }
    }

    /// More, or fewer, customers know a value.
    pub fn count(&mut self, tenant: &'a TenantId, value: i64, more: i32) {
        *self.values.entry((tenant, value)).or_default() += more;
    }

    fn remember(&mut self, item: &Item<'a>, outcome: &Outcome, id: ObservationId) {
        self.said.push(Remembered {
            tenant: item.tenant,
            id,
            member: outcome.member,
            source: item.observation.source.clone(),
            evidence: outcome.evidence,
            said: item.observation.said.clone(),
        });
    }
}

/// How a login stands in the log.
fn logged(proof: &Verification, repeats: bool) -> LogEntry {
    let words = if repeats {
        "logged in while a proof as strong held"
    } else {
        "logged in"
    };
    LogEntry {
        outcome: "proven",
        method: proof.method.clone(),
        level: proof.level,
        subject: proof.verified_by.clone(),
        evidence: words.to_owned(),
        case_id: String::new(),
    }
}
