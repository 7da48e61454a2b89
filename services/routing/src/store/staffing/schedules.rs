//! Who should be there.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId};

use crate::{
    error::broken_row,
    staffing::adherence::{Activity, Planned, Schedules},
};

/// One import of a tenant at a time: two files about the same time must not mix.
pub async fn lock_imports(conn: &mut PgConnection, tenant: &TenantId) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 24))")
        .bind(tenant.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Who works for the tenant.
pub async fn known_agents(conn: &mut PgConnection, tenant: &TenantId) -> Result<BTreeSet<String>, Error> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT agent_id FROM agents WHERE tenant = $1")
        .bind(tenant.as_str())
        .fetch_all(conn)
        .await?;
    Ok(ids.into_iter().collect())
}

/// Replaces what was planned for each agent in the time that the new schedule touches.
pub async fn replace_schedules(
    conn: &mut PgConnection,
    tenant: &TenantId,
    schedules: &Schedules,
) -> Result<u64, Error> {
    let stretches: Vec<(&AgentId, &Planned)> = schedules
        .agents()
        .flat_map(|agent| schedules.of(agent).iter().map(move |planned| (agent, planned)))
        .collect();
    let agents: Vec<&str> = stretches.iter().map(|(agent, _)| agent.as_str()).collect();
    let starts: Vec<DateTime<Utc>> = stretches.iter().map(|(_, planned)| planned.from).collect();
    let ends: Vec<DateTime<Utc>> = stretches.iter().map(|(_, planned)| planned.to).collect();
    let activities: Vec<&str> = stretches
        .iter()
        .map(|(_, planned)| planned.activity.text())
        .collect();
    let gone = sqlx::query(
        "DELETE FROM schedules USING (
             SELECT agent_id, min(starts_at) AS first, max(ends_at) AS last
             FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) AS n (agent_id, starts_at, ends_at)
             GROUP BY agent_id) AS new
         WHERE schedules.tenant = $1 AND schedules.agent_id = new.agent_id
           AND schedules.starts_at < new.last AND schedules.ends_at > new.first",
    )
    .bind(tenant.as_str())
    .bind(&agents)
    .bind(&starts)
    .bind(&ends)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    sqlx::query(
        "INSERT INTO schedules (tenant, agent_id, starts_at, ends_at, activity)
         SELECT $1, agent_id, starts_at, ends_at, activity
         FROM unnest($2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])
              AS n (agent_id, starts_at, ends_at, activity)",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .bind(starts)
    .bind(ends)
    .bind(activities)
    .execute(conn)
    .await?;
    Ok(gone)
}

/// What is planned between two moments, of one agent or of all; `limit` stretches at most.
pub async fn planned(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agent: Option<&AgentId>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AgentId, Planned)>, Error> {
    // No stretch is longer than a day: the index finds those that began before.
    let rows: Vec<(String, DateTime<Utc>, DateTime<Utc>, String)> = sqlx::query_as(
        "SELECT agent_id, starts_at, ends_at, activity FROM schedules
         WHERE tenant = $1 AND ($2::text IS NULL OR agent_id = $2)
           AND starts_at < $4 AND starts_at > $3 - interval '24 hours' AND ends_at > $3
         ORDER BY agent_id, starts_at LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(agent.map(AgentId::as_str))
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(agent, from, to, activity)| {
            let activity =
                Activity::of(&activity).ok_or_else(|| broken_row("schedules", &agent, "unknown activity"))?;
            Ok((agent.parse()?, Planned { from, to, activity }))
        })
        .collect()
}
