//! Profiles: read, find, change, and where a customer may be reached.

use trama_platform::{Command, Error, Tx};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext},
    identity_resolution::v1::{self as wire, ConsentStatus, Purpose},
    ids::{CustomerId, TenantId},
    time::to_wire,
};

use super::{App, Caller, publish_change, read, read_alone};
use crate::{
    domain::{contact, handle::HandleKey},
    store::{self, Question, challenges::ConsentEntry},
};

/// A change of a profile; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ProfileChange {
    /// Name to use.
    pub display_name: Option<String>,
    /// BCP 47 language.
    pub language: Option<String>,
    /// Entitlement set by hand; empty lets handles decide again.
    pub entitlement: Option<String>,
    /// Persona group.
    pub persona_group: Option<String>,
}

/// Where may this customer be reached?
#[derive(Debug, Clone)]
pub struct ContactQuestion {
    /// Who.
    pub customer: CustomerId,
    /// Intent of the need.
    pub need: String,
    /// Why.
    pub purpose: Purpose,
    /// Channel of the last word.
    pub fallback: ChannelKind,
}

impl App {
    /// One customer with the merges that can be undone.
    pub async fn get_customer(
        &self,
        tenant: &TenantId,
        id: CustomerId,
    ) -> Result<wire::GetCustomerResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let customer = read(&mut tx, tenant, id).await?;
        let merges = store::merges::list(tx.conn(), tenant, customer.id).await?;
        Ok(wire::GetCustomerResponse {
            customer: Some(customer.context(&self.rules(tenant), tx.now(), false)),
            merges: merges
                .into_iter()
                .map(|m| wire::Merge {
                    merge_id: m.id.to_string(),
                    merged_customer_id: m.merged.to_string(),
                    decided_by: m.decided_by,
                    reason: m.reason,
                    merged_at: Some(to_wire(m.at)),
                })
                .collect(),
            create_time: Some(to_wire(customer.created_at)),
        })
    }

    /// Customers that hold a handle.
    pub async fn find_customers(
        &self,
        tenant: &TenantId,
        key: &HandleKey,
    ) -> Result<Vec<CustomerContext>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let question = Question {
            handles: vec![(tenant, key)],
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, now).await?;
        let owner = worlds.get(tenant).and_then(|w| w.owner(key));
        Ok(owner
            .map(|c| c.context(&self.rules(tenant), now, false))
            .into_iter()
            .collect())
    }

    /// Changes a profile.
    pub async fn update_customer(
        &self,
        caller: &Caller,
        id: CustomerId,
        change: ProfileChange,
        request: &wire::UpdateCustomerRequest,
    ) -> Result<wire::UpdateCustomerResponse, Error> {
        const METHOD: &str = "UpdateCustomer";
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
        if change
            .entitlement
            .as_ref()
            .is_some_and(|e| !e.is_empty() && !rules.knows_entitlement(e))
        {
            return Err(Error::invalid(
                "customer.entitlement",
                "no Entitlement resource has this name",
            ));
        }
        let mut customer = read_alone(&mut tx, tenant, id).await?;
        let mut changed = Vec::new();
        let profile = &mut customer.profile;
        for (name, new, held) in [
            ("display_name", change.display_name, &mut profile.display_name),
            ("language", change.language, &mut profile.language),
            ("entitlement", change.entitlement, &mut profile.entitlement),
            ("persona_group", change.persona_group, &mut profile.persona_group),
        ] {
            if let Some(new) = new.filter(|n| n != held) {
                *held = new;
                changed.push(name);
            }
        }
        if !changed.is_empty() {
            store::save_profiles(tx.conn(), &[(tenant, customer.id, &customer.profile)]).await?;
            publish_change(&mut tx, tenant, &customer, &rules, &changed);
        }
        let response = wire::UpdateCustomerResponse {
            customer: Some(customer.context(&rules, tx.now(), false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Records the channel a customer wants for a need; UNSPECIFIED takes the wish back.
    pub async fn set_preference(
        &self,
        caller: &Caller,
        id: CustomerId,
        need: String,
        kind: ChannelKind,
        request: &wire::SetChannelPreferenceRequest,
    ) -> Result<wire::SetChannelPreferenceResponse, Error> {
        const METHOD: &str = "SetChannelPreference";
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
        let mut customer = read_alone(&mut tx, tenant, id).await?;
        let before = customer.profile.preferences.clone();
        match kind {
            ChannelKind::Unspecified => customer.profile.preferences.remove(&need),
            wanted => customer.profile.preferences.insert(need, wanted as i32),
        };
        if customer.profile.preferences != before {
            store::save_profiles(tx.conn(), &[(tenant, customer.id, &customer.profile)]).await?;
            publish_change(&mut tx, tenant, &customer, &rules, &["preferences"]);
        }
        let response = wire::SetChannelPreferenceResponse {
            customer: Some(customer.context(&rules, tx.now(), false)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Records consent or its withdrawal, with how we know.
    pub async fn set_consent(
        &self,
        caller: &Caller,
        id: CustomerId,
        (kind, purpose, status): (ChannelKind, Purpose, ConsentStatus),
        request: &wire::SetConsentRequest,
    ) -> Result<wire::SetConsentResponse, Error> {
        const METHOD: &str = "SetConsent";
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
        let (now, entry_id) = (tx.now(), tx.new_id());
        let mut customer = read_alone(&mut tx, tenant, id).await?;
        let entry = ConsentEntry {
            id: entry_id,
            customer: customer.id,
            kind,
            purpose,
            status,
            evidence: &request.evidence,
            by: caller.subject.as_str(),
        };
        store::challenges::add_consent(tx.conn(), tenant, &entry, now).await?;
        if customer.profile.consent(kind, purpose) != status {
            customer.profile.set_consent(kind, purpose, status);
            store::save_profiles(tx.conn(), &[(tenant, customer.id, &customer.profile)]).await?;
            publish_change(&mut tx, tenant, &customer, &self.rules(tenant), &["consent"]);
        }
        let response = wire::SetConsentResponse {};
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Where customers may be reached: one answer per question, in order.
    pub async fn resolve_contacts(
        &self,
        tenant: &TenantId,
        questions: &[ContactQuestion],
    ) -> Result<Vec<wire::ContactAnswer>, Error> {
        let mut tx: Tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let question = Question {
            customers: questions.iter().map(|q| (tenant, q.customer)).collect(),
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, now).await?;
        let rules = self.rules(tenant);
        let world = worlds.get(tenant);
        Ok(questions
            .iter()
            .map(|q| {
                // Who is not known has no place to be reached at; the others of the batch still get their answers.
                let Some(customer) = world.and_then(|w| w.get(q.customer)) else {
                    return wire::ContactAnswer::default();
                };
                let points = contact::points(customer, &q.need, q.purpose, q.fallback, &rules);
                wire::ContactAnswer {
                    customer: Some(customer.context(&rules, now, false)),
                    points: points
                        .into_iter()
                        .map(|p| wire::ContactPoint {
                            channel_kind: p.kind as i32,
                            handle: Some(p.handle.to_wire()),
                            reason: p.reason,
                        })
                        .collect(),
                }
            })
            .collect())
    }
}
