//! The agent's desk.

use tonic::{Request, Response, Status};
use trama_platform::{Context, Error, principal};
use trama_proto::{
    ids::{AgentId, InvalidId, OfferId, TenantId, WorkItemId},
    routing::v1::{
        self, AcceptOfferRequest, AcceptOfferResponse, CompleteWorkRequest, CompleteWorkResponse,
        DeclineOfferRequest, DeclineOfferResponse, OpenDeskRequest, SetPresenceRequest, SetPresenceResponse,
        desk_service_server::DeskService,
    },
};

use super::wire;
use crate::{
    app::{Command, Outcome, Routing},
    desk::{self, Responses},
    domain::Presence,
};

/// Longest reason that is kept.
const REASON_CHARS: usize = 500;

/// Implements the contract.
pub struct DeskApi {
    /// The use cases.
    pub routing: Routing,
    /// For lines.
    pub context: Context,
}

fn caller<T>(request: &Request<T>) -> Result<(TenantId, AgentId), Status> {
    let principal = principal(request)?;
    let agent = principal.subject.parse::<AgentId>().map_err(Error::from)?;
    Ok((principal.tenant.clone(), agent))
}

fn parsed<T: std::str::FromStr<Err = InvalidId>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|e: InvalidId| Error::invalid(field, e.to_string()))
}

fn reason(text: &str) -> Result<&str, Error> {
    if text.chars().count() > REASON_CHARS {
        return Err(Error::invalid(
            "reason",
            format!("at most {REASON_CHARS} characters"),
        ));
    }
    if text.contains('\0') {
        return Err(Error::invalid("reason", "must not contain NUL"));
    }
    Ok(text)
}

fn item_of(outcome: Outcome<'_>) -> Option<v1::WorkItem> {
    match outcome {
        Outcome::Item(item) => Some(wire::item(item)),
        Outcome::Agent(_) | Outcome::Nothing => None,
    }
}

fn agent_of(outcome: Outcome<'_>) -> Option<v1::Agent> {
    match outcome {
        Outcome::Agent(agent) => Some(wire::agent(agent)),
        Outcome::Item(_) | Outcome::Nothing => None,
    }
}

#[tonic::async_trait]
impl DeskService for DeskApi {
    type OpenDeskStream = Responses;

    async fn open_desk(&self, request: Request<OpenDeskRequest>) -> Result<Response<Responses>, Status> {
        let (tenant, agent) = caller(&request)?;
        // Offers still open are sent again in any case, so the token only has to be plausible.
        if request.get_ref().resume_token.len() > 64 {
            return Err(Error::invalid(
                "resume_token",
                "take it unchanged from the last response, or leave it empty",
            )
            .into());
        }
        Ok(Response::new(
            desk::open(&self.context, &self.routing, tenant, agent).await?,
        ))
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
        let reason = reason(&request.reason)?;
        let command = Command {
            method: "SetPresence",
            request_id: &request.request_id,
            request,
            answer: |outcome| SetPresenceResponse {
                agent: agent_of(outcome),
            },
        };
        Ok(Response::new(
            self.routing
                .set_presence(&tenant, &agent, presence, reason, command)
                .await?,
        ))
    }

    async fn accept_offer(
        &self,
        request: Request<AcceptOfferRequest>,
    ) -> Result<Response<AcceptOfferResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let offer: OfferId = parsed("offer_id", &request.offer_id)?;
        let command = Command {
            method: "AcceptOffer",
            request_id: &request.request_id,
            request,
            answer: |outcome| AcceptOfferResponse {
                work_item: item_of(outcome),
            },
        };
        Ok(Response::new(
            self.routing.accept(&tenant, &agent, offer, command).await?,
        ))
    }

    async fn decline_offer(
        &self,
        request: Request<DeclineOfferRequest>,
    ) -> Result<Response<DeclineOfferResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let offer: OfferId = parsed("offer_id", &request.offer_id)?;
        let reason = reason(&request.reason)?;
        let command = Command {
            method: "DeclineOffer",
            request_id: &request.request_id,
            request,
            answer: |_| DeclineOfferResponse {},
        };
        Ok(Response::new(
            self.routing
                .decline(&tenant, &agent, offer, reason, command)
                .await?,
        ))
    }

    async fn complete_work(
        &self,
        request: Request<CompleteWorkRequest>,
    ) -> Result<Response<CompleteWorkResponse>, Status> {
        let (tenant, agent) = caller(&request)?;
        let request = request.get_ref();
        let item: WorkItemId = parsed("work_item_id", &request.work_item_id)?;
        let command = Command {
            method: "CompleteWork",
            request_id: &request.request_id,
            request,
            answer: |outcome| CompleteWorkResponse {
                work_item: item_of(outcome),
            },
        };
        Ok(Response::new(
            self.routing.complete(&tenant, &agent, item, command).await?,
        ))
    }
}
