//! Who was there.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId};

use crate::{domain::Presence, error::broken_row, staffing::adherence::Seen};

/// Writes down the presence that these agents have now. Called in the transaction that changed it; a presence that is as it
/// was is not written again.
pub async fn saw_presence(conn: &mut PgConnection, tenant: &TenantId, agents: &[&str]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO presences (tenant, agent_id, at, presence, reason)
         SELECT tenant, agent_id, presence_since, presence, presence_reason
         FROM agents WHERE tenant = $1 AND agent_id = ANY($2)
         ON CONFLICT (tenant, agent_id, at) DO UPDATE SET presence = excluded.presence, reason = excluded.reason
         WHERE (presences.presence, presences.reason) <> (excluded.presence, excluded.reason)",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .execute(conn)
    .await?;
    Ok(())
}

/// What was seen of these agents from the presence they had at `from` on, in order.
pub async fn seen(
    conn: &mut PgConnection,
    tenant: &TenantId,
    agents: &[&str],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<BTreeMap<AgentId, Vec<Seen>>, Error> {
    let rows: Vec<(String, DateTime<Utc>, String)> = sqlx::query_as(
        "SELECT before.agent_id, before.at, before.presence
         FROM unnest($2::text[]) AS wanted (agent_id)
              CROSS JOIN LATERAL (SELECT agent_id, at, presence FROM presences
                                  WHERE tenant = $1 AND agent_id = wanted.agent_id AND at <= $3
                                  ORDER BY at DESC LIMIT 1) AS before
         UNION ALL
         SELECT agent_id, at, presence FROM presences
         WHERE tenant = $1 AND agent_id = ANY($2) AND at > $3 AND at < $4
         ORDER BY agent_id, at",
    )
    .bind(tenant.as_str())
    .bind(agents)
    .bind(from)
    .bind(to)
    .fetch_all(conn)
    .await?;
    let mut all: BTreeMap<AgentId, Vec<Seen>> = BTreeMap::new();
    for (agent, at, word) in rows {
        let presence =
            Presence::of_word(&word).ok_or_else(|| broken_row("presences", &agent, "unknown presence"))?;
        all.entry(agent.parse()?).or_default().push(Seen { at, presence });
    }
    Ok(all)
}
