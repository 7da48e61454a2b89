//! `IngestService`.

use std::{collections::HashMap, pin::Pin};

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tonic::{Request, Response, Status};
use trama_platform::{Error, audit, objects::Objects, principal, resources::ResourceStore};
use trama_proto::{
    ids::{DeliveryId, InteractionId},
    ingest::v1::{
        GetAttachmentRequest, GetAttachmentResponse, ListQuarantinedDeliveriesRequest,
        ListQuarantinedDeliveriesResponse, QuarantinedDelivery, RedriveQuarantinedDeliveryRequest,
        RedriveQuarantinedDeliveryResponse, SubmitInteractionRequest, SubmitInteractionResponse,
        ingest_service_server::IngestService,
    },
    resources::Provider,
    time::to_wire,
};

use super::interaction;
use crate::{
    app::{
        journal::{Incoming, Journal},
        quarantine::Quarantine,
    },
    error::no_such_channel,
};

/// Bytes in one message of a stream.
const CHUNK: usize = 64 * 1024;

/// The doors of the platform, as far as they are gRPC.
pub struct IngestApi {
    /// Where interactions go.
    pub journal: Journal,
    /// What could not be understood.
    pub quarantine: Quarantine,
    /// Files.
    pub objects: Objects,
    /// Channels.
    pub resources: ResourceStore,
}

#[tonic::async_trait]
impl IngestService for IngestApi {
    async fn submit_interaction(
        &self,
        request: Request<SubmitInteractionRequest>,
    ) -> Result<Response<SubmitInteractionResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let SubmitInteractionRequest { channel, interaction } = request.into_inner();
        let snapshot = self.resources.snapshot();
        let spec = snapshot
            .tenant(&tenant)
            .and_then(|t| t.channels.get(&channel))
            .ok_or_else(|| no_such_channel(&channel))?;
        if !matches!(spec.provider, Provider::Api {}) {
            return Err(Error::invalid("channel", "must be a channel of kind `api`").into());
        }
        let interaction = interaction::check(interaction)?;
        let id = InteractionId::derived(&[
            tenant.as_str().as_bytes(),
            channel.as_bytes(),
            interaction.provider_id.as_bytes(),
        ]);
        let party = interaction
            .party
            .as_ref()
            .ok_or_else(|| Error::internal("checked above"))?;
        let key = format!("{}:{}", party.kind, party.value);
        self.journal
            .keep(Incoming {
                tenant,
                channel,
                kind: spec.kind(),
                content_type: "application/x-protobuf".to_owned(),
                body: interaction.encode_to_vec().into(),
                attributes: HashMap::new(),
                distinct: Vec::new(),
                key: Some(key),
            })
            .await?;
        // No transaction tells it: it is in the journal.
        if let Some(call) = audit::current() {
            call.changed(("interaction", &id), "state", "", "journaled");
        }
        Ok(Response::new(SubmitInteractionResponse {
            interaction_id: id.to_string(),
        }))
    }

    type GetAttachmentStream = Pin<Box<dyn Stream<Item = Result<GetAttachmentResponse, Status>> + Send>>;

    async fn get_attachment(
        &self,
        request: Request<GetAttachmentRequest>,
    ) -> Result<Response<Self::GetAttachmentStream>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let key = request.into_inner().object_key;
        // `<tenant>/<interaction>/<position>`: raw deliveries lie elsewhere and are nobody's to read.
        let interaction = key
            .split('/')
            .nth(1)
            .and_then(|id| id.parse::<InteractionId>().ok());
        if interaction.is_none() || key.len() > 255 {
            return Err(Error::not_found("object", key.chars().take(255).collect::<String>()).into());
        }
        let pieces = self.objects.read(&tenant, &key, CHUNK).await?;
        let pieces = pieces.map(|piece| Ok(GetAttachmentResponse { data: piece?.into() }));
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn list_quarantined_deliveries(
        &self,
        request: Request<ListQuarantinedDeliveriesRequest>,
    ) -> Result<Response<ListQuarantinedDeliveriesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let (rows, next_page_token) = self
            .quarantine
            .list(&tenant, request.page_size, &request.page_token)
            .await?;
        let deliveries = rows
            .into_iter()
            .map(|row| QuarantinedDelivery {
                delivery_id: row.delivery_id.to_string(),
                channel: row.channel,
                reason: row.reason,
                received_at: Some(to_wire(row.received_at)),
                size_bytes: row.size_bytes,
            })
            .collect();
        Ok(Response::new(ListQuarantinedDeliveriesResponse {
            deliveries,
            next_page_token,
        }))
    }

    async fn redrive_quarantined_delivery(
        &self,
        request: Request<RedriveQuarantinedDeliveryRequest>,
    ) -> Result<Response<RedriveQuarantinedDeliveryResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let id: DeliveryId = request
            .delivery_id
            .parse()
            .map_err(|_| Error::invalid("delivery_id", "must be a UUID"))?;
        Ok(Response::new(self.quarantine.redrive(caller, id, request).await?))
    }
}
