//! The normaliser stage: deliveries in, interactions and receipts out. For plain messages it runs no SQL of its own.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use trama_platform::{
    Error, Tx,
    objects::Objects,
    resources::ResourceStore,
    stage::{Envelope, Handler},
};
use trama_proto::{
    common::v1::{Attachment, Interaction},
    ids::{DeliveryId, TenantId, derive},
    ingest::v1::{Delivery, HandleChanged, InteractionReceived, ReceiptReceived},
    resources::Resources,
    time::from_wire,
};

use crate::{
    app::{journal, media},
    channels::{self, Draft, InlineFile, Normalised, Source, attribute},
    store::quarantine,
};

/// Works in deliveries.
pub struct Normaliser {
    /// Channels.
    pub resources: ResourceStore,
    /// Where files go.
    pub objects: Objects,
}

/// A delivery after everything that needs no transaction.
struct Prepared<'a> {
    envelope: &'a Envelope,
    delivery: Delivery,
    found: Normalised,
    received_at: DateTime<Utc>,
}

#[async_trait::async_trait]
impl Handler for Normaliser {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        let resources = self.resources.snapshot();
        let mut prepared = Vec::with_capacity(batch.len());
        for envelope in batch {
            prepared.push(self.prepare(&resources, envelope, tx.now()).await?);
        }
        let mut unreadable = Vec::new();
        for one in prepared {
            tx.follow(one.envelope);
            let tenant = &one.envelope.tenant;
            metrics::counter!("trama_ingest_interactions_total")
                .increment(one.found.interactions.len() as u64);
            metrics::counter!("trama_ingest_receipts_total").increment(one.found.receipts.len() as u64);
            metrics::counter!("trama_ingest_ignored_total").increment(u64::from(one.found.ignored));
            for draft in one.found.interactions {
                if draft.remote.is_empty() {
                    publish_interaction(tx, tenant, draft.interaction)?;
                } else {
                    media::defer(tx, one.envelope, &draft.interaction, &draft.remote).await?;
                }
            }
            for receipt in one.found.receipts {
                publish_receipt(tx, tenant, &receipt);
            }
            for change in one.found.changes {
                publish_change(tx, tenant, &change);
            }
            if !one.found.problems.is_empty() {
                metrics::counter!("trama_ingest_quarantined_total").increment(1);
                tracing::warn!(
                    channel = one.delivery.channel,
                    delivery = one.delivery.delivery_id,
                    problems = one.found.problems.len(),
                    "a delivery goes to quarantine"
                );
                unreadable.push(to_quarantine(
                    tenant,
                    &one.delivery,
                    &one.found.problems,
                    one.received_at,
                ));
            }
        }
        if !unreadable.is_empty() {
            quarantine::put(tx, &unreadable).await?;
        }
        Ok(())
    }
}

impl Normaliser {
    async fn prepare<'a>(
        &self,
        resources: &Resources,
        envelope: &'a Envelope,
        now: DateTime<Utc>,
    ) -> Result<Prepared<'a>, Error> {
        let delivery: Delivery = envelope.decode()?;
        let delivery = journal::complete(&self.objects, &envelope.tenant, delivery).await?;
        let received_at = from_wire(delivery.received_at.as_ref()).unwrap_or(now);
        let tenant = resources.tenant(&envelope.tenant);
        let mut found = match tenant.and_then(|t| t.channels.get(&delivery.channel).zip(Some(t))) {
            None => Normalised {
                problems: vec!["the channel does not exist any more".into()],
                ..Normalised::default()
            },
            Some((spec, _)) if i32::from(spec.kind()) != delivery.channel_kind => Normalised {
                problems: vec!["the channel is of another kind now".into()],
                ..Normalised::default()
            },
            Some((spec, all)) => {
                let source = Source {
                    tenant: &envelope.tenant,
                    channel: &delivery.channel,
                    spec,
                    resources: all,
                    received_at,
                };
                channels::normalise(&source, &delivery)
            }
        };
        for draft in &mut found.interactions {
            self.store_inline(&envelope.tenant, draft).await?;
        }
        Ok(Prepared {
            envelope,
            delivery,
            found,
            received_at,
        })
    }

    /// Puts the files that came along into the object store; their keys are the same on every repeat.
    async fn store_inline(&self, tenant: &TenantId, draft: &mut Draft) -> Result<(), Error> {
        for (position, file) in std::mem::take(&mut draft.inline).into_iter().enumerate() {
            let InlineFile {
                filename,
                content_type,
                bytes,
            } = file;
            let object_key = channels::object_key(tenant, &draft.interaction.interaction_id, position);
            let attachment = Attachment {
                filename,
                content_type,
                size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
                sha256: hex::encode(Sha256::digest(&bytes)),
                object_key: object_key.clone(),
                ..channels::attachment(&draft.interaction.interaction_id, position)
            };
            self.objects.put(&object_key, Bytes::clone(&bytes)).await?;
            draft.interaction.attachments.push(attachment);
        }
        Ok(())
    }
}

