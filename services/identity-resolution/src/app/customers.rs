//! Profiles: read, find, change, and where a customer may be reached.

use trama_platform::{Command, Error, Tx};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext},
    identity_resolution::v1::{self as wire, ConsentStatus, Purpose},
    ids::{CustomerId, TenantId},
    time::to_wire,
};

use super::{App, Caller, auditing::profile_changed, linking::BY_HAND, publish_change};
use crate::{
    domain::{
        consent::{Entry, Subject, Word},
        contact,
        customer::{Customer, Field, Origin},
        handle::HandleKey,
        merge::MergeRecord,
        rules::Rules,
        survivorship,
    },
    error::broken_row,
    store::{self, Question},
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
    /// For which brand; all when empty.
    pub brand: String,
}

impl App {
    /// One customer with the merges that can be undone.
    pub async fn get_customer(
        &self,
        caller: &Caller,
        id: CustomerId,
    ) -> Result<wire::GetCustomerResponse, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let customer = self.read(&mut tx, tenant, id).await?;
        let ids: Vec<CustomerId> = customer.members.iter().map(|m| m.id).collect();
        let merges = store::merges::in_force(tx.conn(), tenant, &ids).await?;
        let rules = self.rules(tenant);
        let response = wire::GetCustomerResponse {
            customer: Some(customer.context(&rules, tx.now(), false)),
            merges: merges.iter().map(wire_merge).collect(),
            create_time: Some(to_wire(customer.created_at)),
            protected: customer.is_protected(),
            conflicts: conflicts(&customer, &rules),
        };
        self.note(&mut tx, caller, &[customer.id], "read", "").await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Customers that hold a handle.
    pub async fn find_customers(
        &self,
        caller: &Caller,
        key: &HandleKey,
    ) -> Result<Vec<CustomerContext>, Error> {
        let tenant = &caller.tenant;
        let mut tx = self.db.tx(tenant).await?;
        let now = tx.now();
        let question = Question {
            handles: vec![(tenant, key)],
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let Some(owner) = worlds.get(tenant).and_then(|w| w.owner(key)) else {
            return Ok(Vec::new());
        };
        self.note(&mut tx, caller, &[owner.id], "found", key.kind.as_str())
            .await?;
        tx.commit().await?;
        Ok(vec![owner.context(&self.rules(tenant), now, false)])
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
        let mut customer = self.read_alone(&mut tx, tenant, id).await?;
        let mut changed = Vec::new();
        let origin = by_hand(&tx);
        let (id, was) = (customer.id, customer.profile.clone());
        for (field, new) in [
            (Field::DisplayName, change.display_name),
            (Field::Language, change.language),
            (Field::Entitlement, change.entitlement),
            (Field::PersonaGroup, change.persona_group),
        ] {
            let Some(new) = new else {
                continue;
            };
            let before = customer.profile.clone();
            if let Some(own) = customer.own_mut(id) {
                own.say(field, &new, origin.clone());
            }
            customer.choose(&rules);
            if customer.profile != before {
                changed.push(field.name());
            }
        }
        self.save_own(&mut tx, tenant, &customer).await?;
        profile_changed(&tx, id, &was, &customer.profile);
        if !changed.is_empty() {
            self.note(&mut tx, caller, &[customer.id], "changed", &changed.join(", "))
                .await?;
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
        let mut customer = self.read_alone(&mut tx, tenant, id).await?;
        let before = customer.profile.clone();
        let (id, origin) = (customer.id, by_hand(&tx));
        if let Some(own) = customer.own_mut(id) {
            own.prefer(&need, kind, origin);
        }
        customer.choose(&rules);
        self.save_own(&mut tx, tenant, &customer).await?;
        profile_changed(&tx, id, &before, &customer.profile);
        if customer.profile.preferences != before.preferences {
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
        let now = tx.now();
        let customer = self.read_alone(&mut tx, tenant, id).await?;
        let entries = if status == ConsentStatus::Denied {
            let reach = (&[kind] as &[_], &[purpose] as &[_], "");
            self.withdrawals(&mut tx, caller, &customer, reach, &request.evidence)
                .await?
        } else {
            vec![Entry {
                subject: Subject::new(kind, purpose, ""),
                word: Word::Granted,
                evidence: request.evidence.clone(),
                by: caller.subject.to_string(),
                at: now,
                expires_at: None,
                origin: customer.id,
                of_the_whole: true,
                through: None,
            }]
        };
        self.record_consents(&mut tx, caller, customer.id, &entries)
            .await?;
        let response = wire::SetConsentResponse {};
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Writes what is said under the customer's own id.
    pub(super) async fn save_own(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        customer: &Customer,
    ) -> Result<(), Error> {
        let now = tx.now();
        let own = customer
            .own(customer.id)
            .ok_or_else(|| broken_row("customers", customer.id))?;
        store::save_own(tx.conn(), &[(tenant, customer.id, own)], now).await
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
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let rules = self.rules(tenant);
        let world = worlds.get(tenant);
        Ok(questions
            .iter()
            .map(|q| {
                // Who is not known has no place to be reached at; the others of the batch still get their answers.
                let Some(customer) = world.and_then(|w| w.get(q.customer)) else {
                    return wire::ContactAnswer::default();
                };
                let points = contact::points(customer, &q.need, (q.purpose, &q.brand), q.fallback, &rules);
                wire::ContactAnswer {
                    customer: Some(customer.context(&rules, now, false)),
                    points: points
                        .into_iter()
                        .map(|p| wire::ContactPoint {
                            channel_kind: p.kind as i32,
                            handle: Some(p.handle.to_wire()),
                            reason: p.reason,
                            refused_brands: customer.profile.refused_brands(p.kind, q.purpose),
                        })
                        .collect(),
                }
            })
            .collect())
    }
}

/// Said on purpose, now.
pub(super) fn by_hand(tx: &Tx) -> Origin {
    Origin {
        source: BY_HAND.to_owned(),
        at: tx.now(),
        verified: false,
        by_hand: true,
    }
}

/// A merge, for whoever may want to undo it.
pub(super) fn wire_merge(merge: &MergeRecord) -> wire::Merge {
    wire::Merge {
        merge_id: merge.id.to_string(),
        merged_customer_id: merge.merged.to_string(),
        decided_by: merge.decided_by.clone(),
        reason: merge.reason.clone(),
        merged_at: Some(to_wire(merge.at)),
        bits: merge.likeness.as_ref().map_or(0.0, |l| l.bits),
    }
}

/// Fields of which the sides of a merged customer say different things.
fn conflicts(customer: &Customer, rules: &Rules) -> Vec<wire::FieldValue> {
    let mut conflicts = Vec::new();
    for field in Field::ALL {
        let stated = survivorship::stated(&customer.members, field, &rules.policy().survivorship);
        let agree = stated.windows(2).all(|pair| pair[0].value == pair[1].value);
        if agree {
            continue;
        }
        conflicts.extend(stated.iter().map(|s| wire::FieldValue {
            field: field.name().to_owned(),
            value: s.value.to_owned(),
            source: s.origin.map(|o| o.source.clone()).unwrap_or_default(),
            customer_id: s.member.id.to_string(),
            said_at: s.origin.map(|o| to_wire(o.at)),
        }));
    }
    conflicts
}
