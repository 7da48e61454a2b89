//! Work items.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{AgentId, CaseId, OfferId, TenantId, WorkItemId};
use uuid::Uuid;

use super::kind;
use crate::{
    domain::{Answered, Hold, Need, Route, State, WorkItem},
    error::{broken_row, lost_race},
};

/// Lists travel as text in arrays of rows: PostgreSQL has no ragged arrays.
const SEPARATOR: &str = "\u{1f}";

macro_rules! columns {
    () => {
        "work_item_id, case_id, number, version, revision, state, queue, priority, due_at, waiting_since, channel_kind,
         required_skills, language, offer_timeout_seconds, explanation, preferred_agent, excluded_agents, agent_id,
         offer_id, offer_expires_at, held_units, assigned_at, answered_at, answered_channel, answered_in_target, ended_at"
    };
}

#[derive(FromRow)]
struct Row {
    work_item_id: Uuid,
    case_id: Uuid,
    number: i32,
    version: i64,
    revision: i64,
    state: String,
    queue: String,
    priority: i32,
    due_at: DateTime<Utc>,
    waiting_since: DateTime<Utc>,
    channel_kind: i32,
    required_skills: Vec<String>,
    language: String,
    offer_timeout_seconds: i32,
    explanation: String,
    preferred_agent: Option<String>,
    excluded_agents: Vec<String>,
    agent_id: Option<String>,
    offer_id: Option<Uuid>,
    offer_expires_at: Option<DateTime<Utc>>,
    held_units: Option<i32>,
    assigned_at: Option<DateTime<Utc>>,
    answered_at: Option<DateTime<Utc>>,
    answered_channel: Option<i32>,
    answered_in_target: Option<bool>,
    ended_at: Option<DateTime<Utc>>,
}

impl Row {
    fn item(self) -> Result<WorkItem, Error> {
        let broken = |what: &str| broken_row("work_items", self.work_item_id, what);
        let agent = self.agent_id.as_deref().map(str::parse::<AgentId>).transpose()?;
        let offer = self.offer_id.map(OfferId::new);
        let state = match (self.state.as_str(), agent, offer, self.held_units) {
            ("pending", ..) => State::Pending,
            ("offered", Some(agent), Some(offer), Some(units)) => {
                let until = self
                    .offer_expires_at
                    .ok_or_else(|| broken("offered without an end"))?;
                State::Offered(Hold {
                    offer,
                    agent,
                    units,
                    until,
                })
            }
            ("assigned", Some(agent), Some(offer), Some(units)) => {
                let at = self
                    .assigned_at
                    .ok_or_else(|| broken("assigned without a moment"))?;
                State::Assigned {
                    offer,
                    agent,
                    units,
                    at,
                }
            }
            ("completed", Some(agent), ..) => {
                let at = self
                    .ended_at
                    .ok_or_else(|| broken("completed without a moment"))?;
                State::Completed {
                    agent,
                    assigned_at: self.assigned_at.unwrap_or(at),
                    at,
                }
            }
            ("cancelled", ..) => State::Cancelled {
                at: self
                    .ended_at
                    .ok_or_else(|| broken("cancelled without a moment"))?,
            },
            _ => return Err(broken("a state without what belongs to it")),
        };
        let answered = match (self.answered_at, self.answered_channel, self.answered_in_target) {
            (Some(at), Some(channel), Some(in_target)) => Some(Answered {
                at,
                channel: kind(channel),
                in_target,
            }),
            _ => None,
        };
        let excluded = self
            .excluded_agents
            .iter()
            .map(|a| a.parse())
            .collect::<Result<_, _>>()?;
        let preferred = self.preferred_agent.as_deref().map(str::parse).transpose()?;
        Ok(WorkItem {
            id: WorkItemId::new(self.work_item_id),
            case_id: CaseId::new(self.case_id),
            number: self.number,
            version: self.version,
            revision: self.revision,
            route: Route {
                queue: self.queue,
                priority: self.priority,
                target: self.due_at - self.waiting_since,
                skills: self.required_skills,
                language: self.language,
                offer_timeout_seconds: u32::try_from(self.offer_timeout_seconds).unwrap_or_default(),
                explanation: self.explanation,
            },
            due_at: self.due_at,
            channel: kind(self.channel_kind),
            waiting_since: self.waiting_since,
            preferred,
            excluded,
            snapshot: None,
            answered,
            state,
        })
    }
}

fn items(rows: Vec<Row>) -> Result<Vec<WorkItem>, Error> {
    rows.into_iter().map(Row::item).collect()
}