/// Publishes an interaction under an id by which every inbox knows a repeat of this revision.
///
/// # Errors
/// When it has no party: a broken promise of a normaliser.
pub fn publish_interaction(tx: &mut Tx, tenant: &TenantId, interaction: Interaction) -> Result<(), Error> {
    let party = interaction
        .party
        .as_ref()
        .ok_or_else(|| Error::internal("an interaction without party"))?;
    let key = format!("{}:{}", party.kind, party.value);
    let revision = interaction.revision.to_be_bytes();
    let id = derive(&[
        b"interaction_received",
        tenant.as_str().as_bytes(),
        interaction.interaction_id.as_bytes(),
        &revision,
    ]);
    tx.publish_as(
        id,
        tenant,
        &key,
        &InteractionReceived {
            interaction: Some(interaction),
        },
    );
    Ok(())
}

fn publish_receipt(tx: &mut Tx, tenant: &TenantId, receipt: &ReceiptReceived) {
    let id = derive(&[
        b"receipt_received",
        tenant.as_str().as_bytes(),
        receipt.channel.as_bytes(),
        receipt.provider_message_id.as_bytes(),
        &receipt.status.to_be_bytes(),
    ]);
    tx.publish_as(id, tenant, &receipt.provider_message_id, receipt);
}

/// Under the key of what will be said from the new handle, so that the change comes before it.
fn publish_change(tx: &mut Tx, tenant: &TenantId, change: &HandleChanged) {
    let (Some(old), Some(new)) = (&change.old, &change.new) else {
        return;
    };
    let seconds = change.occurred_at.as_ref().map_or(0, |at| at.seconds);
    let id = derive(&[
        b"handle_changed",
        tenant.as_str().as_bytes(),
        change.channel.as_bytes(),
        old.value.as_bytes(),
        new.value.as_bytes(),
        &seconds.to_be_bytes(),
    ]);
    tx.publish_as(id, tenant, &format!("{}:{}", new.kind, new.value), change);
}

fn to_quarantine(
    tenant: &TenantId,
    delivery: &Delivery,
    problems: &[String],
    received_at: DateTime<Utc>,
) -> quarantine::New {
    let size_bytes = i64::try_from(delivery.body.len()).unwrap_or(i64::MAX);
    let mut kept = delivery.clone();
    if kept.attributes.contains_key(attribute::BODY_OBJECT) {
        // The object store has it.
        kept.body.clear();
    }
    let mut reason = problems.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > 10 {
        reason.push_str("; …");
    }
    quarantine::New {
        tenant: tenant.to_string(),
        delivery_id: delivery
            .delivery_id
            .parse()
            .unwrap_or_else(|_| DeliveryId::derived(&[&delivery.body]))
            .uuid(),
        channel: delivery.channel.clone(),
        reason: reason.replace('\0', ""),
        delivery: kept.encode_to_vec(),
        size_bytes,
        received_at,
    }
}

/// Hears nothing: what its stage listens to is the platform's to work in.
pub struct Nothing;

#[async_trait::async_trait]
impl Handler for Nothing {
    async fn handle(&self, _: &mut Tx, _: &[Envelope]) -> Result<(), Error> {
        Ok(())
    }
}
