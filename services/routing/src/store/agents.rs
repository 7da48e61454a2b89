//! Agents.

use std::collections::BTreeMap;

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
    ($rest:literal) => {
        concat!(
            "SELECT agent_id, display_name, skill_names, skill_levels, languages, channel_kinds, teams, working_hours,
             capped_kinds, caps, capacity_units, bot, presence, presence_reason, presence_since, available_kinds,
             draining, missed_at, used_units, idle_since
             FROM agents ",
            $rest
        )
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
    teams: Vec<String>,
    working_hours: String,
    capped_kinds: Vec<i32>,
    caps: Vec<i32>,
    capacity_units: i32,
    bot: bool,
    presence: String,
    presence_reason: String,
    presence_since: DateTime<Utc>,
    available_kinds: Vec<i32>,
    draining: bool,
    missed_at: Option<DateTime<Utc>>,
    used_units: i32,
    idle_since: DateTime<Utc>,
}

impl Row {
    fn agent(self) -> Result<Agent, Error> {
        let presence = Presence::of_word(&self.presence)
            .ok_or_else(|| broken_row("agents", &self.agent_id, "unknown presence"))?;
        let kinds = |numbers: Vec<i32>| numbers.into_iter().map(kind).collect();
        Ok(Agent {
            id: self.agent_id.parse()?,
            display_name: self.display_name,
            skills: self.skill_names.into_iter().zip(self.skill_levels).collect(),
            languages: self.languages,
            channel_kinds: kinds(self.channel_kinds),
            teams: self.teams,
            working_hours: self.working_hours,
            max_at_once: self.capped_kinds.into_iter().map(kind).zip(self.caps).collect(),
            capacity_units: self.capacity_units,
            bot: self.bot,
            presence,
            presence_reason: self.presence_reason,
            presence_since: self.presence_since,
            available_kinds: kinds(self.available_kinds),
            draining: self.draining,
            missed_at: self.missed_at,
            used_units: self.used_units,
            idle_since: self.idle_since,
        })
    }
}

fn agents(rows: Vec<Row>) -> Result<Vec<Agent>, Error> {
    rows.into_iter().map(Row::agent).collect()
}

/// Creates an agent or changes it; presence and load stay.
pub async fn upsert_agent(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: &Agent,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (names, levels): (Vec<&str>, Vec<i32>) = agent
        .skills
        .iter()
        .map(|(name, level)| (name.as_str(), *level))
        .unzip();
    let kinds: Vec<i32> = agent.channel_kinds.iter().map(|k| *k as i32).collect();
    let (capped, caps): (Vec<i32>, Vec<i32>) = agent.max_at_once.iter().map(|(k, n)| (*k as i32, *n)).unzip();
    sqlx::query(
        "INSERT INTO agents (tenant, agent_id, display_name, skill_names, skill_levels, languages, channel_kinds,
                             teams, working_hours, capped_kinds, caps, capacity_units, bot, idle_since, presence_since)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
         ON CONFLICT (tenant, agent_id) DO UPDATE
         SET display_name = excluded.display_name, skill_names = excluded.skill_names,
             skill_levels = excluded.skill_levels, languages = excluded.languages,
             channel_kinds = excluded.channel_kinds, teams = excluded.teams, working_hours = excluded.working_hours,
             capped_kinds = excluded.capped_kinds, caps = excluded.caps, capacity_units = excluded.capacity_units,
             bot = excluded.bot",
    )
    .bind(tenant.as_str())
    .bind(agent.id.as_str())
    .bind(&agent.display_name)
    .bind(names)
    .bind(levels)
    .bind(&agent.languages)
    .bind(kinds)
    .bind(&agent.teams)
    .bind(&agent.working_hours)
    .bind(capped)
    .bind(caps)
    .bind(agent.capacity_units)
    .bind(agent.bot)
    .bind(now)
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
    Ok(read_agents(conn, tenant, &[agent.as_str()]).await?.pop())
}

/// These agents as they are, not locked.
pub async fn read_agents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[&str],
) -> Result<Vec<Agent>, Error> {
    let rows: Vec<Row> = sqlx::query_as(columns!("WHERE tenant = $1 AND agent_id = ANY($2)"))
        .bind(tenant.as_str())
        .bind(ids)
        .fetch_all(conn)
        .await?;
    agents(rows)
}

