//! Queues that take no new work.

use std::collections::HashMap;

use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

/// What a supervisor said about a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// It takes no new work.
    pub draining: bool,
    /// Where new work goes meanwhile.
    pub overflow_to: String,
}

/// What was said about a tenant's queues.
pub async fn find_queue_states(
    conn: &mut PgConnection,
    tenant: &TenantId,
) -> Result<HashMap<String, QueueState>, Error> {
    let rows: Vec<(String, bool, String)> =
        sqlx::query_as("SELECT queue, draining, overflow_to FROM queue_states WHERE tenant = $1")
            .bind(tenant.as_str())
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(queue, draining, overflow_to)| {
            (
                queue,
                QueueState {
                    draining,
                    overflow_to,
                },
            )
        })
        .collect())
}

/// Says it.
pub async fn set_queue_state(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queue: &str,
    state: &QueueState,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO queue_states (tenant, queue, draining, overflow_to) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, queue) DO UPDATE SET draining = excluded.draining, overflow_to = excluded.overflow_to",
    )
    .bind(tenant.as_str())
    .bind(queue)
    .bind(state.draining)
    .bind(&state.overflow_to)
    .execute(conn)
    .await?;
    Ok(())
}
