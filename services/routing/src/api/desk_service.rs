//! The agent's desk.

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};
use trama_platform::{Context, Error, principal};
use trama_proto::{
    ids::{AgentId, OfferId, TenantId, WorkItemId},
    routing::v1::{
        self, AcceptOfferRequest, AcceptOfferResponse, CompleteWorkRequest, CompleteWorkResponse,
        DeclineOfferRequest, DeclineOfferResponse, EndConsultationRequest, EndConsultationResponse,
        FinishWrapUpRequest, FinishWrapUpResponse, OpenDeskRequest, ParkWorkRequest, ParkWorkResponse,
        SetPresenceRequest, SetPresenceResponse, TransferWorkRequest, TransferWorkResponse,
        desk_service_server::DeskService, transfer_work_request::To,
    },
};

use super::{parse, wire};
use crate::{
    app::{Commands, Order, Ordered, Passing, PresenceWish, Routing, Where},
    desk::{self, Reader, Responses},
    domain::{Handover, Presence},
};

/// Implements the contract.
pub struct DeskApi {
    /// The use cases.
    pub routing: Routing,
    /// What many agents do at once.
    pub commands: Commands,
    /// For lines.
    pub reader: Reader,
    /// For lines.
    pub context: Context,
}

fn caller<T>(request: &Request<T>) -> Result<(TenantId, AgentId), Status> {
    let principal = principal(request)?;
    let agent = principal.subject.parse::<AgentId>().map_err(Error::from)?;
    Ok((principal.tenant.clone(), agent))
}

/// The moment of a resume token; it is ours, so whatever else comes is refused.
fn since(token: &str) -> Result<Option<DateTime<Utc>>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let at = token
        .parse::<i64>()
        .ok()
        .and_then(DateTime::from_timestamp_micros);
    match at {
        Some(at) => Ok(Some(at)),
        None => Err(Error::invalid(
            "resume_token",
            "take it unchanged from the last response, or leave it empty",
        )),
    }
}

impl DeskApi {
    async fn item<T>(&self, request: &Request<T>, order: Order) -> Result<Option<v1::WorkItem>, Status> {
        let (tenant, agent) = caller(request)?;
        Ok(self.commands.order(&tenant, &agent, order).await?)
    }
}

#[tonic::async_trait]
impl DeskService for DeskApi {
    type OpenDeskStream = Responses;

    async fn open_desk(&self, request: Request<OpenDeskRequest>) -> Result<Response<Responses>, Status> {
        let (tenant, agent) = caller(&request)?;
        let since = since(&request.get_ref().resume_token)?;
        let responses = desk::open(&self.context, &self.routing, &self.reader, tenant, agent, since).await?;
        Ok(Response::new(responses))
    }