/// The last item of each of these cases, locked.
pub async fn last_of_cases(
    conn: &mut PgConnection,
    tenant: &TenantId,
    cases: &[CaseId],
) -> Result<Vec<WorkItem>, Error> {
    let mut cases: Vec<Uuid> = cases.iter().map(|c| c.uuid()).collect();
    cases.sort();
    let rows = sqlx::query_as(concat!(
        "SELECT w.* FROM unnest($2::uuid[]) AS wanted (id)
         CROSS JOIN LATERAL (
             SELECT ",
        columns!(),
        " FROM work_items WHERE tenant = $1 AND case_id = wanted.id
             ORDER BY number DESC LIMIT 1 FOR UPDATE
         ) w"
    ))
    .bind(tenant.as_str())
    .bind(cases)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// The items of these offers, locked, with their offers.
pub async fn of_offers(
    conn: &mut PgConnection,
    tenant: &TenantId,
    offers: &[OfferId],
) -> Result<Vec<WorkItem>, Error> {
    let offers: Vec<Uuid> = offers.iter().map(|o| o.uuid()).collect();
    let rows = sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM work_items
         WHERE tenant = $1
           AND work_item_id IN (SELECT o.work_item_id FROM offers o WHERE o.tenant = $1 AND o.offer_id = ANY($2))
         ORDER BY work_item_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(offers)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// The items that are offered to these agents and not answered yet, locked.
pub async fn of_offers_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[AgentId],
) -> Result<Vec<WorkItem>, Error> {
    let agents: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM work_items
         WHERE tenant = $1 AND agent_id = ANY($2) AND state = 'offered' ORDER BY work_item_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(agents)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// One item, locked.
pub async fn work_item(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: WorkItemId,
) -> Result<Option<WorkItem>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM work_items WHERE tenant = $1 AND work_item_id = $2 AND number > 0 FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(Row::item).transpose()
}

/// The first waiting items that these agents could take, besides `known`; at most `limit` for each agent.
pub async fn waiting_for(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[AgentId],
    known: &[WorkItemId],
    limit: i64,
) -> Result<Vec<WorkItem>, Error> {
    let agents: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
    let known: Vec<Uuid> = known.iter().map(|i| i.uuid()).collect();
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT found.work_item_id
         FROM agents a
         CROSS JOIN LATERAL (
             SELECT w.work_item_id FROM work_items w
             WHERE w.tenant = $1 AND w.state = 'pending'
               AND w.channel_kind = ANY(a.channel_kinds)
               AND w.required_skills <@ a.skill_names
               AND a.agent_id <> ALL(w.excluded_agents)
               AND CASE WHEN w.need_units = 0 THEN a.used_units = 0
                        ELSE least(w.need_units, a.capacity_units) <= a.capacity_units - a.used_units END
               AND w.work_item_id <> ALL($3)
             ORDER BY w.priority DESC, w.due_at, w.waiting_since, w.work_item_id
             LIMIT $4
         ) found
         WHERE a.tenant = $1 AND a.agent_id = ANY($2) AND a.presence = 'available'
           AND a.used_units < a.capacity_units AND (a.bot OR a.pending_offers = 0)",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .bind(known)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM work_items
         WHERE tenant = $1 AND work_item_id = ANY($2) AND state = 'pending' ORDER BY work_item_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    items(rows)
}

/// State, agent, offer, end of the offer, units, assigned, ended.
type StateColumns<'a> = (
    &'static str,
    Option<&'a str>,
    Option<Uuid>,
    Option<DateTime<Utc>>,
    Option<i32>,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
);

fn state_columns(state: &State) -> StateColumns<'_> {
    match state {
        State::Pending => ("pending", None, None, None, None, None, None),
        State::Offered(h) => (
            "offered",
            Some(h.agent.as_str()),
            Some(h.offer.uuid()),
            Some(h.until),
            Some(h.units),
            None,
            None,
        ),
        State::Assigned {
            offer,
            agent,
            units,
            at,
        } => (
            "assigned",
            Some(agent.as_str()),
            Some(offer.uuid()),
            None,
            Some(*units),
            Some(*at),
            None,
        ),
        State::Completed {
            agent,
            assigned_at,
            at,
        } => (
            "completed",
            Some(agent.as_str()),
            None,
            None,
            None,
            Some(*assigned_at),
            Some(*at),
        ),
        State::Cancelled { at } => ("cancelled", None, None, None, None, None, Some(*at)),
    }
}

