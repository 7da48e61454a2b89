//! Records of other systems: whose are they?

use std::sync::Arc;

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    identity_resolution::v1::CustomerChanged,
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use super::{
    App,
    observing::{Decided, Item, merged_event},
};
use crate::domain::{
    customer::Field,
    handle::Handle,
    ids::ObservationId,
    resolution::{Observation, Verdict},
    rules::Rules,
    said::Said,
};

/// A record as another system says it.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// Derived from the source and its id there: the same id is the same record.
    pub id: Uuid,
    /// Who says it: `crm`, `import:loyalty`.
    pub source: String,
    /// Handles, valid, each once.
    pub handles: Vec<Handle>,
    /// What else it says of the person.
    pub said: Said,
    /// Fields that it sets.
    pub fields: Vec<(Field, String)>,
    /// When the other system last heard of them: a person who was erased comes back only by what is younger.
    pub recorded_at: Option<DateTime<Utc>>,
}

/// What became of a record.
pub struct Observed {
    /// Whose it is.
    pub customer: CustomerId,
    /// Nobody like this was known.
    pub is_new: bool,
    /// Something is known that was not known before.
    pub changed: bool,
    /// All that is to tell of it.
    pub decided: Decided,
}

impl NewRecord {
    /// The id of the customer that is made of it when it is nobody known: a repeat finds the same one.
    fn customer(&self, tenant: &TenantId) -> CustomerId {
        CustomerId::derived(&[
            b"customer of record",
            tenant.as_str().as_bytes(),
            self.id.as_bytes(),
        ])
    }
}

impl App {
    /// Works records in and tells everybody what changed.
    ///
    /// # Errors
    /// When others keep changing the same customers, or the database is away.
    pub async fn observe_records(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        records: &[NewRecord],
    ) -> Result<Vec<Observed>, Error> {
        let rules = self.rules(tenant);
        let mut items: Vec<Item<'_>> = records
            .iter()
            .map(|record| item(tenant, record, &rules))
            .collect();
        let decided = self.observe(tx, &mut items).await?;
        Ok(decided.into_iter().map(|d| tell(tx, tenant, d)).collect())
    }
}

/// A record, to be worked in.
pub(super) fn item<'a>(tenant: &'a TenantId, record: &NewRecord, rules: &Arc<Rules>) -> Item<'a> {
    Item {
        tenant,
        observation: observation(record, tenant, rules),
        rules: Arc::clone(rules),
        proof: None,
    }
}

/// What a record shows.
fn observation(record: &NewRecord, tenant: &TenantId, rules: &Rules) -> Observation {
    let mut handles: Vec<Handle> = Vec::with_capacity(record.handles.len());
    for handle in &record.handles {
        let implied = handle.key.implied();
        for key in [Some(handle.key.clone()), implied].into_iter().flatten() {
            let known = handles.iter().any(|h| h.key == key);
            if !known && !rules.is_blocked(&key) {
                let trust = rules.trust(&key, handle.trust);
                handles.push(Handle { key, trust });
            }
        }
    }
    let mut said = record.said.clone();
    handles
        .iter()
        .filter(|h| !rules.is_shared(&h.key))
        .for_each(|h| said.add_handle(h));
    Observation {
        interaction: None,
        record: Some(ObservationId::new(record.id)),
        handles,
        said,
        fields: record.fields.clone(),
        source: record.source.clone(),
        verified: false,
        new_id: record.customer(tenant),
        contradicts: std::collections::HashSet::new(),
        verdict: Verdict::Nobody,
        settled: None,
    }
}

fn tell(tx: &mut Tx, tenant: &TenantId, decided: Decided) -> Observed {
    let outcome = &decided.outcome;
    let key = outcome.customer.to_string();
    metrics::counter!("trama_identity_resolution_merges_total", "by" => "record")
        .increment(outcome.merges.len() as u64);
    for merge in outcome.merges_of_others() {
        tx.publish(tenant, &key, &merged_event(merge, decided.context.clone()));
    }
    let mut fields = Vec::new();
    if outcome.changed {
        fields.push("profile".to_owned());
    }
    if outcome.sightings.iter().any(|h| h.first_seen == h.last_seen) || !outcome.moved.is_empty() {
        fields.push("handles".to_owned());
    }
    // Whoever is new is told of with the first thing that they do.
    if !fields.is_empty() && !outcome.is_new {
        let event = CustomerChanged {
            customer: Some(decided.context.clone()),
            changed_fields: fields.clone(),
            ..CustomerChanged::default()
        };
        tx.publish(tenant, &key, &event);
    }
    Observed {
        customer: outcome.customer,
        is_new: outcome.is_new,
        changed: !fields.is_empty() || !outcome.merges.is_empty(),
        decided,
    }
}
