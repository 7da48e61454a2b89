//! How long agents were there, and how long they had work in hand: by team, from the logs of both.
//!
//! Quarters of an hour that are over are folded into `team_times`; what is younger is worked out of the logs by the
//! same statement, so that figures are the same before and after.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::TenantId;

/// What one statement folds at most.
const STRETCH: TimeDelta = TimeDelta::hours(1);

/// `young`: by quarter of an hour and team, of tenant $1, from $2, the beginning of a quarter, until $3.
///
/// Turns of both kinds are steps up and down; their sums say how an agent stood from each turn to the next. Bots are
/// none of the staff. The logs are read agent by agent, whatever the planner thinks of their size: they only grow.
macro_rules! young {
    ($rest:literal) => {
        concat!(
            "WITH people AS (
                 SELECT agent_id, teams FROM agents WHERE tenant = $1 AND NOT bot
             ), turns AS (
                 SELECT p.agent_id, turn.at, true AS of_work, turn.up FROM people p CROSS JOIN LATERAL (
                     (SELECT $2::timestamptz AS at, busy AS up FROM agent_loads
                      WHERE tenant = $1 AND agent_id = p.agent_id AND at <= $2 ORDER BY agent_loads.at DESC LIMIT 1)
                     UNION ALL
                     (SELECT at, busy FROM agent_loads
                      WHERE tenant = $1 AND agent_id = p.agent_id AND at > $2 AND at < $3 ORDER BY at)) AS turn
                 UNION ALL
                 SELECT p.agent_id, turn.at, false, turn.up FROM people p CROSS JOIN LATERAL (
                     (SELECT $2::timestamptz AS at, presence = 'available' AS up FROM presences
                      WHERE tenant = $1 AND agent_id = p.agent_id AND at <= $2 ORDER BY presences.at DESC LIMIT 1)
                     UNION ALL
                     (SELECT at, presence = 'available' FROM presences
                      WHERE tenant = $1 AND agent_id = p.agent_id AND at > $2 AND at < $3 ORDER BY at)) AS turn
             ), steps AS (
                 SELECT agent_id, at, of_work,
                        up::integer - lag(up::integer, 1, 0) OVER (PARTITION BY agent_id, of_work ORDER BY at) AS step
                 FROM turns
             ), spans AS (
                 SELECT agent_id, at, lead(at, 1, $3) OVER later AS until,
                        coalesce(sum(step) FILTER (WHERE of_work) OVER later, 0) > 0 AS busy,
                        coalesce(sum(step) FILTER (WHERE NOT of_work) OVER later, 0) > 0 AS available
                 FROM steps WINDOW later AS (PARTITION BY agent_id ORDER BY at)
             ), pieces AS (
                 SELECT agent_id, quarter, busy,
                        least(until, quarter + interval '15 minutes') - greatest(at, quarter) AS length
                 FROM spans CROSS JOIN LATERAL generate_series(
                     date_bin('15 minutes', at, TIMESTAMPTZ '2000-01-01Z'), until - interval '1 microsecond',
                     interval '15 minutes') AS quarter
                 WHERE (busy OR available) AND at < until
             ), young AS (
                 SELECT quarter AS starts_at, team,
                        coalesce(round(1000 * extract(epoch FROM sum(length) FILTER (WHERE busy))), 0)::bigint AS busy_ms,
                        round(1000 * extract(epoch FROM sum(length)))::bigint AS staffed_ms
                 FROM pieces JOIN people USING (agent_id)
                      CROSS JOIN LATERAL (SELECT '' UNION SELECT unnest(people.teams)) AS each (team)
                 GROUP BY quarter, team
             ) ",
            $rest
        )
    };
}

/// Up to where a tenant's logs are folded; where they begin, when they never were; now, when there are none.
async fn folded_until(
    conn: &mut PgConnection,
    tenant: &TenantId,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT coalesce(
             (SELECT folded_until FROM team_folds WHERE tenant = $1),
             date_bin('15 minutes', least((SELECT min(at) FROM agent_loads WHERE tenant = $1),
                                          (SELECT min(at) FROM presences WHERE tenant = $1), $2),
                      TIMESTAMPTZ '2000-01-01Z'))",
    )
    .bind(tenant.as_str())
    .bind(now)
    .fetch_one(conn)
    .await?)
}