/// These agents, locked. Agents are locked after items, in the order of ids.
pub async fn lock_agents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[AgentId],
) -> Result<BTreeMap<AgentId, Agent>, Error> {
    let ids: Vec<&str> = ids.iter().map(AgentId::as_str).collect();
    let rows: Vec<Row> = sqlx::query_as(columns!(
        "WHERE tenant = $1 AND agent_id = ANY($2) ORDER BY agent_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(ids)
    .fetch_all(conn)
    .await?;
    Ok(agents(rows)?.into_iter().map(|a| (a.id.clone(), a)).collect())
}

/// Agents by id, after `after`.
pub async fn list_agents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    after: &str,
    limit: i64,
) -> Result<Vec<Agent>, Error> {
    let rows: Vec<Row> = sqlx::query_as(columns!(
        "WHERE tenant = $1 AND agent_id > $2 ORDER BY agent_id LIMIT $3"
    ))
    .bind(tenant.as_str())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    agents(rows)
}

/// Writes presence, draining and the last miss of locked agents.
pub async fn write_presence(
    conn: &mut PgConnection,
    tenant: &TenantId,
    changed: &[&Agent],
) -> Result<(), Error> {
    let kinds = |a: &Agent| {
        let numbers: Vec<String> = a
            .available_kinds
            .iter()
            .map(|k| (*k as i32).to_string())
            .collect();
        numbers.join(",")
    };
    sqlx::query(
        "UPDATE agents SET presence = c.presence, presence_reason = c.reason, presence_since = c.since,
             available_kinds = string_to_array(c.kinds, ',')::integer[], draining = c.draining,
             missed_at = c.missed_at, idle_since = c.idle_since
         FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::boolean[],
                     $8::timestamptz[], $9::timestamptz[])
              AS c (agent_id, presence, reason, since, kinds, draining, missed_at, idle_since)
         WHERE agents.tenant = $1 AND agents.agent_id = c.agent_id",
    )
    .bind(tenant.as_str())
    .bind(changed.iter().map(|a| a.id.as_str()).collect::<Vec<_>>())
    .bind(changed.iter().map(|a| a.presence.word()).collect::<Vec<_>>())
    .bind(
        changed
            .iter()
            .map(|a| a.presence_reason.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(changed.iter().map(|a| a.presence_since).collect::<Vec<_>>())
    .bind(changed.iter().map(|a| kinds(a)).collect::<Vec<_>>())
    .bind(changed.iter().map(|a| a.draining).collect::<Vec<_>>())
    .bind(changed.iter().map(|a| a.missed_at).collect::<Vec<_>>())
    .bind(changed.iter().map(|a| a.idle_since).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// How an agent's load changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Units taken, or freed when negative.
    pub units: i32,
    /// Accepted items at work that came, or went when negative.
    pub hands: i32,
    /// Work was done: the agent is idle from now on, as far as nothing else is in hand.
    pub worked: bool,
}

/// Applies changes of load to agents, in the order of ids.
pub async fn apply_loads(
    conn: &mut PgConnection,
    tenant: &TenantId,
    loads: &BTreeMap<AgentId, Load>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ids: Vec<&str> = loads.keys().map(AgentId::as_str).collect();
    // Clocks of replicas differ: a turn is never written before the one that it follows.
    let done: i64 = sqlx::query_scalar(
        "WITH locked AS MATERIALIZED (
             SELECT agent_id FROM agents WHERE tenant = $1 AND agent_id = ANY($2) ORDER BY agent_id FOR UPDATE
         ), changed AS (
             UPDATE agents SET used_units = used_units + l.units, hands = hands + l.came,
                 hands_since = CASE WHEN (hands > 0) = (hands + l.came > 0) THEN hands_since ELSE greatest(hands_since, $6) END,
                 idle_since = CASE WHEN l.worked THEN $6 ELSE idle_since END
             FROM locked JOIN unnest($2::text[], $3::integer[], $4::integer[], $5::boolean[])
                  AS l (agent_id, units, came, worked) USING (agent_id)
             WHERE agents.tenant = $1 AND agents.agent_id = locked.agent_id
             RETURNING agents.agent_id, agents.hands, agents.hands_since, l.came
         ), turned AS (
             INSERT INTO agent_loads (tenant, agent_id, at, busy)
             SELECT $1, agent_id, hands_since, hands > 0 FROM changed WHERE (hands - came > 0) <> (hands > 0)
             ON CONFLICT (tenant, agent_id, at) DO UPDATE SET busy = excluded.busy
         )
         SELECT count(*) FROM changed",
    )
    .bind(tenant.as_str())
    .bind(&ids)
    .bind(loads.values().map(|l| l.units).collect::<Vec<_>>())
    .bind(loads.values().map(|l| l.hands).collect::<Vec<_>>())
    .bind(loads.values().map(|l| l.worked).collect::<Vec<_>>())
    .bind(now)
    .fetch_one(conn)
    .await?;
    if usize::try_from(done).is_ok_and(|changed| changed == ids.len()) {
        Ok(())
    } else {
        Err(broken_row(
            "agents",
            tenant,
            "work is in the hands of an agent who does not exist",
        ))
    }
}

/// Takes units of agents who have room, and says of whom they were taken. `offered`: only of those who may be offered
/// work now; otherwise of anybody.
pub async fn take_units(
    conn: &mut PgConnection,
    tenant: &TenantId,
    loads: &BTreeMap<AgentId, i32>,
    offered: bool,
) -> Result<Vec<AgentId>, Error> {
    let ids: Vec<&str> = loads.keys().map(AgentId::as_str).collect();
    let units: Vec<i32> = loads.values().copied().collect();
    let taken: Vec<String> = sqlx::query_scalar(
        "WITH locked AS MATERIALIZED (
             SELECT agent_id FROM agents WHERE tenant = $1 AND agent_id = ANY($2) ORDER BY agent_id FOR UPDATE)
         UPDATE agents SET used_units = used_units + l.units
         FROM locked JOIN unnest($2::text[], $3::integer[]) AS l (agent_id, units) USING (agent_id)
         WHERE agents.tenant = $1 AND agents.agent_id = locked.agent_id
           AND (NOT $4 OR (presence = 'available' AND NOT draining))
           AND used_units + l.units BETWEEN 0 AND capacity_units
         RETURNING agents.agent_id",
    )
    .bind(tenant.as_str())
    .bind(ids)
    .bind(units)
    .bind(offered)
    .fetch_all(conn)
    .await?;
    taken.iter().map(|id| id.parse().map_err(Error::from)).collect()
}
