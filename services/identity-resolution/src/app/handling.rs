//! Handles by hand: follow a provider's new id, revoke, show; and protecting a profile.

use chrono::Duration;
use trama_platform::{Command, Error, Tx};
use trama_proto::{
    common::v1::Handle as WireHandle,
    identity_resolution::v1::{self as wire, HandleState},
    ids::{CustomerId, TenantId},
    ingest::v1::HandleChanged,
    time::to_wire,
};

use super::{App, Caller, auditing::handle_changed, linking::BY_HAND, publish_change};
use crate::{
    domain::{
        customer::{Customer, Held},
        handle::{Handle, HandleKey},
        resolution::{Doubt, Question as Doubtful},
        rules::Rules,
    },
    error::{overtaken, refused},
    store::{self, HandleRow, handles::Provenance},
};

/// What became of a new number or id.
enum Rekeyed {
    /// It is this customer's.
    Is(Box<Customer>),
    /// Nobody held the old one.
    OfNobody,
    /// The old one is the first's, and the new one the second's.
    OfTwo(CustomerId, CustomerId),
}

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
        let by = (caller.subject.as_str(), reason);
        let customer = match self.rekey(&mut tx, tenant, (from, to), by, &rules).await? {
            Rekeyed::Is(customer) => customer,
            Rekeyed::OfNobody => return Err(Error::invalid("from", "no customer holds this handle")),
            Rekeyed::OfTwo(_, other) => {
                return Err(refused(format!(
                    "customer {other} holds the new id already; compare both and use MergeCustomers if they are one person"
                )));
            }
        };
        let response = wire::RekeyHandleResponse {
            customer: Some(customer.context(&rules, now, false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// A channel says that somebody has a new number or id. Of two who hold one each a person decides.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn follow_change(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        change: &HandleChanged,
    ) -> Result<(), Error> {
        let (rules, now) = (self.rules(tenant), tx.now());
        let key = |handle: Option<&WireHandle>| rules.handle(&handle?.kind, &handle?.value).ok();
        let (Some(from), Some(to)) = (key(change.old.as_ref()), key(change.new.as_ref())) else {
            return Ok(());
        };
        // Who has a new WhatsApp number has a new telephone number.
        let lines = from.implied().zip(to.implied());
        for (from, to) in [Some((from, to)), lines].into_iter().flatten() {
            if rules.is_blocked(&to) || rules.is_shared(&from) {
                continue;
            }
            let by = (
                change.channel.as_str(),
                "the provider says that the number changed",
            );
            let became = match self.rekey(tx, tenant, (&from, &to), by, &rules).await? {
                Rekeyed::Is(_) => "followed",
                Rekeyed::OfNobody => "nobody",
                Rekeyed::OfTwo(one, other) => {
                    let question = Doubtful {
                        one,
                        other,
                        doubt: Doubt::Bridge,
                        words: format!(
                            "the provider says that one {} became the other's",
                            from.kind.as_str()
                        ),
                        likeness: None,
                    };
                    let due = now + Duration::hours(i64::from(rules.policy().similarity.review_hours));
                    store::reviews::ask(tx.conn(), &[(tenant, question, due)], now).await?;
                    "asked"
                }
            };
            metrics::counter!("trama_identity_resolution_handles_changed_total", "became" => became)
                .increment(1);
        }
        Ok(())
    }

    /// Puts a new handle where the old one stood.
    async fn rekey(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (from, to): (&HandleKey, &HandleKey),
        (by, reason): (&str, &str),
        rules: &Rules,
    ) -> Result<Rekeyed, Error> {
        let now = tx.now();
        let Some(owner) = self.owner(tx, tenant, from).await? else {
            return Ok(Rekeyed::OfNobody);
        };
        let mut customer = self.read_alone(tx, tenant, owner.id).await?;
        let Some(old) = customer.holds(from).cloned() else {
            return Ok(Rekeyed::OfNobody);
        };
        let new = Held {
            key: to.clone(),
            last_seen: now,
            ..old.clone()
        };
        let row = HandleRow {
            tenant,
            held: new.clone(),
            linked_by: Some(by),
        };
        if let Some(other) = self.owner(tx, tenant, to).await?
            && other.id != customer.id
        {
            return Ok(Rekeyed::OfTwo(customer.id, other.id));
        }
        if !store::put_handles(tx.conn(), &[row]).await? && customer.holds(to).is_none() {
            return Err(overtaken());
        }
        store::handles::revoke(tx.conn(), tenant, from, (by, reason), now).await?;
        handle_changed(tx, customer.id, from, Some(old.trust), "replaced");
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
        store::handles::drop_proofs(tx.conn(), tenant, &customer.ids(), &[from.evidence()]).await?;
        customer.verifications.retain(|v| v.evidence != from.evidence());
        self.handles_changed(tx, tenant, &customer, rules);
        Ok(Rekeyed::Is(Box::new(customer)))
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
        handle_changed(&tx, customer.id, key, Some(held.trust), "revoked");
        store::handles::drop_proofs(tx.conn(), tenant, &customer.ids(), &[key.evidence()]).await?;
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
                let word = |protected: bool| if protected { "true" } else { "false" };
                tx.changed(("customer", &member.id), "protected", word(!wanted), word(wanted));
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
