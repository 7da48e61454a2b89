//! The customer as a whole: what is known, who said so, and what follows from it.

mod entitlements;
mod search;
mod segments;

use std::collections::{BTreeMap, HashMap};

use trama_platform::{Command, Error, Tx, stage::Envelope};
use trama_proto::{
    common::v1 as common,
    identity_resolution::v1 as wire,
    ids::{CustomerId, TenantId},
    resources::SegmentFacts,
    time::to_wire,
};
use uuid::Uuid;

use super::{App, Caller, auditing::traits_changed, publish_change};
use crate::{
    domain::{
        consent::{self, Entry},
        customer::Customer,
        handle::evidence_of_customer,
        profile::{Known, Said, Schema, View},
        rules::Rules,
    },
    store::{self, access::Access},
};

pub use entitlements::Granting;
pub(super) use entitlements::TIMER as ENTITLEMENT_TIMER;
pub use search::Wanted;
pub(super) use segments::{FORGET_TIMER, TIMER as SEGMENTS_TIMER};

/// What is said about a customer at once.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Values in their one spelling, by field.
    pub values: BTreeMap<String, String>,
    /// Fields about which the source takes back what it said.
    pub cleared: Vec<String>,
    /// The system or channel that says so.
    pub source: String,
}

/// What a view is worked out from.
struct Sources {
    known: Vec<Known>,
    consents: Vec<Entry>,
}

impl App {
    /// Works out anew what of profiles travels with every event. Returns whose it changed.
    pub(super) async fn refresh(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customers: &mut [Customer],
    ) -> Result<Vec<CustomerId>, Error> {
        let (schema, rules, now) = (self.schema(tenant), self.rules(tenant), tx.now());
        let ids: Vec<CustomerId> = customers.iter().map(|c| c.id).collect();
        let mut sources = load(tx, tenant, &schema, &ids).await?;
        let mut changed = Vec::new();
        for customer in customers.iter_mut() {
            let Some(sources) = sources.remove(&customer.id) else {
                continue;
            };
            let view = view(&schema, &sources, customer, &rules, now);
            if view != customer.view {
                customer.view = view;
                changed.push(customer.id);
            }
        }
        let views: Vec<(CustomerId, &View)> = customers
            .iter()
            .filter(|c| changed.contains(&c.id))
            .map(|c| (c.id, &c.view))
            .collect();
        store::profiles::keep_views(tx.conn(), tenant, &views).await?;
        Ok(changed)
    }

    /// Works out anew what travels of some customers: after a merge or a split, other rows are theirs. Who was erased
    /// meanwhile is nobody. Each comes with the event that says so.
    pub(super) async fn refresh_all(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        rearranged: &BTreeMap<CustomerId, &Envelope>,
    ) -> Result<(), Error> {
        let mut customers = self.read_all_alone(tx, tenant, rearranged.keys()).await?;
        let changed = self.refresh(tx, tenant, &mut customers).await?;
        let rules = self.rules(tenant);
        for customer in customers.iter().filter(|c| changed.contains(&c.id)) {
            let mut causes = customer.members.iter().filter_map(|m| rearranged.get(&m.id));
            if let Some(cause) = causes.next() {
                tx.follow(cause);
            }
            publish_change(tx, tenant, customer, &rules, &["segments", "traits"]);
        }
        Ok(())
    }

