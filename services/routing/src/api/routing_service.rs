//! Queues, agents and figures.

use std::collections::BTreeMap;

use chrono::DateTime;
use tonic::{Request, Response, Status};
use trama_platform::{Error, page, principal};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{AgentId, CaseId, InvalidId, WorkItemId},
    routing::v1::{
        self, ExplainWorkRequest, ExplainWorkResponse, GetKpisRequest, GetKpisResponse, GetWorkItemRequest,
        GetWorkItemResponse, ListAgentsRequest, ListAgentsResponse, ListWorkItemsRequest,
        ListWorkItemsResponse, UpsertAgentRequest, UpsertAgentResponse,
        routing_service_server::RoutingService,
    },
    time::to_wire,
};

use super::{
    parse::{self, kinds, named, text},
    wire,
};
use crate::{
    app::{Ordered, Routing, figures::interval_kpi},
    domain::{Agent, Presence},
    store::{IntervalKey, OrderKey, TeamKey, Times},
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
        let ordered = Ordered {
            tenant: &caller.tenant,
            subject: caller.subject.as_str(),
            method: "UpsertAgent",
            request_id: &request.request_id,
            request,
        };
        let answer = self
            .routing
            .upsert_agent(&ordered, &agent, |agent| UpsertAgentResponse {
                agent: Some(wire::agent(agent)),
            })
            .await?;
        Ok(Response::new(answer))
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

    async fn list_intervals(
        &self,
        request: Request<v1::ListIntervalsRequest>,
    ) -> Result<Response<v1::ListIntervalsResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let size = page::size(request.page_size)?;
        let after: Option<IntervalKey> = page::start(&request.page_token)?;
        text("queue", &request.queue, 63)?;
        let minutes = interval(request.interval_minutes)?;
        let what = self.routing.stretch(
            minutes,
            parse::moment("since", request.since.as_ref())?,
            parse::moment("until", request.until.as_ref())?,
            &request.queue,
        );
        let mut rows = self
            .routing
            .history(&tenant, what, after.as_ref(), size + 1)
            .await?;
        let more = cut(&mut rows, size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::token(&last.key()),
            Some(_) | None => String::new(),
        };
        let resources = self.routing.resources.snapshot();
        let intervals = rows.iter().map(|row| v1::Interval {
            start: Some(to_wire(row.start)),
            kpi: Some(interval_kpi(row, resources.tenant(&tenant))),
        });
        Ok(Response::new(v1::ListIntervalsResponse {
            intervals: intervals.collect(),
            next_page_token,
        }))
    }

    async fn list_occupancy(
        &self,
        request: Request<v1::ListOccupancyRequest>,
    ) -> Result<Response<v1::ListOccupancyResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.get_ref();
        let size = page::size(request.page_size)?;
        let after: Option<TeamKey> = page::start(&request.page_token)?;
        text("team", &request.team, 63)?;
        let stretch = self.routing.stretch(
            interval(request.interval_minutes)?,
            parse::moment("since", request.since.as_ref())?,
            parse::moment("until", request.until.as_ref())?,
            "",
        );
        let what = Times {
            from: stretch.from,
            until: stretch.until,
            minutes: Some(stretch.minutes),
            team: Some(request.team.clone()).filter(|team| !team.is_empty()),
        };
        let mut rows = self
            .routing
            .occupancy(&tenant, &what, after.as_ref(), size + 1)
            .await?;
        let more = cut(&mut rows, size);
        let next_page_token = match rows.last() {
            Some((last, _)) if more => page::token(last),
            Some(_) | None => String::new(),
        };
        Ok(Response::new(v1::ListOccupancyResponse {
            occupancy: rows.into_iter().map(|(_, occupancy)| occupancy).collect(),
            next_page_token,
        }))
    }

    async fn request_callback(
        &self,
        request: Request<v1::RequestCallbackRequest>,
    ) -> Result<Response<v1::RequestCallbackResponse>, Status> {
        let caller = principal(&request)?;
        let request = request.get_ref();
        let case: CaseId = parse::id("case_id", &request.case_id)?;
        let at = parse::moment("at", request.at.as_ref())?;
        let ordered = Ordered {
            tenant: &caller.tenant,
            subject: caller.subject.as_str(),
            method: "RequestCallback",
            request_id: &request.request_id,
            request,
        };
        let answer = self
            .routing
            .request_callback(&ordered, case, at, |item| v1::RequestCallbackResponse {
                work_item: Some(item),
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn explain_work(
        &self,
        request: Request<ExplainWorkRequest>,
    ) -> Result<Response<ExplainWorkResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let item: WorkItemId = parse::id("work_item_id", &request.get_ref().work_item_id)?;
        let explained = self.routing.explain(&tenant, item).await?;
        let work_item = wire::row(explained.item);
        let mut why = vec![work_item.explanation.clone()];
        why.extend(state_in_words(&work_item));
        if let Some(offer) = explained
            .offers
            .first()
            .filter(|o| o.state == "pending" || o.state == "accepted")
        {
            why.push(offer.explanation.clone());
        }
        let mut what_would_help = Vec::new();
        match explained.matcher {
            Some(matcher) => {
                why.extend(matcher.why);
                what_would_help = matcher.what_would_help;
            }
            None if work_item.state() == v1::WorkItemState::Pending => {
                why.push("No leader could be asked: this is what the database knows.".to_owned());
            }
            None => {}
        }
        Ok(Response::new(ExplainWorkResponse {
            work_item: Some(work_item),
            why,
            what_would_help,
            offers: explained.offers.into_iter().map(wire::record).collect(),
        }))
    }

    async fn get_kpis(&self, request: Request<GetKpisRequest>) -> Result<Response<GetKpisResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let since = parse::moment("since", request.get_ref().since.as_ref())?;
        Ok(Response::new(self.routing.kpis(&tenant, since).await?))
    }
}

