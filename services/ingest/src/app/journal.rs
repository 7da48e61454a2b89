//! The journal: what a provider sent is on disk before it gets its answer.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use trama_platform::{
    Clock, Error, Kind,
    bus::{Bus, Outgoing, Stream},
    objects::Objects,
    telemetry,
};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{DeliveryId, TenantId},
    ingest::v1::Delivery,
    time::to_wire,
};

use crate::channels::attribute;

/// What a door hands in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Whose.
    pub tenant: TenantId,
    /// Name of the channel.
    pub channel: String,
    /// Kind of that channel.
    pub kind: ChannelKind,
    /// Content type as sent.
    pub content_type: String,
    /// The bytes as sent.
    pub body: Bytes,
    /// What the transport knows beside the body.
    pub attributes: HashMap<String, String>,
    /// What tells two deliveries with the same bytes apart, such as the envelope of a mail.
    pub distinct: Vec<u8>,
    /// The conversation, as far as it is cheaply known: what shares it is processed in order.
    pub key: Option<String>,
}

/// Writes deliveries into the journal.
#[derive(Clone)]
pub struct Journal {
    bus: Bus,
    objects: Objects,
    clock: Clock,
}

/// Room for subject, headers and attributes beside the body of a message.
const HEADROOM: usize = 64 * 1024;
/// Larger bodies lie in the object store even where the bus would take them.
const LARGEST_INLINE: usize = 1024 * 1024;

impl Journal {
    /// Over the bus; bodies that are too large for it go to the object store.
    pub fn new(bus: Bus, objects: Objects, clock: Clock) -> Self {
        Self { bus, objects, clock }
    }

    /// Stores a delivery. When this returns, it is on disk.
    ///
    /// # Errors
    /// When the journal is away: the provider shall try again.
    pub async fn keep(&self, incoming: Incoming) -> Result<DeliveryId, Error> {
        let id = DeliveryId::derived(&[
            incoming.tenant.as_str().as_bytes(),
            incoming.channel.as_bytes(),
            &incoming.distinct,
            &incoming.body,
        ]);
        let delivery = Delivery {
            delivery_id: id.to_string(),
            channel: incoming.channel,
            channel_kind: incoming.kind.into(),
            received_at: Some(to_wire(self.clock.now())),
            content_type: incoming.content_type,
            body: incoming.body.into(),
            attributes: incoming.attributes,
        };
        let key = incoming.key.unwrap_or_else(|| delivery.delivery_id.clone());
        self.publish(&incoming.tenant, id.uuid(), &key, delivery).await?;
        Ok(id)
    }

    /// Sends a delivery through the normaliser again, under an id that the inbox has not seen.
    ///
    /// # Errors
    /// When the journal is away.
    pub async fn redrive(&self, tenant: &TenantId, id: uuid::Uuid, delivery: Delivery) -> Result<(), Error> {
        let key = delivery.delivery_id.clone();
        self.publish(tenant, id, &key, delivery).await
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        id: uuid::Uuid,
        key: &str,
        mut delivery: Delivery,
    ) -> Result<(), Error> {
        let limit = self
            .bus
            .client()
            .server_info()
            .max_payload
            .saturating_sub(HEADROOM)
            .min(LARGEST_INLINE);
        if delivery.body.len() > limit {
            let object = format!("{tenant}/deliveries/{}", delivery.delivery_id);
            let body = std::mem::take(&mut delivery.body);
            self.objects.put(&object, body.into()).await?;
            delivery
                .attributes
                .insert(attribute::BODY_OBJECT.to_owned(), object);
        }
        let subject = self.bus.subject(Stream::Ingress, &delivery.channel, tenant, key);
        let payload = delivery.encode_to_vec().into();
        self.bus
            .publish_one(Outgoing {
                id,
                subject,
                payload,
                trace: telemetry::current_trace(),
            })
            .await
    }
}

/// Brings back the body of a delivery that was too large for the journal.
///
/// # Errors
/// When the object store is away.
pub async fn complete(
    objects: &Objects,
    tenant: &TenantId,
    mut delivery: Delivery,
) -> Result<Delivery, Error> {
    if let Some(key) = delivery.attributes.get(attribute::BODY_OBJECT) {
        let body = objects
            .get(tenant, key)
            .await
            .map_err(|error| match error.kind() {
                // Written before the delivery was: a store that lags.
                Kind::NotFound => Error::new(
                    Kind::Unavailable,
                    "the body of a delivery is not in the object store yet",
                ),
                _ => error,
            })?;
        delivery.body = body.into();
    }
    Ok(delivery)
}

/// Shared by all doors.
pub type SharedJournal = Arc<Journal>;
