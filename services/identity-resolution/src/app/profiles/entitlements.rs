//! Entitlements for a time.

use chrono::{DateTime, Utc};
use serde_json::json;
use trama_platform::{Command, Error, Tx, timers::TimerSpec};
use trama_proto::{
    identity_resolution::v1 as wire,
    ids::{CustomerId, TenantId},
    time::to_wire,
};

use super::rows;
use crate::{
    app::{App, Caller, customers::by_hand, publish_change},
    domain::customer::Field,
    store::{self, profiles::Grant},
};

/// Kind of the timer that begins and ends entitlements.
pub const TIMER: &str = "entitlement";

/// A wish to grant.
#[derive(Debug, Clone)]
pub struct Granting {
    /// To whom.
    pub customer: CustomerId,
    /// From when; now when `None`.
    pub valid_from: Option<DateTime<Utc>>,
    /// Until when.
    pub valid_until: Option<DateTime<Utc>>,
}

impl App {
    /// Grants an entitlement for a time.
    pub async fn grant_entitlement(
        &self,
        caller: &Caller,
        granting: Granting,
        request: &wire::GrantEntitlementRequest,
    ) -> Result<wire::GrantEntitlementResponse, Error> {
        const METHOD: &str = "GrantEntitlement";
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
        if !self.rules(tenant).knows_entitlement(&request.entitlement) {
            return Err(Error::invalid(
                "entitlement",
                "no Entitlement resource has this name",
            ));
        }
        let now = tx.now();
        let customer = self.read_alone(&mut tx, tenant, granting.customer).await?;
        let grant = Grant {
            id: tx.new_id(),
            customer: customer.id,
            entitlement: request.entitlement.clone(),
            valid_from: granting.valid_from.unwrap_or(now),
            valid_until: granting.valid_until,
            source: request.source.clone(),
        };
        if grant
            .valid_until
            .is_some_and(|until| until <= grant.valid_from.max(now))
        {
            return Err(Error::invalid(
                "valid_until",
                "must be after valid_from and in the future",
            ));
        }
        store::profiles::add_grant(tx.conn(), tenant, &grant, (caller.subject.as_str(), now)).await?;
        tx.changed(("grant", &grant.id), "entitlement", "", &grant.entitlement);
        self.note(&mut tx, caller, &[customer.id], "changed", "entitlement")
            .await?;
        self.put_in_force(&mut tx, tenant, customer.id).await?;
        let response = wire::GrantEntitlementResponse {
            grant: Some(to_wire_grant(&grant, now)),
        };
        tx.remember(&command, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    /// Puts in force the best entitlement whose time is now, and looks again when the next begins or ends.
    pub(in crate::app) async fn put_in_force(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        id: CustomerId,
    ) -> Result<(), Error> {
        let now = tx.now();
        let rows = rows(tx, tenant, id).await?;
        let grants = store::profiles::grants(tx.conn(), tenant, &rows).await?;
        let snapshot = self.resources.snapshot();
        let priority = |grant: &Grant| {
            let known = snapshot.tenant(tenant).map(|r| &r.entitlements);
            known.and_then(|e| e.get(&grant.entitlement)).map(|e| e.priority)
        };
        let best = grants
            .iter()
            .filter(|g| g.holds(now))
            .max_by_key(|g| (priority(g), g.valid_from, g.id));
        let customer = self.read(tx, tenant, id).await?;
        let held = &customer.profile.entitlement;
        let wanted = match best {
            Some(grant) => grant.entitlement.as_str(),
            // What ran out goes; what was set without a time stays.
            None if grants.iter().any(|g| g.entitlement == *held) => "",
            None => held,
        };
        if wanted != held {
            let rules = self.rules(tenant);
            let (before, wanted) = (held.clone(), wanted.to_owned());
            let mut customer = customer.clone();
            let (own_id, origin) = (customer.id, by_hand(tx));
            if let Some(own) = customer.own_mut(own_id) {
                own.say(Field::Entitlement, &wanted, origin);
            }
            customer.choose(&rules);
            self.save_own(tx, tenant, &customer).await?;
            tx.changed(("customer", &own_id), Field::Entitlement.name(), &before, &wanted);
            let mut customers = [customer];
            self.refresh(tx, tenant, &mut customers).await?;
            publish_change(tx, tenant, &customers[0], &self.rules(tenant), &["entitlement"]);
        }
        let edges = grants
            .iter()
            .flat_map(|g| [Some(g.valid_from), g.valid_until])
            .flatten();
        if let Some(due_at) = edges.filter(|at| *at > now).min() {
            tx.arm(TimerSpec {
                tenant: tenant.clone(),
                kind: TIMER,
                // With its moment, so that nobody who holds the customer waits for the timer that fires for them.
                key: format!("{id} {}", due_at.timestamp_micros()),
                due_at,
                payload: json!({}),
            });
        }
        Ok(())
    }
}

/// For the wire.
pub(super) fn to_wire_grant(grant: &Grant, now: DateTime<Utc>) -> wire::EntitlementGrant {
    wire::EntitlementGrant {
        grant_id: grant.id.to_string(),
        entitlement: grant.entitlement.clone(),
        valid_from: Some(to_wire(grant.valid_from)),
        valid_until: grant.valid_until.map(to_wire),
        source: grant.source.clone(),
        in_force: grant.holds(now),
    }
}