/// Minutes of an interval of a history.
fn interval(minutes: i32) -> Result<i32, Error> {
    match minutes {
        0 => Ok(30),
        15 | 30 | 60 | 1_440 => Ok(minutes),
        _ => Err(Error::invalid("interval_minutes", "must be 15, 30, 60 or 1440")),
    }
}

/// Cuts what was read beyond the page; true when there was something.
fn cut<T>(rows: &mut Vec<T>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    more
}

/// What the state itself says.
fn state_in_words(item: &v1::WorkItem) -> Option<String> {
    let agent = &item.agent_id;
    match item.state() {
        v1::WorkItemState::Offered => Some(format!("It is offered to {agent}, who has not answered yet.")),
        v1::WorkItemState::Assigned if item.parked => {
            Some(format!("It rests with {agent} until the customer writes."))
        }
        v1::WorkItemState::Assigned if item.paused => {
            Some(format!("It rests until the call of {agent} is over."))
        }
        v1::WorkItemState::Assigned => Some(format!("{agent} works on it.")),
        v1::WorkItemState::Wrapping => Some(format!("{agent} wraps up.")),
        v1::WorkItemState::Completed => Some("It is done.".to_owned()),
        v1::WorkItemState::Cancelled => Some("It was no longer wanted.".to_owned()),
        v1::WorkItemState::Abandoned => Some("The customer left before anybody took it.".to_owned()),
        v1::WorkItemState::Pending | v1::WorkItemState::Unspecified => None,
    }
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
    let channel_kinds = kinds("agent.channel_kinds", &wanted.channel_kinds)?;
    if channel_kinds.is_empty() {
        return Err(Error::invalid(
            "agent.channel_kinds",
            "must name at least one kind",
        ));
    }
    if wanted.teams.len() > 50 {
        return Err(Error::invalid("agent.teams", "at most 50"));
    }
    for team in &wanted.teams {
        named("agent.teams", team, 63)?;
    }
    text("agent.working_hours", &wanted.working_hours, 63)?;
    let mut max_at_once = BTreeMap::new();
    for (name, most) in &wanted.max_at_once {
        let kind = ChannelKind::from_str_name(name).filter(|k| *k != ChannelKind::Unspecified);
        let kind = kind.ok_or_else(|| {
            Error::invalid(
                "agent.max_at_once",
                format!("`{name}` is no kind of channel; CHANNEL_KIND_EMAIL is one"),
            )
        })?;
        if *most < 1 {
            return Err(Error::invalid("agent.max_at_once", "must be at least 1"));
        }
        max_at_once.insert(kind, *most);
    }
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
        teams: wanted.teams.clone(),
        working_hours: wanted.working_hours.clone(),
        max_at_once,
        presence: Presence::Offline,
        presence_reason: String::new(),
        presence_since: DateTime::UNIX_EPOCH,
        available_kinds: Vec::new(),
        draining: false,
        used_units: 0,
        idle_since: DateTime::UNIX_EPOCH,
        missed_at: None,
    })
}