/// Folds quarters of an hour up to `over`, where one begins, at most an hour of them; whether there may be more.
pub async fn fold_times(
    conn: &mut PgConnection,
    tenant: &TenantId,
    over: DateTime<Utc>,
) -> Result<bool, Error> {
    let begun = folded_until(conn, tenant, over).await?;
    sqlx::query(
        "INSERT INTO team_folds (tenant, folded_until) VALUES ($1, $2) ON CONFLICT (tenant) DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(begun)
    .execute(&mut *conn)
    .await?;
    // Whoever was thought dead may fold too: one after the other.
    let from: DateTime<Utc> =
        sqlx::query_scalar("SELECT folded_until FROM team_folds WHERE tenant = $1 FOR UPDATE")
            .bind(tenant.as_str())
            .fetch_one(&mut *conn)
            .await?;
    let until = over.min(from + STRETCH);
    if until <= from {
        return Ok(false);
    }
    sqlx::query(young!(
        ", told AS (UPDATE team_folds SET folded_until = $3 WHERE tenant = $1)
         INSERT INTO team_times (tenant, starts_at, team, busy_ms, staffed_ms)
         SELECT $1, starts_at, team, busy_ms, staffed_ms FROM young"
    ))
    .bind(tenant.as_str())
    .bind(from)
    .bind(until)
    .execute(conn)
    .await?;
    Ok(until < over)
}

/// Where a page of occupancies ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TeamKey(pub DateTime<Utc>, pub String);

/// Times of a team.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct TeamTimes {
    /// Beginning of the interval.
    pub start: DateTime<Utc>,
    /// Team; everybody when empty.
    pub team: String,
    /// Agents' time with work in hand.
    pub busy_ms: i64,
    /// Agents' time with work in hand or available.
    pub staffed_ms: i64,
}

impl TeamTimes {
    /// Where it stands in the history.
    pub fn key(&self) -> TeamKey {
        TeamKey(self.start, self.team.clone())
    }
}

/// Of which teams, and when.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// From this quarter of an hour on.
    pub from: DateTime<Utc>,
    /// Quarters of an hour that begin before.
    pub until: DateTime<Utc>,
    /// Length of an interval; all is one when absent.
    pub minutes: Option<i32>,
    /// Only this team; all, and everybody together, when absent.
    pub team: Option<String>,
}

/// Times by interval and team as they are now, after `after`.
pub async fn team_times(
    conn: &mut PgConnection,
    tenant: &TenantId,
    what: &Times,
    after: Option<&TeamKey>,
    limit: Option<i64>,
    now: DateTime<Utc>,
) -> Result<Vec<TeamTimes>, Error> {
    // What is folded between this and the next statement is still in the logs.
    let young = folded_until(conn, tenant, now).await?.max(what.from);
    Ok(sqlx::query_as(young!(
        ", cells AS (
             SELECT starts_at, team, busy_ms, staffed_ms FROM team_times
             WHERE tenant = $1 AND starts_at >= $4 AND starts_at < least($2, $5)
             UNION ALL
             SELECT starts_at, team, busy_ms, staffed_ms FROM young WHERE starts_at < $5
         ), intervals AS (
             SELECT CASE WHEN $6::integer IS NULL THEN $4
                         ELSE date_bin(make_interval(mins => $6), starts_at, TIMESTAMPTZ '2000-01-01Z') END AS start,
                    team, busy_ms, staffed_ms
             FROM cells WHERE $7::text IS NULL OR team = $7
         )
         SELECT start, team, sum(busy_ms)::bigint AS busy_ms, sum(staffed_ms)::bigint AS staffed_ms FROM intervals
         WHERE $8::timestamptz IS NULL OR (start, team) > ($8, $9)
         GROUP BY start, team ORDER BY start, team LIMIT $10"
    ))
    .bind(tenant.as_str())
    .bind(young)
    .bind(now)
    .bind(what.from)
    .bind(what.until)
    .bind(what.minutes)
    .bind(what.team.as_deref())
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1.as_str()))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}
