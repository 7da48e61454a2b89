//! What was joined wrongly is taken apart, exactly.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use trama_platform::{Command, Error, Tx};
use trama_proto::{
    common::v1::CustomerContext,
    identity_resolution::v1 as wire,
    ids::{CustomerId, InteractionId, MergeId, TenantId},
    time::to_wire,
};

use super::{
    App, Caller,
    auditing::{became_known, handle_changed, merged_changed},
    customers::wire_merge,
    observing::arm,
    publish_change,
    similarity::{keys_of_side, values_of_both},
};
use crate::{
    domain::{
        customer::{Customer, Field, Origin, Own},
        handle::HandleKey,
        merge::{self, MergeRecord},
        rules::Rules,
        said::{Attribute, Said},
    },
    error::{no_merge, refused},
    matching::blocking,
    store::{self, merges::Undo, similar::News},
};

/// Both sides of a merge that is, or would be, undone.
struct Parted {
    survivor: Customer,
    restored: Customer,
    side: BTreeSet<CustomerId>,
    in_force: Vec<MergeRecord>,
}

impl App {
    /// What undoing a merge would give to whom.
    pub async fn preview_split(
        &self,
        tenant: &TenantId,
        id: MergeId,
    ) -> Result<wire::PreviewSplitResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let rules = self.rules(tenant);
        let (record, undone) = store::merges::find(tx.conn(), tenant, id, false)
            .await?
            .ok_or_else(|| no_merge(id))?;
        if undone.is_some() {
            let survivor = self.read(&mut tx, tenant, record.survivor).await?;
            let restored = self.read(&mut tx, tenant, record.merged).await?;
            return Ok(wire::PreviewSplitResponse {
                survivor: Some(survivor.context(&rules, tx.now(), false)),
                restored: Some(restored.context(&rules, tx.now(), false)),
                undone: true,
                ..Default::default()
            });
        }
        let whole = self.read(&mut tx, tenant, record.merged).await?;
        let parted = parted(&mut tx, tenant, &record, &whole, &rules).await?;
        let interactions = store::merges::count_interactions(tx.conn(), tenant, &parted.side).await?;
        let along = parted
            .in_force
            .iter()
            .filter(|m| parted.side.contains(&m.survivor));
        Ok(wire::PreviewSplitResponse {
            survivor: Some(parted.survivor.context(&rules, tx.now(), false)),
            restored: Some(parted.restored.context(&rules, tx.now(), false)),
            merges_going_along: along.map(wire_merge).collect(),
            interactions,
            undone: false,
        })
    }

    /// Undoes a merge.
    pub async fn split_customers(
        &self,
        caller: &Caller,
        id: MergeId,
        request: &wire::SplitCustomersRequest,
    ) -> Result<wire::SplitCustomersResponse, Error> {
        const METHOD: &str = "SplitCustomers";
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
        let rules = self.rules(tenant);
        let (record, _) = store::merges::find(tx.conn(), tenant, id, false)
            .await?
            .ok_or_else(|| no_merge(id))?;
        // The survivor may have been merged further since: what is given back is with whoever holds it now. Customers
        // are locked before merges, everywhere.
        let whole = self.read_alone(&mut tx, tenant, record.merged).await?;
        let undone = store::merges::find(tx.conn(), tenant, id, true).await?;
        if undone.is_none_or(|(_, undone)| undone.is_some()) {
            return Err(refused("this merge was undone before"));
        }
        let (survivor, restored) = self
            .split(&mut tx, tenant, &record, &whole, &rules, caller.subject.as_str())
            .await?;
        let response = wire::SplitCustomersResponse {
            survivor: Some(survivor),
            restored: Some(restored),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Takes an edge away and tells everybody. The whole is held alone by the caller.
    pub(super) async fn split(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        record: &MergeRecord,
        whole: &Customer,
        rules: &Rules,
        by: &str,
    ) -> Result<(CustomerContext, CustomerContext), Error> {
        let now = tx.now();
        let parted = parted(tx, tenant, record, whole, rules).await?;
        let evidence: Vec<i64> = parted.restored.handles.iter().map(|h| h.key.evidence()).collect();
        let undo = Undo {
            record,
            holder: whole.id,
            side: &parted.side,
            evidence: &evidence,
            by,
            at: now,
        };
        let interactions = store::merges::undo(tx.conn(), tenant, &undo).await?;
        self.part_refusals(tx, tenant, (record, &parted.in_force), whole)
            .await?;
        // What matching takes back, matching may join again when more is known.
        if by != merge::MATCHING {
            let both = (whole.id, record.merged);
            store::merges::keep_apart(tx.conn(), tenant, both, by, now).await?;
        }
        if let Some(policy) = rules.similarity() {
            let values = values_of_both(policy, &parted.survivor.said(), &parted.restored.said());
            let sides = [&parted.survivor, &parted.restored];
            let keys = sides.into_iter().flat_map(|side| keys_of_side(policy, side));
            let news = News {
                keys: keys.map(|(id, key)| (tenant, key, id)).collect(),
                values: values.into_iter().map(|v| (tenant, v, 1)).collect(),
                ..News::default()
            };
            store::similar::save(tx.conn(), &news, now).await?;
        }
        let (survivor, restored) = (
            parted.survivor.context(rules, now, false),
            parted.restored.context(rules, now, false),
        );
        merged_changed(tx, record.merged, Some(whole.id), None);
        let when = Some(record.at);
        tell_of_split(
            tx,
            tenant,
            (record.id, when),
            (&survivor, &restored),
            &interactions,
        );
        let left = whole.members.iter().filter(|m| !parted.side.contains(&m.id));
        let left: Vec<_> = left.map(|m| m.id.uuid()).collect();
        self.give_confirmed(tx, tenant, &left, record.merged, &evidence)
            .await?;
        Ok((survivor, restored))
    }

    /// Makes a customer of a handle that never was this one's, with all that came by it.
    pub async fn extract_handle(
        &self,
        caller: &Caller,
        id: CustomerId,
        key: &HandleKey,
        request: &wire::ExtractHandleRequest,
    ) -> Result<wire::ExtractHandleResponse, Error> {
        const METHOD: &str = "ExtractHandle";
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
        let (rules, now) = (self.rules(tenant), tx.now());
        let customer = self.read_alone(&mut tx, tenant, id).await?;
        let keys = came_by(&customer, key);
        if keys.is_empty() {
            return Err(Error::invalid("handle", "the customer does not hold this handle"));
        }
        if keys.len() == customer.handles.len() && customer.members.len() == 1 {
            return Err(refused(
                "all that is known of the customer came by this handle; nobody would be left",
            ));
        }
        let new = CustomerId::new(tx.new_id());
        store::add_customers(tx.conn(), &[(tenant, new)], now).await?;
        let members = customer.ids();
        let interactions = store::handles::extract(tx.conn(), tenant, &keys, &members, new).await?;
        self.put_together(&mut tx, tenant, &customer, &keys, new, &rules)
            .await?;
        self.extract_refusals(&mut tx, tenant, &customer, new).await?;
        for key in &keys {
            let before = customer.holds(key).map(|held| held.trust);
            handle_changed(&tx, customer.id, key, before, "extracted");
        }
        became_known(&tx, new, true);
        let evidence: Vec<i64> = keys.iter().map(HandleKey::evidence).collect();
        let from: Vec<_> = members.iter().map(|m| m.uuid()).collect();
        store::merges::give_proofs(tx.conn(), tenant.as_str(), &from, new, &evidence).await?;
        let by = caller.subject.as_str();
        store::merges::keep_apart(tx.conn(), tenant, (customer.id, new), by, now).await?;
        let merge_id = MergeId::new(tx.new_id());
        let survivor = self
            .read(&mut tx, tenant, customer.id)
            .await?
            .context(&rules, now, false);
        let extracted = self.read(&mut tx, tenant, new).await?.context(&rules, now, false);
        let merge = (merge_id, None);
        tell_of_split(&mut tx, tenant, merge, (&survivor, &extracted), &interactions);
        self.give_confirmed(&mut tx, tenant, &from, new, &evidence)
            .await?;
        metrics::counter!("trama_identity_resolution_handles_extracted_total").increment(1);
        let response = wire::ExtractHandleResponse {
            customer: Some(survivor),
            extracted: Some(extracted),
            merge_id: merge_id.to_string(),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// After observations went to another id: what is known under each id is put together from what was observed there.
    async fn put_together(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
        keys: &[HandleKey],
        new: CustomerId,
        rules: &Rules,
    ) -> Result<(), Error> {
        let now = tx.now();
        let mut rows = Vec::new();
        let gone: Vec<_> = customer
            .handles
            .iter()
            .filter(|h| keys.contains(&h.key))
            .collect();
        let touched: BTreeSet<CustomerId> = gone.iter().map(|h| h.row_owner).collect();
        let mut names_gone = BTreeSet::new();
        for (_, words) in store::similar::observed(tx.conn(), tenant, new).await? {
            names_gone.extend(full_names(&words).map(str::to_owned));
        }
        for member in touched.into_iter().chain([new]) {
            let mut said = Said::default();
            for (_, words) in store::similar::observed(tx.conn(), tenant, member).await? {
                said.absorb(&words);
            }
            let mut own = customer.own(member).cloned().unwrap_or_default();
            let held = customer.handles.iter().filter(|h| {
                let here = if keys.contains(&h.key) { new } else { h.row_owner };
                here == member && !rules.is_shared(&h.key)
            });
            for held in held {
                said.add_handle(&crate::domain::handle::Handle {
                    key: held.key.clone(),
                    trust: held.trust,
                });
            }
            for held in gone.iter().filter(|_| member != new) {
                said.forget(&crate::domain::handle::Handle {
                    key: held.key.clone(),
                    trust: held.trust,
                });
            }
            if member != new {
                forget_name(&mut own, &names_gone, &said, now);
            } else if let Some(name) = full_names(&said).next() {
                let origin = Origin {
                    source: gone.first().map(|h| h.source.clone()).unwrap_or_default(),
                    at: now,
                    verified: false,
                    by_hand: false,
                };
                own.say(Field::DisplayName, name, origin);
            }
            own.said = said;
            rows.push((member, own));
        }
        let own: Vec<_> = rows.iter().map(|(member, own)| (tenant, *member, own)).collect();
        store::save_own(tx.conn(), &own, now).await?;
        if let Some(policy) = rules.similarity() {
            let keys: Vec<(CustomerId, Vec<i64>)> = rows
                .iter()
                .map(|(member, own)| {
                    let keys = blocking::keys(&own.said.facts(policy));
                    (*member, keys.into_iter().map(|k| k.0).collect())
                })
                .collect();
            store::similar::replace_keys(tx.conn(), tenant, &keys).await?;
            arm(tx, tenant, now);
        }
        Ok(())
    }

    /// Tells everybody that handles changed.
    pub(super) fn handles_changed(&self, tx: &mut Tx, tenant: &TenantId, customer: &Customer, rules: &Rules) {
        publish_change(tx, tenant, customer, rules, &["handles"]);
    }
}

fn full_names(said: &Said) -> impl Iterator<Item = &str> {
    let names = said.values().iter();
    names
        .filter(|v| v.attribute == Attribute::FullName)
        .map(|v| v.text.as_str())
}

/// A name that came by what went away goes with it; another one that was said stands in its place, if there is one. What a
/// person wrote stays.
fn forget_name(own: &mut Own, gone: &BTreeSet<String>, left: &Said, now: DateTime<Utc>) {
    let name = own.value(Field::DisplayName);
    let Some(origin) = own.origin(Field::DisplayName).filter(|o| !o.by_hand) else {
        return;
    };
    if !gone.contains(name) || full_names(left).any(|n| n == name) {
        return;
    }
    let origin = Origin {
        at: now,
        verified: false,
        ..origin.clone()
    };
    match full_names(left).next() {
        Some(other) => {
            own.say(Field::DisplayName, other, origin);
        }
        None => {
            own.profile.display_name.clear();
            own.origins.remove(Field::DisplayName.name());
        }
    }
}

async fn parted(
    tx: &mut Tx,
    tenant: &TenantId,
    record: &MergeRecord,
    whole: &Customer,
    rules: &Rules,
) -> Result<Parted, Error> {
    let ids: Vec<CustomerId> = whole.members.iter().map(|m| m.id).collect();
    let in_force = store::merges::in_force(tx.conn(), tenant, &ids).await?;
    let side = merge::goes_along(record, &in_force);
    let (survivor, mut restored) = merge::part(whole, record.merged, &side, rules);
    // What was proven before the merge holds again.
    let now = tx.now();
    let before = store::proofs::of(tx.conn(), tenant, record.merged, now).await?;
    restored.take_back(before);
    Ok(Parted {
        survivor,
        restored,
        side,
        in_force,
    })
}

fn tell_of_split(
    tx: &mut Tx,
    tenant: &TenantId,
    (merge, merged_at): (MergeId, Option<DateTime<Utc>>),
    (survivor, restored): (&CustomerContext, &CustomerContext),
    interactions: &[InteractionId],
) {
    let mut interactions: Vec<String> = interactions.iter().map(ToString::to_string).collect();
    interactions.sort_unstable();
    let event = wire::CustomerSplit {
        merge_id: merge.to_string(),
        survivor: Some(survivor.clone()),
        restored: Some(restored.clone()),
        restored_interaction_ids: interactions,
        split_at: Some(to_wire(tx.now())),
        merged_at: merged_at.map(to_wire),
    };
    tx.publish(tenant, &survivor.customer_id, &event);
    metrics::counter!("trama_identity_resolution_splits_total").increment(1);
}

/// A handle, the same line under another kind, and what was linked through them, directly or by way of others.
fn came_by(customer: &Customer, key: &HandleKey) -> Vec<HandleKey> {
    let mut keys: Vec<HandleKey> = customer
        .handles
        .iter()
        .filter(|h| h.key.same_line(key))
        .map(|h| h.key.clone())
        .collect();
    loop {
        let evidence: BTreeSet<i64> = keys.iter().map(HandleKey::evidence).collect();
        let more: Vec<HandleKey> = customer
            .handles
            .iter()
            .filter(|h| !keys.contains(&h.key) && h.evidence.is_some_and(|e| evidence.contains(&e)))
            .map(|h| h.key.clone())
            .collect();
        if more.is_empty() {
            return keys;
        }
        keys.extend(more);
    }
}