    /// Everything that is known of a customer, with provenance. The reading is logged.
    pub async fn get_profile(
        &self,
        caller: &Caller,
        id: CustomerId,
        reason: &str,
    ) -> Result<wire::GetProfileResponse, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let (schema, rules, now) = (self.schema(tenant), self.rules(tenant), tx.now());
        let mut customer = self.read(&mut tx, tenant, id).await?;
        let rows = rows(&mut tx, tenant, customer.id).await?;
        let sources = load(&mut tx, tenant, &schema, &[customer.id])
            .await?
            .remove(&customer.id)
            .unwrap_or(Sources {
                known: Vec::new(),
                consents: Vec::new(),
            });
        // Days go by without anything being written: what is shown is worked out now.
        customer.view = view(&schema, &sources, &customer, &rules, now);
        let grants = store::profiles::grants(tx.conn(), tenant, &rows).await?;
        let evidence: Vec<i64> = customer
            .handles
            .iter()
            .map(|h| h.key.evidence())
            .chain(rows.iter().map(|row| evidence_of_customer(CustomerId::new(*row))))
            .collect();
        let interactions = store::profiles::count_interactions(tx.conn(), tenant, &evidence).await?;
        let version = store::profiles::version(tx.conn(), tenant, customer.id).await?;
        self.note(&mut tx, caller, &[customer.id], "read", reason).await?;
        tx.commit().await?;
        let mut grants: Vec<wire::EntitlementGrant> = grants
            .iter()
            .map(|g| entitlements::to_wire_grant(g, now))
            .collect();
        grants.sort_by_key(|g| !g.in_force);
        Ok(wire::GetProfileResponse {
            customer: Some(customer.context(&rules, now, false)),
            missing_traits: schema.missing(&sources.known),
            traits: sources.known.into_iter().map(trait_to_wire).collect(),
            entitlements: grants,
            consents: super::consenting::to_wire_all(&consent::current(&sources.consents, now), now),
            handles: customer.handles.iter().map(handle_to_wire).collect(),
            alias_customer_ids: rows.iter().skip(1).map(Uuid::to_string).collect(),
            persona_group_by_generation: customer.profile.persona_group.is_empty()
                && !customer.view.persona_group.is_empty(),
            interactions,
            version,
            create_time: Some(to_wire(customer.created_at)),
        })
    }

    /// Sets and clears fields.
    pub async fn set_traits(
        &self,
        caller: &Caller,
        id: CustomerId,
        statement: &Statement,
        request: &wire::SetTraitsRequest,
    ) -> Result<wire::SetTraitsResponse, Error> {
        const METHOD: &str = "SetTraits";
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let command = Command::new(
            tenant,
            caller.subject.as_str(),
            METHOD,
            &request.request_id,
            request,
        );
        if let Some(response) = tx.replay(&command).await? {
            return Ok(response);
        }
        let customer = self.read_alone(&mut tx, tenant, id).await?;
        let customer = self.state(&mut tx, caller, customer, statement).await?;
        let response = wire::SetTraitsResponse {
            customer: Some(customer.context(&self.rules(tenant), tx.now(), false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Keeps what is said about a customer who is held alone, and tells everybody if it is new.
    pub(super) async fn state(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        customer: Customer,
        statement: &Statement,
    ) -> Result<Customer, Error> {
        let (tenant, now) = (&caller.tenant, tx.now());
        let mut customers = [customer];
        let id = customers[0].id;
        // Only the audit log asks what was known before.
        let known = if tx.is_for_a_call() && !(statement.values.is_empty() && statement.cleared.is_empty()) {
            load(tx, tenant, &self.schema(tenant), &[id]).await?.remove(&id)
        } else {
            None
        };
        let known = known.into_iter().flat_map(|sources| sources.known);
        let known: Vec<String> = known.map(|known| known.current.name).collect();
        let said: Vec<Said> = statement
            .values
            .iter()
            .map(|(name, value)| Said {
                name: name.clone(),
                value: value.clone(),
                source: statement.source.clone(),
                set_by: caller.subject.to_string(),
                set_at: now,
                origin: id,
            })
            .collect();
        let new = store::profiles::put_traits(tx.conn(), tenant, &said).await?;
        let mut cleared = 0;
        if !statement.cleared.is_empty() {
            let rows = rows(tx, tenant, id).await?;
            let names: Vec<&str> = statement.cleared.iter().map(String::as_str).collect();
            cleared =
                store::profiles::clear_traits(tx.conn(), tenant, &rows, &names, &statement.source).await?;
        }
        if !new.is_empty() || cleared > 0 {
            traits_changed(tx, id, &known, statement.values.keys(), &statement.cleared);
            let before = customers[0].view.segments.clone();
            self.refresh(tx, tenant, &mut customers).await?;
            let mut fields = vec!["traits"];
            if customers[0].view.segments != before {
                fields.push("segments");
            }
            let names: Vec<&str> = statement
                .values
                .keys()
                .chain(&statement.cleared)
                .map(String::as_str)
                .collect();
            self.note(tx, caller, &[id], "changed", &names.join(", ")).await?;
            publish_change(tx, tenant, &customers[0], &self.rules(tenant), &fields);
        }
        let [customer] = customers;
        Ok(customer)
    }

    /// Notes in the access log who did what to whom.
    pub(super) async fn note(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        customers: &[CustomerId],
        action: &'static str,
        detail: &str,
    ) -> Result<(), Error> {
        let access = Access {
            subject: caller.subject.as_str(),
            action,
            detail,
            origin: &caller.origin,
        };
        let mark = (tx.new_id(), tx.now());
        store::access::note(tx.conn(), &caller.tenant, customers, access, mark).await?;
        self.arm_forgetting(tx, &caller.tenant);
        Ok(())
    }
}

/// The rows of a customer: their own, then those of their aliases.
pub(super) async fn rows(tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<Vec<Uuid>, Error> {
    let rows = store::profiles::rows_of(tx.conn(), tenant, &[id]).await?;
    Ok(rows.into_iter().map(|(row, _)| row).collect())
}

async fn load(
    tx: &mut Tx,
    tenant: &TenantId,
    schema: &Schema,
    ids: &[CustomerId],
) -> Result<HashMap<CustomerId, Sources>, Error> {
    let rows = store::profiles::rows_of(tx.conn(), tenant, ids).await?;
    let roots: HashMap<Uuid, CustomerId> = rows.iter().copied().collect();
    let rows: Vec<Uuid> = roots.keys().copied().collect();
    let mut said: HashMap<CustomerId, Vec<Said>> = HashMap::new();
    for one in store::profiles::said(tx.conn(), tenant, &rows).await? {
        if let Some(root) = roots.get(&one.origin.uuid()) {
            said.entry(*root).or_default().push(one);
        }
    }
    let mut consents: HashMap<CustomerId, Vec<Entry>> = HashMap::new();
    for one in store::consents::log(tx.conn(), tenant, &rows).await? {
        if let Some(root) = roots.get(&one.origin.uuid()) {
            consents.entry(*root).or_default().push(one);
        }
    }
    Ok(ids
        .iter()
        .map(|id| {
            let sources = Sources {
                known: schema.choose(said.remove(id).unwrap_or_default()),
                consents: consents.remove(id).unwrap_or_default(),
            };
            (*id, sources)
        })
        .collect())
}

fn view(
    schema: &Schema,
    sources: &Sources,
    customer: &Customer,
    rules: &Rules,
    now: chrono::DateTime<chrono::Utc>,
) -> View {
    let context = customer.context(rules, now, false);
    let mut handles: Vec<String> = customer
        .handles
        .iter()
        .map(|h| h.key.kind.as_str().to_owned())
        .collect();
    handles.sort_unstable();
    handles.dedup();
    let facts = SegmentFacts {
        entitlement: context.entitlement,
        language: context.language,
        consents: consent::current(&sources.consents, now)
            .iter()
            .filter(|(_, entry)| entry.state(now) == wire::ConsentState::Granted)
            .map(|(subject, _)| subject.words())
            .collect(),
        handles,
        days_known: (now - customer.created_at).num_days(),
        ..SegmentFacts::default()
    };
    schema.view(&sources.known, &customer.profile.persona_group, facts)
}

fn trait_to_wire(known: Known) -> wire::Trait {
    let value = |said: Said| wire::TraitValue {
        value: said.value,
        source: said.source,
        set_by: said.set_by,
        set_time: Some(to_wire(said.set_at)),
        origin_customer_id: said.origin.to_string(),
    };
    wire::Trait {
        name: known.current.name.clone(),
        current: Some(value(known.current)),
        others: known.others.into_iter().map(value).collect(),
    }
}

fn handle_to_wire(held: &crate::domain::customer::Held) -> wire::ProfileHandle {
    let handle: common::Handle = held.to_wire();
    wire::ProfileHandle {
        handle: Some(handle),
        first_seen_time: Some(to_wire(held.first_seen)),
        last_seen_time: Some(to_wire(held.last_seen)),
        via_interaction_id: held.via.map(|i| i.to_string()).unwrap_or_default(),
    }
}