/// Writes items as they are now; each must still have the version it was read with.
pub async fn write_items(
    conn: &mut PgConnection,
    tenant: &TenantId,
    items: &[&WorkItem],
) -> Result<(), Error> {
    let states: Vec<_> = items.iter().map(|i| state_columns(&i.state)).collect();
    let join = |list: &[String]| list.join(SEPARATOR);
    let excluded = |i: &WorkItem| {
        i.excluded
            .iter()
            .map(AgentId::as_str)
            .collect::<Vec<_>>()
            .join(SEPARATOR)
    };
    let done = sqlx::query(
        "INSERT INTO work_items (tenant, work_item_id, case_id, number, version, revision, state, queue, priority, due_at,
             waiting_since, channel_kind, need_units, required_skills, language, offer_timeout_seconds, explanation,
             preferred_agent, excluded_agents, snapshot, agent_id, offer_id, offer_expires_at, held_units, assigned_at,
             answered_at, answered_channel, answered_in_target, ended_at)
         SELECT $1, i.work_item_id, i.case_id, i.number, i.version + 1, i.revision, i.state, i.queue, i.priority, i.due_at,
             i.waiting_since, i.channel_kind, i.need_units, string_to_array(i.required_skills, E'\\x1f'), i.language,
             i.offer_timeout_seconds, i.explanation, i.preferred_agent, string_to_array(i.excluded_agents, E'\\x1f'),
             i.snapshot, i.agent_id, i.offer_id, i.offer_expires_at, i.held_units, i.assigned_at, i.answered_at,
             i.answered_channel, i.answered_in_target, i.ended_at
         FROM unnest($2::uuid[], $3::uuid[], $4::integer[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
             $9::integer[], $10::timestamptz[], $11::timestamptz[], $12::integer[], $13::integer[], $14::text[],
             $15::text[], $16::integer[], $17::text[], $18::text[], $19::text[], $20::bytea[], $21::text[], $22::uuid[],
             $23::timestamptz[], $24::integer[], $25::timestamptz[], $26::timestamptz[], $27::integer[], $28::boolean[],
             $29::timestamptz[])
             AS i (work_item_id, case_id, number, version, revision, state, queue, priority, due_at, waiting_since,
             channel_kind, need_units, required_skills, language, offer_timeout_seconds, explanation, preferred_agent,
             excluded_agents, snapshot, agent_id, offer_id, offer_expires_at, held_units, assigned_at, answered_at,
             answered_channel, answered_in_target, ended_at)
         ON CONFLICT (tenant, work_item_id) DO UPDATE SET
             version = excluded.version, revision = excluded.revision, state = excluded.state, queue = excluded.queue,
             priority = excluded.priority, due_at = excluded.due_at, waiting_since = excluded.waiting_since,
             channel_kind = excluded.channel_kind, need_units = excluded.need_units,
             required_skills = excluded.required_skills, language = excluded.language,
             offer_timeout_seconds = excluded.offer_timeout_seconds, explanation = excluded.explanation,
             preferred_agent = excluded.preferred_agent, excluded_agents = excluded.excluded_agents,
             snapshot = coalesce(excluded.snapshot, work_items.snapshot), agent_id = excluded.agent_id,
             offer_id = excluded.offer_id, offer_expires_at = excluded.offer_expires_at,
             held_units = excluded.held_units, assigned_at = excluded.assigned_at, answered_at = excluded.answered_at,
             answered_channel = excluded.answered_channel, answered_in_target = excluded.answered_in_target,
             ended_at = excluded.ended_at
         WHERE work_items.version = excluded.version - 1",
    )
    .bind(tenant.as_str())
    .bind(items.iter().map(|i| i.id.uuid()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.case_id.uuid()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.number).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.version).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.revision).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.0).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.route.queue.as_str()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.route.priority).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.due_at).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.waiting_since).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.channel as i32).collect::<Vec<_>>())
    .bind(items.iter().map(|i| Need::of(i.channel).column()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| join(&i.route.skills)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.route.language.as_str()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i32::try_from(i.route.offer_timeout_seconds).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.route.explanation.as_str()).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.preferred.as_ref().map(AgentId::as_str)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| excluded(i)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.snapshot.as_deref()).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.1).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.2).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.3).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.4).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.5).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.answered.map(|a| a.at)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.answered.map(|a| a.channel as i32)).collect::<Vec<_>>())
    .bind(items.iter().map(|i| i.answered.map(|a| a.in_target)).collect::<Vec<_>>())
    .bind(states.iter().map(|s| s.6).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    if done.rows_affected() == items.len() as u64 {
        Ok(())
    } else {
        Err(lost_race("a work item"))
    }
}
