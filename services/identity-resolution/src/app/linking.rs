//! What people decide about who is who: link, merge, split.

use trama_platform::{Command, Error, Tx};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{CustomerId, MergeId},
    time::to_wire,
};

use super::{App, Caller, publish_change, read, read_alone};
use crate::{
    domain::{
        customer::{Customer, Held},
        handle::{Handle, Trust},
        merge::{self, MergeRecord, Reason},
        rules::Rules,
    },
    error::{no_merge, overtaken, refused},
    store::{self, HandleRow, Question, merges::Undo},
};

/// A handle belongs to a customer.
#[derive(Debug, Clone)]
pub struct Link {
    /// To whom.
    pub customer: CustomerId,
    /// What.
    pub handle: Handle,
    /// Why.
    pub reason: String,
}

/// Two customers are one.
#[derive(Debug, Clone)]
pub struct Merge {
    /// Who remains.
    pub survivor: CustomerId,
    /// Who becomes an alias.
    pub merged: CustomerId,
    /// Why.
    pub reason: String,
}

impl App {
    /// Links a handle; a customer who holds nothing else is merged.
    pub async fn link_handle(
        &self,
        caller: &Caller,
        link: Link,
        request: &wire::LinkHandleRequest,
    ) -> Result<wire::LinkHandleResponse, Error> {
        const METHOD: &str = "LinkHandle";
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
        if rules.is_blocked(&link.handle.key) {
            return Err(Error::invalid("handle.value", "this value identifies nobody"));
        }
        let customer = read(&mut tx, tenant, link.customer).await?;
        let owner = owner(&mut tx, caller, &link).await?;
        let (customer, merge_id) = match owner {
            Some(other) if other.id != customer.id => {
                may_absorb(&other, &link.handle, &rules, &tx)?;
                let (mut survivor, merge) = merge_into(
                    &mut tx,
                    caller,
                    (customer.id, other.id),
                    &link.reason,
                    &rules,
                    Some(&link),
                )
                .await?;
                trust_more(&mut tx, caller, &mut survivor, &link.handle).await?;
                (survivor, merge.id.to_string())
            }
            Some(_) | None => {
                let mut customer = read_alone(&mut tx, tenant, customer.id).await?;
                if trust_more(&mut tx, caller, &mut customer, &link.handle).await? {
                    publish_change(&mut tx, tenant, &customer, &rules, &["handles"]);
                }
                (customer, String::new())
            }
        };
        let response = wire::LinkHandleResponse {
            customer: Some(customer.context(&rules, tx.now(), false)),
            merge_id,
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Makes one customer of two.
    pub async fn merge_customers(
        &self,
        caller: &Caller,
        merge: Merge,
        request: &wire::MergeCustomersRequest,
    ) -> Result<wire::MergeCustomersResponse, Error> {
        const METHOD: &str = "MergeCustomers";
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
        let survivor = read(&mut tx, tenant, merge.survivor).await?.id;
        let merged = read(&mut tx, tenant, merge.merged).await?.id;
        if survivor == merged {
            return Err(refused("both ids are already the same customer"));
        }
        let (customer, record) =
            merge_into(&mut tx, caller, (survivor, merged), &merge.reason, &rules, None).await?;
        let response = wire::MergeCustomersResponse {
            merge_id: record.id.to_string(),
            survivor: Some(customer.context(&rules, tx.now(), false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
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
        let (rules, now) = (self.rules(tenant), tx.now());
        let (record, undone) = store::merges::find(tx.conn(), tenant, id)
            .await?
            .ok_or_else(|| no_merge(id))?;
        if undone {
            return Err(refused("this merge was undone before"));
        }
        // The survivor may have been merged further since: what is given back is with whoever holds it now.
        let mut survivor = read_alone(&mut tx, tenant, record.merged).await?;
        let given = merge::to_restore(&record, &survivor);
        let undo = Undo {
            record: &record,
            holder: survivor.id,
            restored: &given,
            by: caller.subject.as_str(),
            at: now,
        };
        let interactions = store::merges::undo(tx.conn(), tenant, &undo).await?;
        if survivor.id == record.survivor {
            survivor.profile = survivor
                .profile
                .parted(&record.survivor_before, &record.survivor_after);
            store::save_profiles(tx.conn(), &[(tenant, survivor.id, &survivor.profile)]).await?;
        }
        let survivor = read(&mut tx, tenant, survivor.id)
            .await?
            .context(&rules, now, false);
        let restored = read(&mut tx, tenant, record.merged)
            .await?
            .context(&rules, now, false);
        let event = wire::CustomerSplit {
            merge_id: id.to_string(),
            survivor: Some(survivor.clone()),
            restored: Some(restored.clone()),
            restored_interaction_ids: interactions.iter().map(ToString::to_string).collect(),
            split_at: Some(to_wire(now)),
        };
        tx.publish(tenant, &survivor.customer_id, &event);
        metrics::counter!("trama_identity_resolution_splits_total").increment(1);
        let response = wire::SplitCustomersResponse {
            survivor: Some(survivor),
            restored: Some(restored),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

async fn owner(tx: &mut Tx, caller: &Caller, link: &Link) -> Result<Option<Customer>, Error> {
    let now = tx.now();
    let question = Question {
        handles: vec![(&caller.tenant, &link.handle.key)],
        ..Question::default()
    };
    let worlds = store::load(tx.conn(), &question, now).await?;
    Ok(worlds
        .get(&caller.tenant)
        .and_then(|w| w.owner(&link.handle.key))
        .cloned())
}

/// Whether linking a handle may take its holder along.
fn may_absorb(other: &Customer, handle: &Handle, rules: &Rules, tx: &Tx) -> Result<(), Error> {
    let hint = "compare both and use MergeCustomers if they are one person";
    if rules.is_shared(&handle.key) {
        return Err(refused(format!(
            "several people share this handle, it belongs to no one alone; {hint}"
        )));
    }
    if other.handles.iter().any(|h| !h.key.same_line(&handle.key)) {
        return Err(refused(format!(
            "customer {} holds this handle and others; {hint}",
            other.id
        )));
    }
    if other.handles.iter().any(|h| h.trust == Trust::Verified) || other.verification(tx.now()).is_some() {
        return Err(refused(format!(
            "customer {} has proven to hold this handle; {hint}",
            other.id
        )));
    }
    Ok(())
}

/// Locks both, reads both again, merges, saves, publishes.
async fn merge_into(
    tx: &mut Tx,
    caller: &Caller,
    (survivor, merged): (CustomerId, CustomerId),
    words: &str,
    rules: &Rules,
    absorbing: Option<&Link>,
) -> Result<(Customer, MergeRecord), Error> {
    let tenant = &caller.tenant;
    if !store::lock(tx.conn(), &[(tenant, survivor), (tenant, merged)], true)
        .await?
        .is_empty()
    {
        return Err(overtaken());
    }
    let now = tx.now();
    let mut survivor = read(tx, tenant, survivor).await?;
    let lost = read(tx, tenant, merged).await?;
    if let Some(link) = absorbing {
        may_absorb(&lost, &link.handle, rules, tx)?;
    }
    let reason = Reason {
        decided_by: caller.subject.as_str(),
        words,
    };
    let record = merge::merge(MergeId::new(tx.new_id()), &mut survivor, lost, reason, now);
    store::merges::no_longer_apart(tx.conn(), tenant, survivor.id, merged).await?;
    let mut merges = [(tenant, record)];
    store::merges::save(tx.conn(), &mut merges).await?;
    store::save_profiles(tx.conn(), &[(tenant, survivor.id, &survivor.profile)]).await?;
    let [(_, record)] = merges;
    let event = wire::CustomerMerged {
        merge_id: record.id.to_string(),
        survivor: Some(survivor.context(rules, now, false)),
        merged_customer_id: record.merged.to_string(),
        reason: record.reason.clone(),
        merged_at: Some(to_wire(now)),
    };
    tx.publish(tenant, &survivor.id.to_string(), &event);
    metrics::counter!("trama_identity_resolution_merges_total", "by" => "person").increment(1);
    Ok((survivor, record))
}

/// Links the handle or raises its trust. Returns whether anything changed.
async fn trust_more(
    tx: &mut Tx,
    caller: &Caller,
    customer: &mut Customer,
    handle: &Handle,
) -> Result<bool, Error> {
    let (now, id) = (tx.now(), customer.id);
    let held = match customer.handles.iter_mut().find(|h| h.key == handle.key) {
        Some(held) if held.trust >= handle.trust => return Ok(false),
        Some(held) => {
            held.trust = handle.trust;
            Held {
                row_owner: id,
                ..held.clone()
            }
        }
        None => {
            let held = Held {
                key: handle.key.clone(),
                trust: handle.trust,
                first_seen: now,
                last_seen: now,
                evidence: None,
                via: None,
                row_owner: id,
            };
            customer.handles.push(held.clone());
            held
        }
    };
    let row = HandleRow {
        tenant: &caller.tenant,
        held,
        linked_by: Some(caller.subject.as_str()),
    };
    if store::put_handles(tx.conn(), &[row]).await? {
        Ok(true)
    } else {
        Err(overtaken())
    }
}
