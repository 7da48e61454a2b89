//! Figures, exact: counted from the rows.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::TenantId;

/// Figures of one kind of channel; `None` is all of them.
#[derive(Debug, FromRow)]
pub struct KpiRow {
    /// Kind of channel.
    pub channel_kind: Option<i32>,
    /// Items answered.
    pub answered: i64,
    /// Answered within their target.
    pub answered_in_target: i64,
    /// Waiting now, offers without an answer included.
    pub waiting: i64,
    /// Since when the oldest of them waits.
    pub oldest_waiting_since: Option<DateTime<Utc>>,
    /// Waiting now although overdue.
    pub overdue: i64,
    /// Mean wait of answered items.
    pub asa_seconds: Option<f64>,
    /// Mean time from acceptance to completion.
    pub aht_seconds: Option<f64>,
    /// Answered by another agent than the first who was asked.
    pub reoffered: i64,
}

/// Figures since a moment: all channels together first, then one row per kind.
pub async fn kpis(
    conn: &mut PgConnection,
    tenant: &TenantId,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<KpiRow>, Error> {
    Ok(sqlx::query_as(
        "WITH facts AS (
             SELECT answered_channel AS channel_kind, answered_in_target AS in_target,
                    extract(epoch FROM answered_at - waiting_since)::float8 AS waited,
                    EXISTS (SELECT 1 FROM offers o WHERE o.tenant = w.tenant AND o.work_item_id = w.work_item_id
                            AND o.agent_id <> w.agent_id) AS reoffered,
                    NULL::timestamptz AS waiting_since, NULL::boolean AS overdue, NULL::float8 AS handled
             FROM work_items w WHERE tenant = $1 AND answered_at >= $2
             UNION ALL
             SELECT channel_kind, NULL, NULL, NULL, waiting_since, due_at < $3, NULL
             FROM work_items WHERE tenant = $1 AND state IN ('pending', 'offered') AND number > 0
             UNION ALL
             SELECT answered_channel, NULL, NULL, NULL, NULL, NULL, extract(epoch FROM ended_at - assigned_at)::float8
             FROM work_items WHERE tenant = $1 AND state = 'completed' AND ended_at >= $2 AND assigned_at IS NOT NULL
         )
         SELECT channel_kind,
                count(in_target) AS answered,
                count(*) FILTER (WHERE in_target) AS answered_in_target,
                count(waiting_since) AS waiting,
                min(waiting_since) AS oldest_waiting_since,
                count(*) FILTER (WHERE overdue) AS overdue,
                avg(waited) AS asa_seconds,
                avg(handled) AS aht_seconds,
                count(*) FILTER (WHERE reoffered) AS reoffered
         FROM facts GROUP BY GROUPING SETS ((), (channel_kind))
         ORDER BY grouping(channel_kind) DESC, channel_kind",
    )
    .bind(tenant.as_str())
    .bind(since)
    .bind(now)
    .fetch_all(conn)
    .await?)
}
