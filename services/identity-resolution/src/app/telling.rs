//! Changes of customers, told to the tenant's webhook: the latest of each customer, signed, until it is taken.

use std::{collections::BTreeMap, sync::Arc, time::Duration as Wait};

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use trama_platform::{
    Error, Tx,
    stage::{Envelope, Handler},
};
use trama_proto::{
    common::v1::{ChannelKind, CustomerContext, Trust},
    identity_resolution::v1::{CustomerChanged, CustomerMerged, CustomerSplit},
    ids::{CustomerId, TenantId},
    time::from_wire,
};

use super::{App, hooks::Outside};
use crate::store::telling::{self, Change};

/// Name of the stage.
pub const STAGE: &str = "identity-told";
/// Events that are told.
pub const EVENTS: [&str; 3] = ["customer_changed", "customer_merged", "customer_split"];
/// Changes that are on their way at once.
const AT_ONCE: i64 = 16;
/// Tries before a change is given up: about a day.
const MOST_TRIES: i32 = 32;

/// Notes what is to be told, and has views worked out anew when customers were joined or parted.
pub struct Teller(Arc<App>);

impl Teller {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait::async_trait]
impl Handler for Teller {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let mut changes = Vec::new();
        let mut rearranged: BTreeMap<&TenantId, BTreeMap<CustomerId, &Envelope>> = BTreeMap::new();
        for envelope in batch {
            for customer in customers_with_other_rows(envelope)? {
                let of_tenant = rearranged.entry(&envelope.tenant).or_default();
                of_tenant.insert(customer, envelope);
            }
            if self.0.schema(&envelope.tenant).spec().webhook.is_none() {
                continue;
            }
            if let Some((customer, kind, body)) = told(envelope)? {
                changes.push(Change {
                    id: envelope.id,
                    tenant: envelope.tenant.clone(),
                    customer,
                    kind,
                    body: body.to_string().into_bytes(),
                    attempts: 0,
                });
            }
        }
        if !rearranged.is_empty() {
            tx.plan_once().await?;
        }
        for (tenant, customers) in rearranged {
            self.0.refresh_all(tx, tenant, &customers).await?;
        }
        let now = tx.now();
        telling::put(tx.conn(), &changes, now).await
    }
}

/// Customers who hold other rows than before.
fn customers_with_other_rows(envelope: &Envelope) -> Result<Vec<CustomerId>, Error> {
    let (one, other) = if envelope.is::<CustomerMerged>() {
        (envelope.decode::<CustomerMerged>()?.survivor, None)
    } else if envelope.is::<CustomerSplit>() {
        let event: CustomerSplit = envelope.decode()?;
        (event.survivor, event.restored)
    } else {
        (None, None)
    };
    let ids = [one, other]
        .into_iter()
        .flatten()
        .map(|c| c.customer_id.parse().map_err(Error::from));
    ids.collect()
}

/// What an event says to the outside. Kinds do not replace each other: a merge is not lost to a later change.
fn told(envelope: &Envelope) -> Result<Option<(CustomerId, String, Value)>, Error> {
    let id = envelope.id.to_string();
    Ok(if envelope.is::<CustomerChanged>() {
        let event: CustomerChanged = envelope.decode()?;
        let Some(customer) = event.customer else {
            return Ok(None);
        };
        let body = json!({"id": id, "type": "customer_changed", "changedFields": event.changed_fields, "customer": shown(&customer)});
        Some((customer.customer_id.parse()?, "customer_changed".to_owned(), body))
    } else if envelope.is::<CustomerMerged>() {
        let event: CustomerMerged = envelope.decode()?;
        let Some(survivor) = event.survivor else {
            return Ok(None);
        };
        let body = json!({"id": id, "type": "customer_merged", "mergeId": event.merge_id,
            "mergedCustomerId": event.merged_customer_id, "reason": event.reason, "customer": shown(&survivor)});
        Some((
            survivor.customer_id.parse()?,
            format!("customer_merged {}", event.merge_id),
            body,
        ))
    } else if envelope.is::<CustomerSplit>() {
        let event: CustomerSplit = envelope.decode()?;
        let (Some(survivor), Some(restored)) = (event.survivor, event.restored) else {
            return Ok(None);
        };
        let body = json!({"id": id, "type": "customer_split", "mergeId": event.merge_id,
            "customer": shown(&survivor), "restored": shown(&restored)});
        Some((
            survivor.customer_id.parse()?,
            format!("customer_split {}", event.merge_id),
            body,
        ))
    } else {
        None
    })
}

