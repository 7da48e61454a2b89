//! What people decide about who is who: link and merge.

use std::collections::HashSet;

use trama_platform::{Command, Error, Tx};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{CustomerId, MergeId},
};

use super::{
    App, Caller,
    auditing::{handle_changed, merged_changed, trust},
    observing::merged_event,
    publish_change,
    similarity::values_of_both,
};
use crate::{
    domain::{
        customer::{Customer, Held},
        handle::{Handle, Trust},
        merge::{self, MergeRecord, Reason},
        rules::Rules,
    },
    error::{overtaken, refused},
    store::{self, HandleRow, similar::News},
};

/// The source of what agents and integrators say.
pub(super) const BY_HAND: &str = "agent";

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
        let customer = self.read(&mut tx, tenant, link.customer).await?;
        let owner = self.owner(&mut tx, tenant, &link.handle.key).await?;
        let (customer, merge_id) = match owner {
            Some(other) if other.id != customer.id => {
                may_absorb(&other, &link.handle, &rules, &tx)?;
                let both = (customer.id, other.id);
                let (mut survivor, merge) = self
                    .merge_into(&mut tx, caller, both, &link.reason, &rules, Some(&link))
                    .await?;
                trust_more(&mut tx, caller, &mut survivor, &link.handle).await?;
                (survivor, merge.id.to_string())
            }
            Some(_) | None => {
                let mut customer = self.read_alone(&mut tx, tenant, customer.id).await?;
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
        let survivor = self.read(&mut tx, tenant, merge.survivor).await?.id;
        let merged = self.read(&mut tx, tenant, merge.merged).await?.id;
        if survivor == merged {
            return Err(refused("both ids are already the same customer"));
        }
        let (customer, record) = self
            .merge_into(&mut tx, caller, (survivor, merged), &merge.reason, &rules, None)
            .await?;
        let response = wire::MergeCustomersResponse {
            merge_id: record.id.to_string(),
            survivor: Some(customer.context(&rules, tx.now(), false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
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

impl App {
    /// Locks both, reads both again, merges, saves, publishes.
    pub(super) async fn merge_into(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        both: (CustomerId, CustomerId),
        words: &str,
        rules: &Rules,
        absorbing: Option<&Link>,
    ) -> Result<(Customer, MergeRecord), Error> {
        let tenant = &caller.tenant;
        let now = tx.now();
        let (mut survivor, lost) = self.read_both_alone(tx, tenant, both).await?;
        if survivor.id == lost.id {
            return Err(refused("both ids are already the same customer"));
        }
        if lost.is_protected() && !survivor.is_protected() {
            return Err(refused(
                "the customer that would become an alias is protected; merge the other way round",
            ));
        }
        if let Some(link) = absorbing {
            may_absorb(&lost, &link.handle, rules, tx)?;
        }
        let ids = |c: &Customer| c.members.iter().map(|m| m.id).collect::<Vec<_>>();
        store::merges::no_longer_apart(tx.conn(), tenant, &ids(&survivor), &ids(&lost)).await?;
        if let Some(policy) = rules.similarity() {
            let values = values_of_both(policy, &survivor.said(), &lost.said());
            let news = News {
                values: values.into_iter().map(|v| (tenant, v, -1)).collect(),
                ..News::default()
            };
            store::similar::save(tx.conn(), &news, now).await?;
        }
        let reason = Reason {
            decided_by: caller.subject.as_str(),
            words,
            likeness: None,
        };
        let record = merge::merge(MergeId::new(tx.new_id()), &mut survivor, lost, reason, rules, now);
        store::merges::save(tx.conn(), &[(tenant, record.clone())], &HashSet::new(), now).await?;
        merged_changed(tx, record.merged, None, Some(survivor.id));
        let event = merged_event(&record, survivor.context(rules, now, false));
        tx.publish(tenant, &survivor.id.to_string(), &event);
        metrics::counter!("trama_identity_resolution_merges_total", "by" => "person").increment(1);
        Ok((survivor, record))
    }
}

/// Links the handle or raises its trust. Returns whether anything changed.
async fn trust_more(
    tx: &mut Tx,
    caller: &Caller,
    customer: &mut Customer,
    handle: &Handle,
) -> Result<bool, Error> {
    let (now, id) = (tx.now(), customer.id);
    let before = customer.holds(&handle.key).map(|held| held.trust);
    let held = match customer.handles.iter_mut().find(|h| h.key == handle.key) {
        Some(held) if held.trust >= handle.trust => return Ok(false),
        Some(held) => {
            held.trust = handle.trust;
            held.clone()
        }
        None => {
            let held = Held {
                source: BY_HAND.to_owned(),
                ..Held::first(handle.key.clone(), handle.trust, id, now)
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
        handle_changed(tx, id, &handle.key, before, trust(handle.trust));
        Ok(true)
    } else {
        Err(overtaken())
    }
}
