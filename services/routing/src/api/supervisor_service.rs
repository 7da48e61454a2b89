//! What a supervisor does.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};
use trama_platform::{Error, Principal, principal};
use trama_proto::{
    ids::{AgentId, WorkItemId},
    routing::v1::{
        self, AssignWorkRequest, AssignWorkResponse, DrainQueueRequest, DrainQueueResponse, GetHealthRequest,
        GetHealthResponse, RequeueWorkRequest, RequeueWorkResponse, SetAgentStateRequest,
        SetAgentStateResponse, WatchWallboardRequest, WatchWallboardResponse, requeue_work_request::What,
        supervisor_service_server::SupervisorService,
    },
    time::to_wire,
};

use super::{parse, wallboard, wire};
use crate::{
    app::{Ordered, PresenceWish, Requeue, Routing, Wallboards},
    domain::Presence,
    store::QueueState,
};

/// Implements the contract.
pub struct SupervisorApi {
    /// The use cases.
    pub routing: Routing,
    /// What supervisors see live.
    pub wallboards: Wallboards,
}

/// Names that a supervisor may ask for.
const MOST_NAMES: usize = 200;

fn ordered<'a, Q>(
    caller: &'a Principal,
    method: &'static str,
    request_id: &'a str,
    request: &'a Q,
) -> Ordered<'a, Q> {
    Ordered {
        tenant: &caller.tenant,
        subject: caller.subject.as_str(),
        method,
        request_id,
        request,
    }
}

#[tonic::async_trait]
impl SupervisorService for SupervisorApi {
    type WatchWallboardStream = BoxStream<'static, Result<WatchWallboardResponse, Status>>;

    async fn watch_wallboard(
        &self,
        request: Request<WatchWallboardRequest>,
    ) -> Result<Response<Self::WatchWallboardStream>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        for (field, names) in [("queues", &request.queues), ("teams", &request.teams)] {
            if names.len() > MOST_NAMES {
                return Err(Error::invalid(field, format!("at most {MOST_NAMES}")).into());
            }
            for name in names {
                parse::named(field, name, 63)?;
            }
        }
        let seen = self.wallboards.watch(&tenant);
        Ok(Response::new(wallboard::stream(seen, request)))
    }

    async fn requeue_work(
        &self,
        request: Request<RequeueWorkRequest>,
    ) -> Result<Response<RequeueWorkResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let what = match &request.what {
            Some(What::WorkItemId(id)) => Requeue::Item(parse::id("work_item_id", id)?),
            Some(What::AgentId(id)) => Requeue::Agent(parse::id("agent_id", id)?),
            Some(What::Queue(queue)) => {
                parse::named("queue", queue, 63)?;
                Requeue::Queue(queue.clone())
            }
            None => return Err(Error::invalid("what", "must be an item, an agent or a queue").into()),
        };
        parse::text("to_queue", &request.to_queue, 63)?;
        let reason = parse::reason(&request.reason)?;
        let ordered = ordered(caller, "RequeueWork", &request.request_id, request);
        let answer = self
            .routing
            .requeue(&ordered, &what, &request.to_queue, reason, |requeued| {
                RequeueWorkResponse { requeued }
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn assign_work(
        &self,
        request: Request<AssignWorkRequest>,
    ) -> Result<Response<AssignWorkResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let item: WorkItemId = parse::id("work_item_id", &request.work_item_id)?;
        let by: AgentId = caller.subject.parse().map_err(Error::from)?;
        let agent = if request.agent_id.is_empty() {
            by.clone()
        } else {
            parse::id("agent_id", &request.agent_id)?
        };
        let reason = parse::reason(&request.reason)?;
        let ordered = ordered(caller, "AssignWork", &request.request_id, request);
        let answer = self
            .routing
            .assign(&ordered, item, &agent, &by, reason, |item| AssignWorkResponse {
                work_item: Some(item),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn set_agent_state(
        &self,
        request: Request<SetAgentStateRequest>,
    ) -> Result<Response<SetAgentStateResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let agent: AgentId = parse::id("agent_id", &request.agent_id)?;
        let presence = match request.presence() {
            v1::Presence::Unspecified => None,
            v1::Presence::Available => Some(Presence::Available),
            v1::Presence::Away => Some(Presence::Away),
            v1::Presence::Offline => Some(Presence::Offline),
            v1::Presence::NotResponding => {
                return Err(Error::invalid("presence", "must be AVAILABLE, AWAY or OFFLINE").into());
            }
        };
        let wish = PresenceWish {
            presence,
            reason: parse::reason(&request.reason)?.to_owned(),
            kinds: None,
            draining: request.draining,
        };
        let ordered = ordered(caller, "SetAgentState", &request.request_id, request);
        let answer = self
            .routing
            .set_presence(&ordered, &agent, &wish, |agent| SetAgentStateResponse {
                agent: Some(wire::agent(agent)),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn drain_queue(
        &self,
        request: Request<DrainQueueRequest>,
    ) -> Result<Response<DrainQueueResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        parse::named("queue", &request.queue, 63)?;
        parse::text("overflow_to", &request.overflow_to, 63)?;
        let state = QueueState {
            draining: request.draining,
            overflow_to: request.overflow_to.clone(),
        };
        let ordered = ordered(caller, "DrainQueue", &request.request_id, request);
        let answer = self
            .routing
            .drain_queue(&ordered, &request.queue, &state, |queue| DrainQueueResponse {
                queue: Some(queue),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn get_health(
        &self,
        request: Request<GetHealthRequest>,
    ) -> Result<Response<GetHealthResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let (lease, health) = self.routing.health(&tenant).await?;
        let health = health.unwrap_or_default();
        Ok(Response::new(GetHealthResponse {
            leader: lease.as_ref().map(|l| l.holder.clone()).unwrap_or_default(),
            epoch: lease.as_ref().map(|l| l.epoch).unwrap_or_default(),
            lease_until: lease.and_then(|l| l.until).map(to_wire),
            violations: health.violations,
            checked_at: health.checked_at.map(to_wire),
            waiting_because: health.waiting_because,
            kinds_served: health.kinds_served,
        }))
    }
}
