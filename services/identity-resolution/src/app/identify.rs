//! Interactions come in, customers come out: a whole batch with a handful of statements.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Duration, Utc};
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    common::v1::{Handle as WireHandle, Interaction, Login},
    identity_resolution::v1::{CustomerChanged, CustomerMerged, InteractionIdentified},
    ids::{CustomerId, InteractionId, TenantId},
    time::{from_wire, to_wire},
};
use uuid::Uuid;

use super::App;
use crate::{
    domain::{
        customer::{Profile, Verification},
        handle::{Handle, HandleKey, HandleKind, Trust},
        merge::MergeRecord,
        resolution::{Moved, Observation, Outcome, World},
        rules::Rules,
    },
    error::overtaken,
    store::{self, HandleRow, NewCustomer, Question, Worlds},
};

/// An interaction as it came, with the envelope that caused it.
pub struct Received<'a> {
    /// The envelope.
    pub envelope: &'a Envelope,
    /// The interaction.
    pub interaction: Interaction,
    /// Its id.
    pub id: InteractionId,
}

struct Seen {
    rules: Arc<Rules>,
    observation: Observation,
}

enum Event {
    Merged(CustomerMerged),
    Identified(Box<InteractionIdentified>),
    Changed(CustomerChanged),
}

/// What a batch comes to, decided in memory.
#[derive(Default)]
struct Plan<'a> {
    new_customers: Vec<(&'a TenantId, NewCustomer)>,
    handles: BTreeMap<(&'a TenantId, HandleKey), HandleRow<'a>>,
    moved: Vec<(&'a TenantId, Moved)>,
    merges: Vec<(&'a TenantId, MergeRecord)>,
    profiles: BTreeMap<(&'a TenantId, CustomerId), Profile>,
    proofs: Vec<(&'a TenantId, CustomerId, Verification)>,
    owners: Vec<(&'a TenantId, InteractionId, CustomerId, i64)>,
    /// Customers of the database to which something new is attached.
    attached: BTreeSet<(&'a TenantId, CustomerId)>,
    events: Vec<(usize, String, Event)>,
}

impl App {
    /// Says who each interaction of a batch comes from.
    ///
    /// # Errors
    /// When others keep changing the same customers, or the database is away.
    pub async fn identify(&self, tx: &mut Tx, batch: &[Received<'_>]) -> Result<(), Error> {
        let now = tx.now();
        let mut rules: HashMap<&TenantId, Arc<Rules>> = HashMap::new();
        let seen: Vec<Seen> = batch
            .iter()
            .map(|received| {
                let tenant = &received.envelope.tenant;
                let rules = Arc::clone(rules.entry(tenant).or_insert_with(|| self.rules(tenant)));
                let observation = observation(received, &rules, tx);
                Seen { rules, observation }
            })
            .collect();
        let question = question(batch, &seen);
        let mut parted: HashSet<(&TenantId, CustomerId, CustomerId)> = HashSet::new();
        // Each further round means that another transaction was faster.
        for _ in 0..6 {
            let mut worlds = store::load(tx.conn(), &question, now).await?;
            for (tenant, one, other) in &parted {
                worlds
                    .entry((*tenant).clone())
                    .or_default()
                    .keep_apart(*one, *other);
            }
            let plan = plan(batch, &seen, &mut worlds, now, &mut || tx.new_id());
            if save(tx, plan, batch, &mut parted, now).await? {
                return Ok(());
            }
            metrics::counter!("trama_identity_resolution_overtaken_total").increment(1);
        }
        Err(overtaken())
    }
}

fn question<'a>(batch: &'a [Received<'_>], seen: &'a [Seen]) -> Question<'a> {
    let mut question = Question::default();
    let mut known = HashSet::new();
    for (received, seen) in batch.iter().zip(seen) {
        let tenant = &received.envelope.tenant;
        if seen.observation.handles.is_empty() {
            question.customers.push((tenant, seen.observation.new_id));
        }
        for handle in &seen.observation.handles {
            if known.insert((tenant, &handle.key)) {
                question.handles.push((tenant, &handle.key));
            }
        }
    }
    question
}

/// What an interaction shows: valid and unblocked handles, each once, the party's first.
fn observation(received: &Received<'_>, rules: &Rules, tx: &Tx) -> Observation {
    let interaction = &received.interaction;
    let mut handles: Vec<Handle> = Vec::with_capacity(2 + interaction.also_known_as.len());
    let mut add = |wire: &WireHandle, unsaid: Trust| {
        let Ok(key) = HandleKey::normalise(&wire.kind, &wire.value, &rules.policy().default_country_code)
        else {
            metrics::counter!("trama_identity_resolution_handles_refused_total", "reason" => "invalid")
                .increment(1);
            return;
        };
        let trust = Trust::from_wire(wire.trust(), unsaid);
        let implied = key.implied();
        for key in [Some(key), implied].into_iter().flatten() {
            if rules.is_blocked(&key) {
                metrics::counter!("trama_identity_resolution_handles_refused_total", "reason" => "blocked")
                    .increment(1);
            } else if let Some(known) = handles.iter_mut().find(|h| h.key == key) {
                known.trust = known.trust.max(trust);
            } else {
                handles.push(Handle { key, trust });
            }
        }
    };
    if let Some(party) = &interaction.party {
        add(party, Trust::Observed);
    }
    for handle in &interaction.also_known_as {
        add(handle, Trust::Claimed);
    }
    // The subject of a login is the id in the company's books, unless the channel named that itself.
    let subject = interaction
        .login
        .as_ref()
        .map(|l| l.subject.as_str())
        .unwrap_or_default();
    if !subject.is_empty()
        && !interaction
            .also_known_as
            .iter()
            .chain(&interaction.party)
            .any(|h| h.kind == "crm")
    {
        let trust = trama_proto::common::v1::Trust::Verified as i32;
        add(
            &WireHandle {
                kind: "crm".into(),
                value: subject.to_owned(),
                trust,
            },
            Trust::Verified,
        );
    }
    // Without any handle, the customer is the interaction's own: later revisions of it find the same one.
    let new_id = if handles.is_empty() {
        let tenant = received.envelope.tenant.as_str().as_bytes();
        CustomerId::derived(&[b"customer of interaction", tenant, received.id.uuid().as_bytes()])
    } else {
        CustomerId::new(tx.new_id())
    };
    Observation {
        interaction: received.id,
        handles,
        display_name: interaction.display_name.trim().chars().take(200).collect(),
        language: interaction.language.clone(),
        new_id,
    }
}

fn plan<'a>(
    batch: &'a [Received<'_>],
    all: &[Seen],
    worlds: &mut Worlds,
    now: DateTime<Utc>,
    new_id: &mut dyn FnMut() -> Uuid,
) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut created: HashSet<CustomerId> = HashSet::new();
    for (position, (received, seen)) in batch.iter().zip(all).enumerate() {
        let tenant = &received.envelope.tenant;
        let world = worlds.entry(tenant.clone()).or_default();
        let outcome = world.observe(&seen.observation, &seen.rules, now, new_id);
        if outcome.is_new {
            created.insert(outcome.customer);
            let (display_name, language) = (
                seen.observation.display_name.clone(),
                seen.observation.language.clone(),
            );
            plan.new_customers.push((
                tenant,
                NewCustomer {
                    id: outcome.customer,
                    display_name,
                    language,
                },
            ));
        }
        let lifted = match proof(received, seen, &outcome, world, now) {
            None => false,
            Some(proof) => {
                plan.proofs.push((tenant, outcome.customer, proof.clone()));
                plan.attached.insert((tenant, outcome.customer));
                world.get_mut(outcome.customer).is_some_and(|customer| {
                    let before = customer.verification(now).map_or(0, |v| v.level);
                    let lifted = proof.level > before;
                    customer.prove(proof);
                    lifted
                })
            }
        };
        plan.note(tenant, received.id, &outcome, world);
        plan.tell(position, received, &seen.rules, outcome, world, lifted, now);
    }
    plan.attached.retain(|(_, customer)| !created.contains(customer));
    plan
}

/// The proof of identity that the channel gave, unless it is known already.
fn proof(
    received: &Received<'_>,
    seen: &Seen,
    outcome: &Outcome,
    world: &World,
    now: DateTime<Utc>,
) -> Option<Verification> {
    let login: &Login = received.interaction.login.as_ref()?;
    let customer = world.get(outcome.customer)?;
    // The proof is of who is in the books under that id, not of whom the delivery was given to otherwise.
    let crm = seen
        .observation
        .handles
        .iter()
        .find(|h| h.key.kind == HandleKind::Crm);
    if crm.is_some_and(|h| customer.holds(&h.key).is_none()) {
        return None;
    }
    let hours = i64::from(seen.rules.policy().verification_hours);
    let proof = Verification {
        level: seen.rules.login_level(&received.interaction.channel),
        method: if login.method.is_empty() {
            "site_login".to_owned()
        } else {
            login.method.clone()
        },
        verified_by: received.interaction.channel.clone(),
        verified_at: now,
        expires_at: from_wire(login.expires_at.as_ref()).unwrap_or(now + Duration::hours(hours)),
        evidence: crm.map_or(outcome.evidence, |h| h.key.evidence()),
    };
    let known = customer.verifications.iter().any(|v| {
        v.method == proof.method
            && v.evidence == proof.evidence
            && v.level >= proof.level
            && v.expires_at >= proof.expires_at
    });
    (proof.level > 0 && proof.expires_at > now && !known).then_some(proof)
}

impl<'a> Plan<'a> {
    /// What is to be written.
    fn note(&mut self, tenant: &'a TenantId, interaction: InteractionId, outcome: &Outcome, world: &World) {
        for held in &outcome.sightings {
            if held.via == Some(interaction) {
                self.attached.insert((tenant, held.row_owner));
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
        self.attached.extend(outcome.moved.iter().map(|m| (tenant, m.to)));
        self.moved
            .extend(outcome.moved.iter().map(|m| (tenant, m.clone())));
        self.merges
            .extend(outcome.merges.iter().map(|m| (tenant, m.clone())));
        if (outcome.named || !outcome.merges.is_empty())
            && let Some(customer) = world.get(outcome.customer)
        {
            self.profiles
                .insert((tenant, customer.id), customer.profile.clone());
        }
        self.owners
            .push((tenant, interaction, outcome.customer, outcome.evidence));
    }

    /// What everybody is told, a merge before the interaction that it is about.
    #[expect(clippy::too_many_arguments, reason = "the parts of one sentence")]
    fn tell(
        &mut self,
        position: usize,
        received: &Received<'_>,
        rules: &Rules,
        outcome: Outcome,
        world: &World,
        lifted: bool,
        now: DateTime<Utc>,
    ) {
        let Some(customer) = world.get(outcome.customer) else {
            return;
        };
        let key = customer.id.to_string();
        let context = customer.context(rules, now, outcome.is_new);
        for merge in outcome.merges {
            let event = CustomerMerged {
                merge_id: merge.id.to_string(),
                survivor: Some(context.clone()),
                merged_customer_id: merge.merged.to_string(),
                reason: merge.reason,
                merged_at: Some(to_wire(merge.at)),
            };
            self.events.push((position, key.clone(), Event::Merged(event)));
        }
        let interaction = Some(received.interaction.clone());
        let identified = InteractionIdentified {
            interaction,
            customer: Some(context.clone()),
        };
        self.events
            .push((position, key.clone(), Event::Identified(Box::new(identified))));
        if lifted {
            let changed = CustomerChanged {
                customer: Some(context),
                changed_fields: vec!["verification".to_owned()],
            };
            self.events.push((position, key, Event::Changed(changed)));
        }
    }
}

/// Writes a plan and publishes it. `false`: another transaction was faster, nothing is written, decide again.
async fn save<'a>(
    tx: &mut Tx,
    plan: Plan<'a>,
    batch: &'a [Received<'_>],
    parted: &mut HashSet<(&'a TenantId, CustomerId, CustomerId)>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Plan {
        new_customers,
        handles,
        moved,
        mut merges,
        profiles,
        proofs,
        owners,
        mut attached,
        events,
    } = plan;
    if !merges.is_empty() {
        let mut by_tenant: BTreeMap<&TenantId, Vec<CustomerId>> = BTreeMap::new();
        for (tenant, merge) in &merges {
            by_tenant
                .entry(tenant)
                .or_default()
                .extend([merge.survivor, merge.merged]);
            attached.extend([(*tenant, merge.survivor), (*tenant, merge.merged)]);
        }
        let known = parted.len();
        for (tenant, customers) in by_tenant {
            let apart = store::merges::apart(tx.conn(), tenant, &customers).await?;
            parted.extend(apart.into_iter().map(|(one, other)| (tenant, one, other)));
        }
        if parted.len() > known {
            return Ok(false);
        }
    }
    if !attached.is_empty() {
        let customers: Vec<_> = attached.into_iter().collect();
        if !store::lock(tx.conn(), &customers, !merges.is_empty())
            .await?
            .is_empty()
        {
            return Ok(false);
        }
    }
    let handles: Vec<HandleRow<'_>> = handles.into_values().collect();
    if !store::put_handles(tx.conn(), &handles).await? {
        return Ok(false);
    }
    let new_customers: Vec<_> = new_customers.iter().map(|(t, c)| (*t, c)).collect();
    store::add_customers(tx.conn(), &new_customers, now).await?;
    store::move_handles(tx.conn(), &moved, now).await?;
    store::merges::save(tx.conn(), &mut merges).await?;
    let profiles: Vec<_> = profiles.iter().map(|((t, id), p)| (*t, *id, p)).collect();
    store::save_profiles(tx.conn(), &profiles).await?;
    let proofs: Vec<_> = proofs.iter().map(|(t, id, v)| (*t, *id, v)).collect();
    store::save_verifications(tx.conn(), &proofs).await?;
    store::add_owners(tx.conn(), &owners).await?;
    publish(tx, batch, events);
    Ok(true)
}

fn publish(tx: &mut Tx, batch: &[Received<'_>], events: Vec<(usize, String, Event)>) {
    for (position, key, event) in events {
        let envelope = batch[position].envelope;
        tx.follow(envelope);
        match event {
            Event::Merged(event) => {
                metrics::counter!("trama_identity_resolution_merges_total", "by" => "matching").increment(1);
                tx.publish(&envelope.tenant, &key, &event);
            }
            Event::Identified(event) => {
                let is_new = event.customer.as_ref().is_some_and(|c| c.is_new);
                let outcome = if is_new { "new" } else { "known" };
                metrics::counter!("trama_identity_resolution_interactions_total", "customer" => outcome)
                    .increment(1);
                tx.publish(&envelope.tenant, &key, event.as_ref());
            }
            Event::Changed(event) => {
                tx.publish(&envelope.tenant, &key, &event);
            }
        }
    }
}
