//! Queues, agents and figures.

use chrono::{DateTime, Utc};
use tonic::{Request, Response, Status};
use trama_platform::{Error, page, principal};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, InvalidId},
    routing::v1::{
        self, GetKpisRequest, GetKpisResponse, GetWorkItemRequest, GetWorkItemResponse, Kpi,
        ListAgentsRequest, ListAgentsResponse, ListWorkItemsRequest, ListWorkItemsResponse,
        UpsertAgentRequest, UpsertAgentResponse, routing_service_server::RoutingService,
    },
    time::from_wire,
};

use super::wire;
use crate::{
    app::Routing,
    domain::{Agent, Presence},
    store::{KpiRow, OrderKey, kind},
};

/// Largest capacity: sums of it stay within 32 bits.
const MOST_UNITS: i32 = 1_000_000_000;

/// Implements the contract.
pub struct RoutingApi {
    /// The use cases.
    pub routing: Routing,
}

#[tonic::async_trait]
impl RoutingService for RoutingApi {
    async fn upsert_agent(
        &self,
        request: Request<UpsertAgentRequest>,
    ) -> Result<Response<UpsertAgentResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let wanted = request
            .agent
            .as_ref()
            .ok_or_else(|| Error::invalid("agent", "must be given"))?;
        let agent = parse_agent(wanted)?;
        let answer = |agent: &Agent| UpsertAgentResponse {
            agent: Some(wire::agent(agent)),
        };
        Ok(Response::new(
            self.routing
                .upsert_agent(caller, agent, &request.request_id, request, answer)
                .await?,
        ))
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let size = page::size(request.page_size)?;
        let after: Option<String> = page::start(&request.page_token)?;
        let mut agents = self
            .routing
            .list_agents(&tenant, after.as_deref().unwrap_or_default(), size + 1)
            .await?;
        let more = cut(&mut agents, size);
        let next_page_token = match agents.last() {
            Some(last) if more => page::token(&last.id.as_str()),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListAgentsResponse {
            agents: agents.iter().map(wire::agent).collect(),
            next_page_token,
        }))
    }

    async fn get_work_item(
        &self,
        request: Request<GetWorkItemRequest>,
    ) -> Result<Response<GetWorkItemResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let case: CaseId = request
            .get_ref()
            .case_id
            .parse()
            .map_err(|e: InvalidId| Error::invalid("case_id", e.to_string()))?;
        let placed = self.routing.get_work_item(&tenant, case).await?;
        Ok(Response::new(GetWorkItemResponse {
            work_item: Some(wire::row(placed.item)),
            position: placed.position,
        }))
    }

    async fn list_work_items(
        &self,
        request: Request<ListWorkItemsRequest>,
    ) -> Result<Response<ListWorkItemsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let size = page::size(request.page_size)?;
        let after: Option<OrderKey> = page::start(&request.page_token)?;
        text("queue", &request.queue, 63)?;
        let mut items = self
            .routing
            .list_work_items(&tenant, &request.queue, after.as_ref(), size + 1)
            .await?;
        let more = cut(&mut items, size);
        let next_page_token = match items.last() {
            Some(last) if more => page::token(&last.key()),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(ListWorkItemsResponse {
            work_items: items.into_iter().map(wire::row).collect(),
            next_page_token,
        }))
    }

    async fn get_kpis(&self, request: Request<GetKpisRequest>) -> Result<Response<GetKpisResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let since = match &request.get_ref().since {
            None => None,
            Some(at) => Some(from_wire(Some(at)).ok_or_else(|| Error::invalid("since", "is out of range"))?),
        };
        let (rows, now) = self.routing.kpis(&tenant, since).await?;
        Ok(Response::new(GetKpisResponse {
            kpis: rows.iter().map(|row| kpi(row, now)).collect(),
        }))
    }
}

/// Cuts what was read beyond the page; true when there was something.
fn cut<T>(rows: &mut Vec<T>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    more
}

fn text(field: &str, value: &str, most: usize) -> Result<(), Error> {
    if value.chars().count() > most {
        return Err(Error::invalid(field, format!("at most {most} characters")));
    }
    if value.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(())
}

fn named(field: &str, value: &str, most: usize) -> Result<(), Error> {
    if value.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    text(field, value, most)
}

fn parse_agent(wanted: &v1::Agent) -> Result<Agent, Error> {
    let id: AgentId = wanted
        .agent_id
        .parse()
        .map_err(|e: InvalidId| Error::invalid("agent.agent_id", e.to_string()))?;
    named("agent.display_name", &wanted.display_name, 200)?;
    if wanted.skills.len() > 200 {
        return Err(Error::invalid("agent.skills", "at most 200"));
    }
    for (skill, level) in &wanted.skills {
        named("agent.skills", skill, 63)?;
        if !(1..=10).contains(level) {
            return Err(Error::invalid(
                "agent.skills",
                format!("level of `{skill}` must be from 1 to 10"),
            ));
        }
    }
    if wanted.languages.len() > 50 {
        return Err(Error::invalid("agent.languages", "at most 50"));
    }
    for language in &wanted.languages {
        named("agent.languages", language, 35)?;
    }
    let mut channel_kinds: Vec<ChannelKind> = wanted
        .channel_kinds()
        .filter(|k| *k != ChannelKind::Unspecified)
        .collect();
    if channel_kinds.len() != wanted.channel_kinds.len() || channel_kinds.is_empty() {
        return Err(Error::invalid(
            "agent.channel_kinds",
            "must name at least one kind, and only known ones",
        ));
    }
    channel_kinds.sort();
    channel_kinds.dedup();
    if !(1..=MOST_UNITS).contains(&wanted.capacity_units) {
        return Err(Error::invalid(
            "agent.capacity_units",
            format!("must be from 1 to {MOST_UNITS}; 6 is usual"),
        ));
    }
    Ok(Agent {
        id,
        display_name: wanted.display_name.clone(),
        skills: wanted.skills.clone().into_iter().collect(),
        languages: wanted.languages.clone(),
        channel_kinds,
        capacity_units: wanted.capacity_units,
        bot: wanted.bot,
        presence: Presence::Offline,
        used_units: 0,
        pending_offers: 0,
        idle_since: DateTime::UNIX_EPOCH,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of work items fit a double")]
fn kpi(row: &KpiRow, now: DateTime<Utc>) -> Kpi {
    let asked = row.answered + row.overdue;
    Kpi {
        channel_kind: row.channel_kind.map_or(ChannelKind::Unspecified, kind).into(),
        answered: row.answered,
        answered_in_target: row.answered_in_target,
        waiting: row.waiting,
        oldest_waiting_seconds: row
            .oldest_waiting_since
            .map_or(0, |at| (now - at).num_seconds().max(0)),
        asa_seconds: row.asa_seconds.unwrap_or_default(),
        // Nothing was asked of us yet: nothing was missed.
        service_level: if asked == 0 {
            1.0
        } else {
            row.answered_in_target as f64 / asked as f64
        },
        aht_seconds: row.aht_seconds.unwrap_or_default(),
        reoffered: row.reoffered,
    }
}
