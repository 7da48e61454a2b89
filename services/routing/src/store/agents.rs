//! Agents.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId};

use super::kind;
use crate::{
    domain::{Agent, Presence},
    error::broken_row,
};

macro_rules! columns {
    () => {
        "agent_id, display_name, skill_names, skill_levels, languages, channel_kinds, capacity_units, bot, presence,
         used_units, pending_offers, idle_since"
    };
}

#[derive(FromRow)]
struct Row {
    agent_id: String,
    display_name: String,
    skill_names: Vec<String>,
    skill_levels: Vec<i32>,
    languages: Vec<String>,
    channel_kinds: Vec<i32>,
    capacity_units: i32,
    bot: bool,
    presence: String,
    used_units: i32,
    pending_offers: i32,
    idle_since: DateTime<Utc>,
}

impl Row {
    fn agent(self) -> Result<Agent, Error> {
        let presence = presence(&self.presence)
            .ok_or_else(|| broken_row("agents", &self.agent_id, "unknown presence"))?;
        Ok(Agent {
            id: self.agent_id.parse()?,
            display_name: self.display_name,
            skills: self.skill_names.into_iter().zip(self.skill_levels).collect(),
            languages: self.languages,
            channel_kinds: self.channel_kinds.into_iter().map(kind).collect(),
            capacity_units: self.capacity_units,
            bot: self.bot,
            presence,
            used_units: self.used_units,
            pending_offers: self.pending_offers,
            idle_since: self.idle_since,
        })
    }
}

fn presence(word: &str) -> Option<Presence> {
    [
        Presence::Offline,
        Presence::Available,
        Presence::Away,
        Presence::NotResponding,
    ]
    .into_iter()
    .find(|p| presence_word(*p) == word)
}

const fn presence_word(presence: Presence) -> &'static str {
    match presence {
        Presence::Offline => "offline",
        Presence::Available => "available",
        Presence::Away => "away",
        Presence::NotResponding => "not_responding",
    }
}

/// Creates an agent or changes it; presence and load stay.
pub async fn upsert_agent(conn: &mut PgConnection, tenant: &TenantId, agent: &Agent) -> Result<(), Error> {
    let (names, levels): (Vec<&str>, Vec<i32>) = agent
        .skills
        .iter()
        .map(|(name, level)| (name.as_str(), *level))
        .unzip();
    let kinds: Vec<i32> = agent.channel_kinds.iter().map(|k| *k as i32).collect();
    sqlx::query(
        "INSERT INTO agents (tenant, agent_id, display_name, skill_names, skill_levels, languages, channel_kinds,
                             capacity_units, bot, idle_since)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (tenant, agent_id) DO UPDATE
         SET display_name = excluded.display_name, skill_names = excluded.skill_names,
             skill_levels = excluded.skill_levels, languages = excluded.languages,
             channel_kinds = excluded.channel_kinds, capacity_units = excluded.capacity_units, bot = excluded.bot",
    )
    .bind(tenant.as_str())
    .bind(agent.id.as_str())
    .bind(&agent.display_name)
    .bind(names)
    .bind(levels)
    .bind(&agent.languages)
    .bind(kinds)
    .bind(agent.capacity_units)
    .bind(agent.bot)
    .bind(agent.idle_since)
    .execute(conn)
    .await?;
    Ok(())
}

/// One agent.
pub async fn find_agent(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: &AgentId,
) -> Result<Option<Agent>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM agents WHERE tenant = $1 AND agent_id = $2"
    ))
    .bind(tenant.as_str())
    .bind(agent.as_str())
    .fetch_optional(conn)
    .await?;
    row.map(Row::agent).transpose()
}

/// Agents by id, after `after`.
pub async fn list_agents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: &str,
    limit: i64,
) -> Result<Vec<Agent>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM agents WHERE tenant = $1 AND agent_id > $2 ORDER BY agent_id LIMIT $3"
    ))
    .bind(tenant.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::agent).collect()
}

/// Agents to whom something could be offered now.
pub async fn available(conn: &mut PgConnection, tenant: &TenantId) -> Result<Vec<Agent>, Error> {
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ", columns!(), " FROM agents
         WHERE tenant = $1 AND presence = 'available' AND used_units < capacity_units AND (bot OR pending_offers = 0)"
    ))
    .bind(tenant.as_str())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::agent).collect()
}

/// Whether anything could be offered to anybody of these tenants now.
pub async fn tenants_with_room(conn: &mut PgConnection, tenants: &BTreeSet<TenantId>) -> Result<bool, Error> {
    let tenants: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM agents WHERE tenant = ANY($1) AND presence = 'available'
                        AND used_units < capacity_units AND (bot OR pending_offers = 0))",
    )
    .bind(tenants)
    .fetch_one(conn)
    .await?)
}

/// Changes presence. Whoever comes from offline stands at the end of the line of idle agents.
pub async fn set_presence(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[AgentId],
    presence: Presence,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let agents: Vec<&str> = agents.iter().map(AgentId::as_str).collect();
    sqlx::query(
        "UPDATE agents SET presence = $3, presence_reason = $4,
             idle_since = CASE WHEN presence = 'offline' THEN $5 ELSE idle_since END
         WHERE tenant = $1 AND agent_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .bind(presence_word(presence))
    .bind(reason)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

/// How an agent's load changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta {
    /// Units taken, or freed when negative.
    pub units: i32,
    /// Offers made, or ended when negative; counts for humans only.
    pub pending: i32,
}

/// Applies changes of load; who is touched was not idle until now.
pub async fn apply_deltas(
    conn: &mut PgConnection,
    tenant: &TenantId,
    deltas: &BTreeMap<AgentId, Delta>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let agents: Vec<&str> = deltas.keys().map(AgentId::as_str).collect();
    let units: Vec<i32> = deltas.values().map(|d| d.units).collect();
    let pending: Vec<i32> = deltas.values().map(|d| d.pending).collect();
    let done = sqlx::query(
        "UPDATE agents
         SET used_units = used_units + d.units,
             pending_offers = CASE WHEN bot THEN 0 ELSE pending_offers + d.pending END,
             idle_since = $5
         FROM unnest($2::text[], $3::integer[], $4::integer[]) AS d (agent_id, units, pending)
         WHERE agents.tenant = $1 AND agents.agent_id = d.agent_id",
    )
    .bind(tenant.as_str())
    .bind(&agents)
    .bind(units)
    .bind(pending)
    .bind(now)
    .execute(conn)
    .await?;
    if done.rows_affected() == agents.len() as u64 {
        Ok(())
    } else {
        Err(broken_row(
            "agents",
            tenant,
            "work is in the hands of an agent who does not exist",
        ))
    }
}