    async fn set_presence(
        &self,
        request: Request<SetPresenceRequest>,
    ) -> Result<Response<SetPresenceResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let presence = match request.presence() {
            v1::Presence::Available => Presence::Available,
            v1::Presence::Away => Presence::Away,
            v1::Presence::Offline => Presence::Offline,
            v1::Presence::Unspecified | v1::Presence::NotResponding => {
                return Err(Error::invalid("presence", "must be AVAILABLE, AWAY or OFFLINE").into());
            }
        };
        let wish = PresenceWish {
            presence: Some(presence),
            reason: parse::reason(&request.reason)?.to_owned(),
            kinds: Some(parse::kinds("kinds", &request.kinds)?),
            draining: None,
        };
        let ordered = Ordered {
            tenant: &tenant,
            subject: agent.as_str(),
            method: "SetPresence",
            request_id: &request.request_id,
            request,
        };
        let answer = self
            .routing
            .set_presence(&ordered, &agent, &wish, |agent| SetPresenceResponse {
                agent: Some(wire::agent(agent)),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn accept_offer(
        &self,
        request: Request<AcceptOfferRequest>,
    ) -> Result<Response<AcceptOfferResponse>, Status> {
        let offer: OfferId = parse::id("offer_id", &request.get_ref().offer_id)?;
        let work_item = self.item(&request, Order::Accept(offer)).await?;
        Ok(Response::new(AcceptOfferResponse { work_item }))
    }

    async fn decline_offer(
        &self,
        request: Request<DeclineOfferRequest>,
    ) -> Result<Response<DeclineOfferResponse>, Status> {
        let offer: OfferId = parse::id("offer_id", &request.get_ref().offer_id)?;
        let reason = parse::reason(&request.get_ref().reason)?.to_owned();
        self.item(&request, Order::Decline(offer, reason)).await?;
        Ok(Response::new(DeclineOfferResponse {}))
    }

    async fn complete_work(
        &self,
        request: Request<CompleteWorkRequest>,
    ) -> Result<Response<CompleteWorkResponse>, Status> {
        let item: WorkItemId = parse::id("work_item_id", &request.get_ref().work_item_id)?;
        let work_item = self.item(&request, Order::Complete(item)).await?;
        Ok(Response::new(CompleteWorkResponse { work_item }))
    }

    async fn finish_wrap_up(
        &self,
        request: Request<FinishWrapUpRequest>,
    ) -> Result<Response<FinishWrapUpResponse>, Status> {
        let item: WorkItemId = parse::id("work_item_id", &request.get_ref().work_item_id)?;
        let work_item = self.item(&request, Order::FinishWrapUp(item)).await?;
        Ok(Response::new(FinishWrapUpResponse { work_item }))
    }

    async fn park_work(
        &self,
        request: Request<ParkWorkRequest>,
    ) -> Result<Response<ParkWorkResponse>, Status> {
        let item: WorkItemId = parse::id("work_item_id", &request.get_ref().work_item_id)?;
        let work_item = self.item(&request, Order::Park(item)).await?;
        Ok(Response::new(ParkWorkResponse { work_item }))
    }

    async fn transfer_work(
        &self,
        request: Request<TransferWorkRequest>,
    ) -> Result<Response<TransferWorkResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let item: WorkItemId = parse::id("work_item_id", &request.work_item_id)?;
        let how = match request.handover() {
            v1::Handover::Blind => Handover::Blind,
            v1::Handover::Warm => Handover::Warm,
            v1::Handover::Consult => Handover::Consult,
            v1::Handover::Unspecified => {
                return Err(Error::invalid("handover", "must be BLIND, WARM or CONSULT").into());
            }
        };
        let to = match &request.to {
            Some(To::Queue(queue)) => {
                parse::named("queue", queue, 63)?;
                Where::Queue(queue.clone())
            }
            Some(To::AgentId(id)) => Where::Agent(parse::id("agent_id", id)?),
            Some(To::Skill(skill)) => {
                parse::named("skill.skill", &skill.skill, 63)?;
                let level = u8::try_from(skill.level).ok().filter(|l| (1..=10).contains(l));
                let level = level.ok_or_else(|| Error::invalid("skill.level", "must be from 1 to 10"))?;
                Where::Skill(skill.skill.clone(), level)
            }
            None => return Err(Error::invalid("to", "must be a queue, an agent or a skill").into()),
        };
        if to == Where::Agent(agent.clone()) {
            return Err(Error::invalid("agent_id", "must be somebody else").into());
        }
        let passing = Passing {
            how,
            to,
            note: parse::note(&request.note)?.to_owned(),
        };
        let ordered = Ordered {
            tenant: &tenant,
            subject: agent.as_str(),
            method: "TransferWork",
            request_id: &request.request_id,
            request,
        };
        let answer = self
            .routing
            .transfer(&ordered, &agent, item, &passing, |item| TransferWorkResponse {
                work_item: Some(item),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn end_consultation(
        &self,
        request: Request<EndConsultationRequest>,
    ) -> Result<Response<EndConsultationResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let item: WorkItemId = parse::id("work_item_id", &request.work_item_id)?;
        let ordered = Ordered {
            tenant: &tenant,
            subject: agent.as_str(),
            method: "EndConsultation",
            request_id: &request.request_id,
            request,
        };
        let answer = self
            .routing
            .end_consultation(&ordered, &agent, item, request.hand_over, |item| {
                EndConsultationResponse {
                    work_item: Some(item),
                }
            })
            .await?;
        Ok(Response::new(answer))
    }
}
