//! Work items as the API shows them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{CaseId, TenantId};
use uuid::Uuid;

/// An item as the API shows it.
#[derive(Debug, FromRow)]
pub struct WorkItemRow {
    /// Id.
    pub work_item_id: Uuid,
    /// The case.
    pub case_id: Uuid,
    /// Optimistic version.
    pub version: i64,
    /// Queue.
    pub queue: String,
    /// State.
    pub state: String,
    /// Kind of channel.
    pub channel_kind: i32,
    /// Since when the customer waits.
    pub waiting_since: DateTime<Utc>,
    /// Higher goes first.
    pub priority: i32,
    /// Skills an agent must have.
    pub required_skills: Vec<String>,
    /// Who has or had it.
    pub agent_id: Option<String>,
    /// First answer.
    pub answered_at: Option<DateTime<Utc>>,
    /// By when it must be answered.
    pub due_at: DateTime<Utc>,
    /// Why.
    pub explanation: String,
}

/// Where an item stands in the order of offers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderKey(pub i32, pub DateTime<Utc>, pub DateTime<Utc>, pub Uuid);

/// The open or last item of a case.
pub async fn find_of_case(
    conn: &mut PgConnection,
    tenant: &TenantId,
    case: CaseId,
) -> Result<Option<WorkItemRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT work_item_id, case_id, version, queue, state, channel_kind, waiting_since, priority, required_skills,
                agent_id, answered_at, due_at, explanation
         FROM work_items WHERE tenant = $1 AND case_id = $2 AND number > 0 ORDER BY number DESC LIMIT 1",
    )
    .bind(tenant.as_str())
    .bind(case.uuid())
    .fetch_optional(conn)
    .await?)
}

/// How many wait in the queue up to and including this item.
pub async fn position(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queue: &str,
    key: &OrderKey,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM work_items
         WHERE tenant = $1 AND state = 'pending' AND queue = $2 AND priority >= $3
           AND (priority > $3 OR (due_at, waiting_since, work_item_id) <= ($4, $5, $6))",
    )
    .bind(tenant.as_str())
    .bind(queue)
    .bind(key.0)
    .bind(key.1)
    .bind(key.2)
    .bind(key.3)
    .fetch_one(conn)
    .await?)
}

/// Open items in the order in which they would be offered, after `after`.
pub async fn list_open(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queue: &str,
    after: Option<&OrderKey>,
    limit: i64,
) -> Result<Vec<WorkItemRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT work_item_id, case_id, version, queue, state, channel_kind, waiting_since, priority, required_skills,
                agent_id, answered_at, due_at, explanation
         FROM work_items
         WHERE tenant = $1 AND state IN ('pending', 'offered', 'assigned') AND ($2 = '' OR queue = $2)
           AND ($3::integer IS NULL OR priority < $3
                OR (priority = $3 AND (due_at, waiting_since, work_item_id) > ($4, $5, $6)))
         ORDER BY priority DESC, due_at, waiting_since, work_item_id
         LIMIT $7",
    )
    .bind(tenant.as_str())
    .bind(queue)
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1))
    .bind(after.map(|k| k.2))
    .bind(after.map(|k| k.3))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

impl WorkItemRow {
    /// Its place in the order of offers.
    pub fn key(&self) -> OrderKey {
        OrderKey(self.priority, self.due_at, self.waiting_since, self.work_item_id)
    }
}
