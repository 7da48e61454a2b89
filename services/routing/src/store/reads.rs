//! Work items as the API shows them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CaseId, TenantId, WorkItemId};
use uuid::Uuid;

use crate::domain::{Manner, Route};

/// An item as the API shows it.
#[derive(Debug, Clone, FromRow)]
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
    /// Points.
    pub priority: i32,
    /// The policy's decision.
    pub route: Json<Route>,
    /// Language.
    pub language: String,
    /// Entitlement.
    pub entitlement: String,
    /// Intent.
    pub intent: String,
    /// Who has or had it.
    pub agent_id: Option<String>,
    /// Whether it rests, and why.
    pub rest: String,
    /// End of the wrap-up.
    pub wrap_up_until: Option<DateTime<Utc>>,
    /// Hand-overs.
    pub transfers: i32,
    /// Second agent.
    pub second_agent: Option<String>,
    /// First answer.
    pub answered_at: Option<DateTime<Utc>>,
    /// By when it must be answered.
    pub due_at: DateTime<Utc>,
    /// By when, with its points; the order of the list.
    pub rank_at: DateTime<Utc>,
    /// How the customer waits.
    pub manner: Json<Manner>,
}

macro_rules! columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "w.work_item_id, w.case_id, w.version, w.queue, w.state, w.channel_kind, w.waiting_since,
             w.priority, w.route, w.language, w.entitlement, w.intent, w.agent_id, w.rest, w.wrap_up_until, w.transfers,
             w.second_agent, w.answered_at, w.due_at, w.rank_at, w.manner",
            $after
        )
    };
}
pub(super) use columns;

/// Where an item stands in the order of deadlines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderKey(pub DateTime<Utc>, pub DateTime<Utc>, pub Uuid);

/// The open or last item of a case.
pub async fn find_of_case(
    conn: &mut PgConnection,
    tenant: &TenantId,
    case: CaseId,
) -> Result<Option<WorkItemRow>, Error> {
    Ok(sqlx::query_as(columns!(
        "SELECT ",
        " FROM work_items w WHERE tenant = $1 AND case_id = $2 AND number > 0 ORDER BY number DESC LIMIT 1"
    ))
    .bind(tenant.as_str())
    .bind(case.uuid())
    .fetch_optional(conn)
    .await?)
}

/// One item.
pub async fn find_item(
    conn: &mut PgConnection,
    tenant: &TenantId,
    item: WorkItemId,
) -> Result<Option<WorkItemRow>, Error> {
    Ok(sqlx::query_as(columns!(
        "SELECT ",
        " FROM work_items w WHERE tenant = $1 AND work_item_id = $2 AND number > 0"
    ))
    .bind(tenant.as_str())
    .bind(item.uuid())
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
         WHERE tenant = $1 AND state = 'pending' AND queue = $2
           AND (rank_at, waiting_since, work_item_id) <= ($3, $4, $5)",
    )
    .bind(tenant.as_str())
    .bind(queue)
    .bind(key.0)
    .bind(key.1)
    .bind(key.2)
    .fetch_one(conn)
    .await?)
}

/// Open items by deadline, after `after`.
pub async fn list_open(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queue: &str,
    after: Option<&OrderKey>,
    limit: i64,
) -> Result<Vec<WorkItemRow>, Error> {
    Ok(sqlx::query_as(columns!(
        "SELECT ",
        " FROM work_items w
         WHERE tenant = $1 AND state IN ('pending', 'offered', 'assigned', 'wrapping') AND ($2 = '' OR queue = $2)
           AND ($3::timestamptz IS NULL OR (rank_at, waiting_since, work_item_id) > ($3, $4, $5))
         ORDER BY rank_at, waiting_since, work_item_id
         LIMIT $6"
    ))
    .bind(tenant.as_str())
    .bind(queue)
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1))
    .bind(after.map(|k| k.2))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

impl WorkItemRow {
    /// Its place in the order of deadlines.
    pub fn key(&self) -> OrderKey {
        OrderKey(self.rank_at, self.waiting_since, self.work_item_id)
    }
}
