//! What providers report about messages.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    ids::TenantId,
    ingest::v1::{ReceiptReceived, ReceiptStatus},
    time::from_wire,
};
use uuid::Uuid;

use super::settle::{news, reached};
use crate::{
    domain::{Standing, receipt},
    store::{self, EarlyReceipt, MessageRow},
};

/// A receipt as it came.
pub struct Received<'a> {
    /// Envelope that it came in.
    pub envelope: &'a Envelope,
    /// What it says.
    pub receipt: ReceiptReceived,
}

/// A receipt that can be worked in.
struct Known {
    tenant: TenantId,
    channel: String,
    provider_message_id: String,
    message_id: Option<Uuid>,
    status: ReceiptStatus,
    error: String,
    at: DateTime<Utc>,
}

/// Works receipts in: any order, any number of times. What came before we know the provider's id is kept aside.
///
/// # Errors
/// When the database is away.
pub async fn apply(tx: &mut Tx, received: &[Received<'_>]) -> Result<(), Error> {
    let now = tx.now();
    let known: Vec<Known> = received.iter().filter_map(|r| read(r, now)).collect();
    if known.is_empty() {
        return Ok(());
    }
    let provider_ids: Vec<(&TenantId, &str, &str)> = known
        .iter()
        .map(|k| (&k.tenant, k.channel.as_str(), k.provider_message_id.as_str()))
        .collect();
    store::lock_provider_ids(tx.conn(), &provider_ids).await?;
    let by_provider: Vec<(&str, &str)> = known
        .iter()
        .map(|k| (k.tenant.as_str(), k.provider_message_id.as_str()))
        .collect();
    let by_message: Vec<(&str, Uuid)> = known
        .iter()
        .filter_map(|k| Some((k.tenant.as_str(), k.message_id?)))
        .collect();
    let mut rows = Rows::new(store::rows_of(tx, &by_provider, &by_message).await?);
    let mut early = Vec::new();
    let mut changed = HashSet::new();
    for one in known {
        let Some(news) = news(one.status, &one.error) else {
            continue;
        };
        match rows.find(&one) {
            Some(row) if row.standing != Standing::Queued => {
                if let Some(change) = receipt(row.standing, &news, one.at)
                    && reached(tx, row, &change).await?
                {
                    changed.insert(row.message_id);
                }
            }
            Some(_) | None => early.push(EarlyReceipt {
                tenant: one.tenant.to_string(),
                channel: one.channel,
                provider_message_id: one.provider_message_id,
                status: one.status.into(),
                message_id: one.message_id,
                error: one.error,
                occurred_at: one.at,
            }),
        }
    }
    let to_save: Vec<&MessageRow> = rows
        .rows
        .iter()
        .filter(|r| changed.contains(&r.message_id))
        .collect();
    store::save_standings(tx.conn(), &to_save, now).await?;
    metrics::counter!("trama_notification_early_receipts_total").increment(early.len() as u64);
    store::keep_early(tx.conn(), &early, now).await
}

fn read(received: &Received<'_>, now: DateTime<Utc>) -> Option<Known> {
    let receipt = &received.receipt;
    // What is not one of our ids was put there by somebody else.
    let message_id = Uuid::try_parse(&receipt.message_id).ok();
    let provider_message_id = match (receipt.provider_message_id.as_str(), message_id) {
        ("", None) => return None,
        ("", Some(ours)) => ours.to_string(),
        (theirs, _) => theirs.to_owned(),
    };
    Some(Known {
        tenant: received.envelope.tenant.clone(),
        channel: receipt.channel.clone(),
        provider_message_id,
        message_id,
        status: receipt.status(),
        error: receipt.error.clone(),
        at: from_wire(receipt.occurred_at.as_ref()).unwrap_or(now),
    })
}

/// Locked rows, found by either id.
struct Rows {
    rows: Vec<MessageRow>,
    by_provider: HashMap<(String, String, String), usize>,
    by_message: HashMap<(String, Uuid), usize>,
}

impl Rows {
    fn new(rows: Vec<MessageRow>) -> Self {
        let mut by_provider = HashMap::new();
        let mut by_message = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            let tenant = row.tenant.to_string();
            by_provider.insert(
                (
                    tenant.clone(),
                    row.channel.clone(),
                    row.provider_message_id.clone(),
                ),
                index,
            );
            by_message.insert((tenant, row.message_id.uuid()), index);
        }
        Self {
            rows,
            by_provider,
            by_message,
        }
    }

    /// The provider's id decides; ours only where we do not know theirs, so that a receipt of an earlier try on
    /// another channel does not speak for the later one.
    fn find(&mut self, known: &Known) -> Option<&mut MessageRow> {
        let tenant = known.tenant.to_string();
        let theirs = (
            tenant.clone(),
            known.channel.clone(),
            known.provider_message_id.clone(),
        );
        let index = match self.by_provider.get(&theirs) {
            Some(index) => *index,
            None => *self.by_message.get(&(tenant, known.message_id?))?,
        };
        let row = &mut self.rows[index];
        let same = row.provider_message_id == known.provider_message_id || row.provider_message_id.is_empty();
        same.then_some(row)
    }
}