fn shown(customer: &CustomerContext) -> Value {
    let proof = customer.verification.clone().unwrap_or_default();
    json!({
        "customerId": customer.customer_id,
        "displayName": customer.display_name,
        "language": customer.language,
        "entitlement": customer.entitlement,
        "personaGroup": customer.persona_group,
        "segments": customer.segments,
        "accessibilityNeeds": customer.accessibility_needs,
        "traits": customer.traits,
        "handles": customer.handles.iter().map(|h| {
            json!({"kind": h.kind, "value": h.value, "trust": Trust::try_from(h.trust).unwrap_or_default().as_str_name()})
        }).collect::<Vec<_>>(),
        "preferences": customer.preferences.iter().map(|p| {
            json!({"need": p.need, "channel": ChannelKind::try_from(p.channel_kind).unwrap_or_default().as_str_name()})
        }).collect::<Vec<_>>(),
        "verification": {
            "level": proof.level,
            "method": proof.method,
            "expiresAt": from_wire(proof.expires_at.as_ref()).map(|at| at.to_rfc3339()),
        },
    })
}

impl App {
    /// Sends what is to be told, for as long as the process runs.
    pub async fn tell(self: Arc<Self>, outside: Outside, stopping: CancellationToken) -> Result<(), Error> {
        while !stopping.is_cancelled() {
            let sent = match self.tell_some(&outside).await {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::warn!(detail = error.detail(), "changes cannot be told; trying again");
                    0
                }
            };
            if sent == 0 {
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = tokio::time::sleep(Wait::from_millis(500)) => {}
                }
            }
        }
        Ok(())
    }

    async fn tell_some(&self, outside: &Outside) -> Result<usize, Error> {
        let mut tx = self.db.system_tx().await?;
        let now = tx.now();
        // Held for a minute: whoever dies meanwhile leaves it to the others.
        let due = telling::claim(tx.conn(), now, now + Duration::minutes(1), AT_ONCE).await?;
        if due.is_empty() {
            return Ok(0);
        }
        tx.commit().await?;
        let calls = due.iter().map(|change| self.send(outside, change, now));
        let results = futures::future::join_all(calls).await;
        let mut tx = self.db.system_tx().await?;
        for (change, taken) in due.iter().zip(results) {
            if taken {
                telling::done(tx.conn(), change).await?;
            } else if change.attempts >= MOST_TRIES {
                tracing::error!(tenant = %change.tenant, "a change of a customer was not taken for too long and is given up");
                metrics::counter!("trama_identity_resolution_told_total", "outcome" => "given_up")
                    .increment(1);
                telling::done(tx.conn(), change).await?;
            } else {
                telling::later(tx.conn(), change, now + pause(change.attempts)).await?;
            }
        }
        tx.commit().await?;
        Ok(due.len())
    }

    async fn send(&self, outside: &Outside, change: &Change, now: DateTime<Utc>) -> bool {
        let Some(hook) = self.webhook(&change.tenant) else {
            // Nobody wants to hear it any more.
            return true;
        };
        match outside
            .post(&change.tenant, &hook, change.body.clone(), now)
            .await
        {
            Ok(_) => {
                metrics::counter!("trama_identity_resolution_told_total", "outcome" => "taken").increment(1);
                true
            }
            Err(error) => {
                tracing::debug!(detail = error.detail(), "a change was not taken; trying again");
                metrics::counter!("trama_identity_resolution_told_total", "outcome" => "refused")
                    .increment(1);
                false
            }
        }
    }

    fn webhook(&self, tenant: &TenantId) -> Option<trama_proto::resources::Hook> {
        self.schema(tenant).spec().webhook.clone()
    }
}

/// Longer after each try, at most an hour.
fn pause(attempts: i32) -> Duration {
    Duration::seconds(1_i64 << attempts.clamp(0, 11)).min(Duration::hours(1))
}
