//! Handles by hand: follow a provider's new id, revoke, show; and protecting a profile.

use trama_platform::{Command, Error};
use trama_proto::{
    identity_resolution::v1::{self as wire, HandleState},
    ids::{CustomerId, TenantId},
    time::to_wire,
};

use super::{App, Caller, linking::BY_HAND, publish_change};
use crate::{
    domain::{
        customer::Held,
        handle::{Handle, HandleKey},
    },
    error::{overtaken, refused},
    store::{self, HandleRow, handles::Provenance},
};

impl App {
    /// A provider gave a person a new id: it stands where the old one stood.
    pub async fn rekey_handle(
        &self,
        caller: &Caller,
        (from, to): (&HandleKey, &HandleKey),
        reason: &str,
        request: &wire::RekeyHandleRequest,
    ) -> Result<wire::RekeyHandleResponse, Error> {
        const METHOD: &str = "RekeyHandle";
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
        if rules.is_blocked(to) {
            return Err(Error::invalid("to.value", "this value identifies nobody"));
        }
        let owner = self
            .owner(&mut tx, tenant, from)
            .await?
            .ok_or_else(|| Error::invalid("from", "no customer holds this handle"))?;
        let mut customer = self.read_alone(&mut tx, tenant, owner.id).await?;
        let old = customer
            .holds(from)
            .cloned()
            .ok_or_else(|| Error::invalid("from", "no customer holds this handle"))?;
        let new = Held {
            key: to.clone(),
            last_seen: now,
            ..old.clone()
        };
        let row = HandleRow {
            tenant,
            held: new.clone(),
            linked_by: Some(caller.subject.as_str()),
        };
        if let Some(other) = self.owner(&mut tx, tenant, to).await?
            && other.id != customer.id
        {
            return Err(refused(format!(
                "customer {} holds the new id already; compare both and use MergeCustomers if they are one person",
                other.id
            )));
        }
        if !store::put_handles(tx.conn(), &[row]).await? && customer.holds(to).is_none() {
            return Err(overtaken());
        }
        let by = (caller.subject.as_str(), reason);
        store::handles::revoke(tx.conn(), tenant, from, by, now).await?;
        customer.handles.retain(|h| h.key != *from && h.key != *to);
        customer.handles.push(new);
        if let Some(own) = customer.own_mut(old.row_owner) {
            let handle = |key: &HandleKey| Handle {
                key: key.clone(),
                trust: old.trust,
            };
            own.said.forget(&handle(from));
            own.said.add_handle(&handle(to));
            let own = own.clone();
            store::save_own(tx.conn(), &[(tenant, old.row_owner, &own)], now).await?;
        }
        // Possession of the old id proves nothing of the new one.
        store::handles::drop_proofs(tx.conn(), tenant, customer.id, &[from.evidence()]).await?;
        customer.verifications.retain(|v| v.evidence != from.evidence());
        self.handles_changed(&mut tx, tenant, &customer, &rules);
        let response = wire::RekeyHandleResponse {
            customer: Some(customer.context(&rules, now, false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// A handle is the customer's no more.
    pub async fn revoke_handle(
        &self,
        caller: &Caller,
        id: CustomerId,
        key: &HandleKey,
        reason: &str,
        request: &wire::RevokeHandleRequest,
    ) -> Result<wire::RevokeHandleResponse, Error> {
        const METHOD: &str = "RevokeHandle";
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
        let mut customer = self.read_alone(&mut tx, tenant, id).await?;
        let held = customer
            .holds(key)
            .cloned()
            .ok_or_else(|| Error::invalid("handle", "the customer does not hold this handle"))?;
        let by = (caller.subject.as_str(), reason);
        store::handles::revoke(tx.conn(), tenant, key, by, now).await?;
        store::handles::drop_proofs(tx.conn(), tenant, customer.id, &[key.evidence()]).await?;
        if let Some(own) = customer.own_mut(held.row_owner) {
            own.said.forget(&Handle {
                key: key.clone(),
                trust: held.trust,
            });
            let own = own.clone();
            store::save_own(tx.conn(), &[(tenant, held.row_owner, &own)], now).await?;
            if let Some(policy) = rules.similarity() {
                let keys = crate::matching::blocking::keys(&own.said.facts(policy));
                let keys = keys.into_iter().map(|k| k.0).collect();
                store::similar::replace_keys(tx.conn(), tenant, &[(held.row_owner, keys)]).await?;
            }
        }
        customer.handles.retain(|h| h.key != *key);
        customer.verifications.retain(|v| v.evidence != key.evidence());
        publish_change(&mut tx, tenant, &customer, &rules, &["handles", "verification"]);
        let response = wire::RevokeHandleResponse {
            customer: Some(customer.context(&rules, now, false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// A customer's handles with where they come from.
    pub async fn list_handles(
        &self,
        tenant: &TenantId,
        id: CustomerId,
    ) -> Result<wire::ListHandlesResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let rules = self.rules(tenant);
        let customer = self.read(&mut tx, tenant, id).await?;
        let members: Vec<CustomerId> = customer.members.iter().map(|m| m.id).collect();
        let handles = store::handles::list(tx.conn(), tenant, &members).await?;
        Ok(wire::ListHandlesResponse {
            handles: handles
                .into_iter()
                .map(|mut known| {
                    known.held.shared |= rules.is_shared(&known.held.key);
                    known_handle(known)
                })
                .collect(),
        })
    }

    /// Makes a profile canonical, or no longer.
    pub async fn protect_customer(
        &self,
        caller: &Caller,
        id: CustomerId,
        protected: bool,
        request: &wire::ProtectCustomerRequest,
    ) -> Result<wire::ProtectCustomerResponse, Error> {
        const METHOD: &str = "ProtectCustomer";
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
        let mut customer = self.read_alone(&mut tx, tenant, id).await?;
        let mut changed = Vec::new();
        for member in &mut customer.members {
            let wanted = protected && member.id == customer.id;
            if member.own.protected != wanted {
                member.own.protected = wanted;
                changed.push((member.id, member.own.clone()));
            }
        }
        let rows: Vec<_> = changed.iter().map(|(id, own)| (tenant, *id, own)).collect();
        store::save_own(tx.conn(), &rows, now).await?;
        let response = wire::ProtectCustomerResponse {
            customer: Some(customer.context(&rules, now, false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

fn known_handle(known: Provenance) -> wire::KnownHandle {
    let Provenance {
        held,
        linked_by,
        revoked,
    } = known;
    let source = match (held.source.as_str(), &linked_by) {
        ("", Some(_)) => BY_HAND,
        (source, _) => source,
    };
    wire::KnownHandle {
        handle: Some(held.to_wire()),
        state: match revoked {
            None => HandleState::Active,
            Some(_) => HandleState::Revoked,
        } as i32,
        source: source.to_owned(),
        via_interaction_id: held.via.map(|v| v.to_string()).unwrap_or_default(),
        linked_by: linked_by.unwrap_or_default(),
        first_seen_at: Some(to_wire(held.first_seen)),
        last_seen_at: Some(to_wire(held.last_seen)),
        confidence: if revoked.is_some() { 0.0 } else { held.confidence() },
        shared: held.shared,
        customer_id: held.row_owner.to_string(),
        revoked_at: revoked.as_ref().map(|(at, _)| to_wire(*at)),
        revoked_reason: revoked.map(|(_, why)| why).unwrap_or_default(),
    }
}
