//! What deliveries and records show of people becomes known: a whole batch with a handful of statements.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Duration, TimeDelta, Utc};
use trama_platform::{Error, Tx, timers::TimerSpec};
use trama_proto::{
    common::v1::CustomerContext,
    identity_resolution::v1::{CustomerMerged, RelationKind, RelationStatus},
    ids::{CustomerId, InteractionId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::{
    App,
    similarity::{self, Records, new_keys, new_values, values_of_both},
};
use crate::{
    domain::{
        customer::{Own, Verification},
        handle::{HandleKey, HandleKind},
        ids::ObservationId,
        merge::MergeRecord,
        resolution::{Moved, Observation, Outcome, Question as Doubtful, Verdict, World},
        rules::Rules,
        said::Said,
    },
    error::overtaken,
    store::{
        self, HandleRow, Question, Worlds,
        relations::{self, Relation},
        similar::{News, Observed},
    },
};

/// Looking at customers again: the timer's kind.
pub const REEVALUATE: &str = "reevaluate";
/// How long what came together may take to arrive.
const GATHERING: TimeDelta = TimeDelta::seconds(2);

/// One thing of a batch.
pub struct Item<'a> {
    /// Whose data.
    pub tenant: &'a TenantId,
    /// What holds.
    pub rules: Arc<Rules>,
    /// What it shows.
    pub observation: Observation,
    /// The proof of identity that came with it, for whoever it turns out to be.
    pub proof: Option<Proof>,
}

/// A proof of identity that a channel gave.
#[derive(Debug, Clone)]
pub struct Proof {
    /// What is proven, but for the evidence.
    pub verification: Verification,
    /// The id in the books that it is about.
    pub crm: Option<HandleKey>,
}

/// What became of one thing of a batch.
pub struct Decided {
    /// What changed.
    pub outcome: Outcome,
    /// The customer, right after.
    pub context: CustomerContext,
    /// The proof made the customer's level higher than it was.
    pub lifted: bool,
}

/// What a batch comes to, decided in memory.
#[derive(Default)]
struct Plan<'a> {
    created: HashSet<CustomerId>,
    handles: BTreeMap<(&'a TenantId, HandleKey), HandleRow<'a>>,
    moved: Vec<(&'a TenantId, Moved)>,
    claims: Vec<(store::handles::Claim<'a>, i64)>,
    merges: Vec<(&'a TenantId, MergeRecord)>,
    own: BTreeMap<(&'a TenantId, CustomerId), Own>,
    proofs: Vec<(&'a TenantId, CustomerId, Verification)>,
    owners: Vec<(&'a TenantId, InteractionId, CustomerId, i64)>,
    questions: Vec<(&'a TenantId, Doubtful, DateTime<Utc>)>,
    relations: Vec<(&'a TenantId, Relation)>,
    keys: BTreeSet<(&'a TenantId, i64, CustomerId)>,
    values: Vec<(&'a TenantId, i64, i32)>,
    said: Vec<(&'a TenantId, ObservationId, CustomerId, String, i64, Said)>,
    again: BTreeSet<(&'a TenantId, CustomerId)>,
    /// Customers of the database to which something new is attached.
    attached: BTreeSet<(&'a TenantId, CustomerId)>,
    decided: Vec<Decided>,
}

/// What a round learnt from the database that the next one must respect.
#[derive(Default)]
struct Learnt<'a> {
    apart: HashSet<(&'a TenantId, CustomerId, CustomerId)>,
    full: HashSet<(&'a TenantId, CustomerId)>,
}

impl App {
    /// Works a batch in, in order. Nothing is published: the caller knows what it is all about.
    ///
    /// # Errors
    /// When others keep changing the same customers, or the database is away.
    pub async fn observe(&self, tx: &mut Tx, items: &mut [Item<'_>]) -> Result<Vec<Decided>, Error> {
        let now = tx.now();
        let mut apart: HashSet<(TenantId, CustomerId, CustomerId)> = HashSet::new();
        let mut full: HashSet<(TenantId, CustomerId)> = HashSet::new();
        // Each further round means that another transaction was faster.
        for _ in 0..8 {
            let (mut worlds, homes) = self.worlds(tx, items, now).await?;
            for (tenant, one, other) in &apart {
                worlds.entry(tenant.clone()).or_default().keep_apart(*one, *other);
            }
            for (tenant, customer) in &full {
                worlds.entry(tenant.clone()).or_default().close(*customer);
            }
            let mut plan = plan(items, &mut worlds, now, &mut || tx.new_id());
            plan.values.extend(homes);
            let mut learnt = Learnt::default();
            if let Some(decided) = self.save(tx, plan, &mut learnt, &apart, now).await? {
                return Ok(decided);
            }
            apart.extend(learnt.apart.into_iter().map(|(t, a, b)| (t.clone(), a, b)));
            full.extend(learnt.full.into_iter().map(|(t, c)| (t.clone(), c)));
            metrics::counter!("trama_identity_resolution_overtaken_total").increment(1);
        }
        Err(overtaken())
    }

    /// What a batch would come to. Nothing is written.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn foresee(&self, tx: &mut Tx, items: &mut [Item<'_>]) -> Result<Vec<Decided>, Error> {
        let now = tx.now();
        let (mut worlds, _) = self.worlds(tx, items, now).await?;
        Ok(plan(items, &mut worlds, now, &mut || tx.new_id()).decided)
    }

    /// Everybody whom a batch may be about, and what it shows of homes; notes in each observation what similarity says.
    async fn worlds<'a>(
        &self,
        tx: &mut Tx,
        items: &mut [Item<'a>],
        now: DateTime<Utc>,
    ) -> Result<(Worlds, Vec<(&'a TenantId, i64, i32)>), Error> {
        let mut question = Question::default();
        let mut known = HashSet::new();
        for item in items.iter() {
            // Ids that are derived may be there already.
            if item.observation.handles.is_empty() || item.observation.record.is_some() {
                question.customers.push((item.tenant, item.observation.new_id));
            }
            for handle in &item.observation.handles {
                if known.insert((item.tenant, &handle.key)) {
                    question.handles.push((item.tenant, &handle.key));
                }
            }
        }
        let rules = |tenant: &TenantId| self.rules(tenant);
        let mut worlds = store::load(tx.conn(), &question, &rules, now).await?;
        drop(question);
        let mut records: Vec<Records<'a, '_>> = Vec::new();
        for item in items.iter_mut() {
            let tenant = item.tenant;
            match records.iter_mut().find(|r| r.tenant == tenant) {
                Some(records) => records.observations.push(&mut item.observation),
                None => records.push(Records {
                    tenant,
                    rules: Arc::clone(&item.rules),
                    observations: vec![&mut item.observation],
                }),
            }
        }
        let homes = similarity::judge(tx.conn(), records, &worlds).await?;
        let mut meant = Question::default();
        for item in items.iter() {
            if let Verdict::Same { customer, .. } = &item.observation.verdict {
                meant.customers.push((item.tenant, *customer));
            }
        }
        for (tenant, world) in store::load(tx.conn(), &meant, &rules, now).await? {
            let into = worlds.entry(tenant).or_default();
            world.into_customers().for_each(|customer| into.add(customer));
        }
        Ok((worlds, homes))
    }

    /// Writes a plan. `None`: another transaction was faster, nothing is written, decide again.
    async fn save<'a>(
        &self,
        tx: &mut Tx,
        plan: Plan<'a>,
        learnt: &mut Learnt<'a>,
        known_apart: &HashSet<(TenantId, CustomerId, CustomerId)>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Decided>>, Error> {
        let mut attached = plan.attached;
        if !plan.merges.is_empty() {
            attached.extend(
                plan.merges
                    .iter()
                    .flat_map(|(t, m)| [(*t, m.survivor), (*t, m.merged)])
                    .filter(|(_, id)| !plan.created.contains(id)),
            );
            self.look_before_merging(tx, &plan.merges, learnt, known_apart, now)
                .await?;
            if !learnt.apart.is_empty() || !learnt.full.is_empty() {
                return Ok(None);
            }
        }
        if !attached.is_empty() {
            let customers: Vec<_> = attached.into_iter().collect();
            let alone = !plan.merges.is_empty();
            if !store::lock(tx.conn(), &customers, alone).await?.is_empty() {
                return Ok(None);
            }
        }
        let handles: Vec<HandleRow<'_>> = plan.handles.into_values().collect();
        if !store::put_handles(tx.conn(), &handles).await? {
            return Ok(None);
        }
        store::move_handles(tx.conn(), &plan.moved, now).await?;
        let own: Vec<_> = plan.own.iter().map(|((t, id), own)| (*t, *id, own)).collect();
        store::save_own(tx.conn(), &own, now).await?;
        store::handles::claim(tx.conn(), &plan.claims, now).await?;
        store::merges::save(tx.conn(), &plan.merges, now).await?;
        let proofs: Vec<_> = plan.proofs.iter().map(|(t, id, v)| (*t, *id, v)).collect();
        store::save_verifications(tx.conn(), &proofs).await?;
        store::add_owners(tx.conn(), &plan.owners).await?;
        store::reviews::ask(tx.conn(), &plan.questions, now).await?;
        store::relations::suggest(tx.conn(), &plan.relations).await?;
        let news = News {
            keys: plan.keys.into_iter().collect(),
            values: plan.values,
            observations: plan
                .said
                .iter()
                .map(|(tenant, id, member, source, evidence, said)| Observed {
                    tenant,
                    id: *id,
                    member: *member,
                    source,
                    evidence: *evidence,
                    said,
                })
                .collect(),
            again: plan.again.into_iter().collect(),
        };
        store::similar::save(tx.conn(), &news, now).await?;
        let tenants: BTreeSet<&TenantId> = news.again.iter().map(|(t, _)| *t).collect();
        for tenant in tenants {
            arm(tx, tenant, now);
        }
        Ok(Some(plan.decided))
    }

    /// Learns which of the wanted merges a person or a limit forbids.
    async fn look_before_merging<'a>(
        &self,
        tx: &mut Tx,
        merges: &[(&'a TenantId, MergeRecord)],
        learnt: &mut Learnt<'a>,
        known_apart: &HashSet<(TenantId, CustomerId, CustomerId)>,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let mut by_tenant: BTreeMap<&'a TenantId, Vec<&MergeRecord>> = BTreeMap::new();
        for (tenant, merge) in merges {
            by_tenant.entry(tenant).or_default().push(merge);
        }
        for (tenant, merges) in by_tenant {
            let customers: Vec<CustomerId> = merges.iter().flat_map(|m| [m.survivor, m.merged]).collect();
            let apart = store::merges::apart(tx.conn(), tenant, &customers).await?;
            learnt.apart.extend(
                apart
                    .into_iter()
                    .filter(|(a, b)| !known_apart.contains(&(tenant.clone(), *a, *b)))
                    .map(|(a, b)| (tenant, a, b)),
            );
            let limits = self.rules(tenant).policy().merges;
            let survivors: Vec<CustomerId> = merges.iter().map(|m| m.survivor).collect();
            let made = store::merges::by_matching(tx.conn(), tenant, &survivors, now).await?;
            let mut wanted: HashMap<CustomerId, i64> = HashMap::new();
            for survivor in survivors {
                *wanted.entry(survivor).or_default() += 1;
            }
            for (survivor, more) in wanted {
                let (day, ever) = made.get(&survivor).copied().unwrap_or_default();
                if day + more > i64::from(limits.per_day) || ever + more > i64::from(limits.ever) {
                    metrics::counter!("trama_identity_resolution_merge_limit_total").increment(1);
                    tracing::warn!(%tenant, customer = %survivor, "matching wants to merge into a customer more often than the policy allows");
                    learnt.full.insert((tenant, survivor));
                }
            }
        }
        Ok(())
    }
}

/// Looks at the queue of a tenant again, soon. The key changes with time, so that a steady stream does not put it off.
pub(super) fn arm(tx: &mut Tx, tenant: &TenantId, now: DateTime<Utc>) {
    let slot = now.timestamp() / GATHERING.num_seconds();
    tx.arm(TimerSpec {
        tenant: tenant.clone(),
        kind: REEVALUATE,
        key: slot.to_string(),
        due_at: now + GATHERING,
        payload: serde_json::Value::Null,
    });
}

fn plan<'a>(
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
            let context = customer.context(&item.rules, now, outcome.is_new);
            plan.decided.push(Decided {
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
            && let Some(own) = world.get(outcome.customer).and_then(|c| c.own(outcome.member))
        {
            self.own.insert((tenant, outcome.member), own.clone());
            self.attached.insert((tenant, outcome.customer));
        }
        if let Some(interaction) = item.observation.interaction {
            self.owners
                .push((tenant, interaction, outcome.evidence_member, outcome.evidence));
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
            HandleKind::Email | HandleKind::Phone => RelationKind::Household,
            HandleKind::Whatsapp
            | HandleKind::Webchat
            | HandleKind::Crm
            | HandleKind::Cookie
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
            decided_by: crate::domain::merge::MATCHING.to_owned(),
            created_at: now,
        };
        self.relations.push((item.tenant, relation));
    }

    /// What similarity must know: new keys, new values, whom to look at again.
    fn weigh(&mut self, item: &Item<'a>, outcome: &Outcome, world: &mut World) {
        let tenant = item.tenant;
        let joined = world.take_joined();
        if let Some(record) = item.observation.record {
            self.remember(item, outcome, record);
        }
        let Some(policy) = item.rules.similarity() else {
            return;
        };
        if let Some(growth) = &outcome.grown {
            let mut keys = new_keys(policy, &growth.member);
            if growth.member != growth.customer {
                keys.extend(new_keys(policy, &growth.customer));
            }
            self.keys
                .extend(keys.into_iter().map(|key| (tenant, key, outcome.member)));
            let values = new_values(policy, &growth.customer);
            self.values.extend(values.into_iter().map(|v| (tenant, v, 1)));
            if item.observation.record.is_none() && item.observation.said.names_somebody() {
                let id = ObservationId::derived(&[
                    b"said",
                    tenant.as_str().as_bytes(),
                    outcome.member.uuid().as_bytes(),
                    &item.observation.said.encode(),
                ]);
                self.remember(item, outcome, id);
            }
            if growth.customer.1.names_somebody() {
                self.again.insert((tenant, outcome.customer));
            }
        }
        for (one, other) in joined {
            let both = values_of_both(policy, &one, &other);
            self.values.extend(both.into_iter().map(|v| (tenant, v, -1)));
        }
    }

    fn remember(&mut self, item: &Item<'a>, outcome: &Outcome, id: ObservationId) {
        self.said.push((
            item.tenant,
            id,
            outcome.member,
            item.observation.source.clone(),
            outcome.evidence,
            item.observation.said.clone(),
        ));
    }
}

/// What everybody is told of a merge.
pub(super) fn merged_event(merge: &MergeRecord, survivor: CustomerContext) -> CustomerMerged {
    CustomerMerged {
        merge_id: merge.id.to_string(),
        survivor: Some(survivor),
        merged_customer_id: merge.merged.to_string(),
        reason: merge.reason.clone(),
        merged_at: Some(to_wire(merge.at)),
    }
}
