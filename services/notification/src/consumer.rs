//! Events → app.

use std::sync::Arc;

use tokio::sync::Notify;
use trama_platform::{
    Error, Tx,
    stage::{Envelope, Handler},
};
use trama_proto::{
    identity_resolution::v1::{CustomerMerged, CustomerSplit},
    ids::{CustomerId, InteractionId, MergeId, TenantId},
    ingest::v1::ReceiptReceived,
    notification::v1::MessageRequested,
    time::from_wire,
};

use crate::{
    app::{self, Asked, Received},
    store::{self, Split},
};

/// Works in what the service listens to.
pub struct Consumer {
    /// Wakes the sender.
    pub wake: Arc<Notify>,
}

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let mut asked = Vec::new();
        let mut receipts = Vec::new();
        for envelope in batch {
            // Merges first, in their order: a message finds its customer whichever of the two came first.
            if envelope.is::<CustomerMerged>() {
                merge(tx, &envelope.tenant, &envelope.decode()?).await?;
            } else if envelope.is::<CustomerSplit>() {
                split(tx, &envelope.tenant, &envelope.decode()?).await?;
            } else if envelope.is::<MessageRequested>() {
                asked.push(Asked {
                    tenant: envelope.tenant.clone(),
                    request: envelope.decode()?,
                    encoded: envelope.payload.to_vec(),
                    trace: envelope.trace.clone(),
                });
            } else if envelope.is::<ReceiptReceived>() {
                receipts.push(Received {
                    envelope,
                    receipt: envelope.decode()?,
                });
            } else {
                return Err(Error::invalid(
                    "event",
                    format!("{} is not one we listen to", envelope.name),
                ));
            }
        }
        if !asked.is_empty() {
            app::queue(tx, asked).await?;
        }
        if !receipts.is_empty() {
            app::apply(tx, &receipts).await?;
        }
        // The commit comes a moment later: the sender looks more than once.
        self.wake.notify_one();
        Ok(())
    }
}

async fn merge(tx: &mut Tx, tenant: &TenantId, event: &CustomerMerged) -> Result<(), Error> {
    let survivor = event
        .survivor
        .as_ref()
        .map(|c| c.customer_id.as_str())
        .unwrap_or_default();
    let (merge, survivor, merged): (MergeId, CustomerId, CustomerId) = (
        event.merge_id.parse()?,
        survivor.parse()?,
        event.merged_customer_id.parse()?,
    );
    store::save_merge(tx.conn(), tenant, merge, survivor, merged).await
}

async fn split(tx: &mut Tx, tenant: &TenantId, event: &CustomerSplit) -> Result<(), Error> {
    let id = |c: &Option<trama_proto::common::v1::CustomerContext>| {
        c.as_ref().map(|c| c.customer_id.clone()).unwrap_or_default()
    };
    let interactions = event
        .restored_interaction_ids
        .iter()
        .map(|id| Ok(id.parse::<InteractionId>()?.uuid()))
        .collect::<Result<Vec<_>, Error>>()?;
    let split = Split {
        merge: event.merge_id.parse()?,
        survivor: id(&event.survivor).parse()?,
        restored: id(&event.restored).parse()?,
        interactions: &interactions,
        merged_at: from_wire(event.merged_at.as_ref()),
        at: from_wire(event.split_at.as_ref()).unwrap_or_else(|| tx.now()),
    };
    store::save_split(tx.conn(), tenant, &split).await
}
