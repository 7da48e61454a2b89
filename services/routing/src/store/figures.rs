//! Figures: what transitions add, folded by quarters of an hour, and what waits now.
//!
//! Facts are only inserted, and folded by deleting them in the statement that adds them: each counts exactly once. What
//! is read is the sum of what is folded and what is not, in one statement.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use trama_platform::Error;
use trama_proto::ids::{AgentId, TenantId, WorkItemId};
use uuid::Uuid;

/// Sums of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Sums {
    /// Items that came.
    pub arrived: i64,
    /// First answers.
    pub answered: i64,
    /// Of these in time.
    pub answered_in_target: i64,
    /// How long the answered had waited, in milliseconds.
    pub wait_ms: i64,
    /// The same as a share of the time that was promised, in millionths.
    pub normalised_micros: i64,
    /// Customers who left before anybody took them.
    pub abandoned: i64,
    /// Hand-overs.
    pub transferred: i64,
    /// Items that an agent finished.
    pub completed: i64,
    /// How long they had them, in milliseconds.
    pub handle_ms: i64,
    /// Answered by another agent than the first who was asked.
    pub reoffered: i64,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.arrived += other.arrived;
        self.answered += other.answered;
        self.answered_in_target += other.answered_in_target;
        self.wait_ms += other.wait_ms;
        self.normalised_micros += other.normalised_micros;
        self.abandoned += other.abandoned;
        self.transferred += other.transferred;
        self.completed += other.completed;
        self.handle_ms += other.handle_ms;
        self.reoffered += other.reoffered;
    }
}

/// What one transition of one item adds.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Which item.
    pub item: WorkItemId,
    /// When.
    pub at: DateTime<Utc>,
    /// Its queue.
    pub queue: String,
    /// Number of its kind of channel.
    pub channel_kind: i32,
    /// Its entitlement.
    pub entitlement: String,
    /// Who answered it for the first time, when this is that; whether others were asked before is looked up.
    pub answered_by: Option<AgentId>,
    /// What it adds.
    pub adds: Sums,
}

/// Notes what transitions add.
pub async fn add_facts(conn: &mut PgConnection, tenant: &TenantId, facts: &[Fact]) -> Result<(), Error> {
    if facts.is_empty() {
        return Ok(());
    }
    let sums = |of: fn(&Sums) -> i64| facts.iter().map(|f| of(&f.adds)).collect::<Vec<i64>>();
    sqlx::query(
        "INSERT INTO figure_facts (tenant, starts_at, queue, channel_kind, entitlement, arrived, answered, answered_in_target, wait_ms, normalised_micros,
             abandoned, transferred, completed, handle_ms, reoffered)
         SELECT $1, date_bin('15 minutes', f.at, TIMESTAMPTZ '2000-01-01Z') AS starts_at, f.queue, f.channel_kind, f.entitlement,
             sum(f.arrived), sum(f.answered), sum(f.answered_in_target), sum(f.wait_ms), sum(f.normalised_micros), sum(f.abandoned),
             sum(f.transferred), sum(f.completed), sum(f.handle_ms),
             count(*) FILTER (WHERE EXISTS (SELECT 1 FROM offers o WHERE o.tenant = $1 AND o.work_item_id = f.item
                                                                     AND o.agent_id <> f.answered_by))
         FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
                     $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[])
              AS f (item, at, queue, channel_kind, entitlement, answered_by, arrived, answered, answered_in_target, wait_ms, normalised_micros,
                    abandoned, transferred, completed, handle_ms)
         GROUP BY 2, 3, 4, 5",
    )
    .bind(tenant.as_str())
    .bind(facts.iter().map(|f| f.item.uuid()).collect::<Vec<Uuid>>())
    .bind(facts.iter().map(|f| f.at).collect::<Vec<_>>())
    .bind(facts.iter().map(|f| f.queue.as_str()).collect::<Vec<_>>())
    .bind(facts.iter().map(|f| f.channel_kind).collect::<Vec<_>>())
    .bind(facts.iter().map(|f| f.entitlement.as_str()).collect::<Vec<_>>())
    .bind(
        facts
            .iter()
            .map(|f| f.answered_by.as_ref().map(AgentId::as_str))
            .collect::<Vec<_>>(),
    )
    .bind(sums(|s| s.arrived))
    .bind(sums(|s| s.answered))
    .bind(sums(|s| s.answered_in_target))
    .bind(sums(|s| s.wait_ms))
    .bind(sums(|s| s.normalised_micros))
    .bind(sums(|s| s.abandoned))
    .bind(sums(|s| s.transferred))
    .bind(sums(|s| s.completed))
    .bind(sums(|s| s.handle_ms))
    .execute(conn)
    .await?;
    Ok(())
}

/// Folds facts into the figures, at most so many; how many it were.
pub async fn fold_facts(conn: &mut PgConnection, tenant: &TenantId, limit: i64) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "WITH taken AS (
             DELETE FROM figure_facts WHERE tenant = $1 AND fact_id = ANY(ARRAY(
                 SELECT fact_id FROM figure_facts WHERE tenant = $1 ORDER BY fact_id LIMIT $2))
             RETURNING *
         ), folded AS (
             INSERT INTO figures AS f (tenant, starts_at, queue, channel_kind, entitlement, arrived, answered, answered_in_target, wait_ms, normalised_micros,
                 abandoned, transferred, completed, handle_ms, reoffered)
             SELECT tenant, starts_at, queue, channel_kind, entitlement, sum(arrived), sum(answered), sum(answered_in_target), sum(wait_ms),
                 sum(normalised_micros), sum(abandoned), sum(transferred), sum(completed), sum(handle_ms), sum(reoffered)
             FROM taken GROUP BY tenant, starts_at, queue, channel_kind, entitlement
             ORDER BY starts_at, queue, channel_kind, entitlement
             ON CONFLICT (tenant, starts_at, queue, channel_kind, entitlement) DO UPDATE SET
                 arrived = f.arrived + excluded.arrived,
                 answered = f.answered + excluded.answered,
                 answered_in_target = f.answered_in_target + excluded.answered_in_target,
                 wait_ms = f.wait_ms + excluded.wait_ms,
                 normalised_micros = f.normalised_micros + excluded.normalised_micros,
                 abandoned = f.abandoned + excluded.abandoned,
                 transferred = f.transferred + excluded.transferred,
                 completed = f.completed + excluded.completed,
                 handle_ms = f.handle_ms + excluded.handle_ms,
                 reoffered = f.reoffered + excluded.reoffered
         )
         SELECT count(*) FROM taken",
    )
    .bind(tenant.as_str())
    .bind(limit)
    .fetch_one(conn)
    .await?)
}

macro_rules! cells {
    ($before:literal, $after:literal) => {
        concat!(
            "WITH cells AS (
                 SELECT starts_at, queue, channel_kind, entitlement, arrived, answered, answered_in_target, wait_ms, normalised_micros,
                     abandoned, transferred, completed, handle_ms, reoffered FROM figures
                 WHERE tenant = $1 AND starts_at >= $2 AND starts_at < $3 AND ($4 = '' OR queue = $4)
                 UNION ALL
                 SELECT starts_at, queue, channel_kind, entitlement, arrived, answered, answered_in_target, wait_ms, normalised_micros,
                     abandoned, transferred, completed, handle_ms, reoffered FROM figure_facts
                 WHERE tenant = $1 AND starts_at >= $2 AND starts_at < $3 AND ($4 = '' OR queue = $4)
             ) SELECT ",
            $before,
            ", sum(arrived)::bigint AS arrived, sum(answered)::bigint AS answered, sum(answered_in_target)::bigint AS answered_in_target,
             sum(wait_ms)::bigint AS wait_ms, sum(normalised_micros)::bigint AS normalised_micros, sum(abandoned)::bigint AS abandoned,
             sum(transferred)::bigint AS transferred, sum(completed)::bigint AS completed, sum(handle_ms)::bigint AS handle_ms, sum(reoffered)::bigint AS reoffered FROM cells ",
            $after
        )
    };
}

/// Sums of a queue and a kind of channel.
#[derive(Debug, Clone, FromRow)]
pub struct QueueSums {
    /// Queue.
    pub queue: String,
    /// Number of the kind of channel.
    pub channel_kind: i32,
    /// Its sums.
    #[sqlx(flatten)]
    pub sums: Sums,
}

/// Sums by queue and kind of channel, of the quarters of an hour that begin in this time.
pub async fn sums(
    conn: &mut PgConnection,
    tenant: &TenantId,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<QueueSums>, Error> {
    Ok(sqlx::query_as(cells!(
        "queue, channel_kind",
        "GROUP BY queue, channel_kind ORDER BY queue, channel_kind"
    ))
    .bind(tenant.as_str())
    .bind(from)
    .bind(until)
    .bind("")
    .fetch_all(conn)
    .await?)
}

/// Where a page of the history ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntervalKey(pub DateTime<Utc>, pub String, pub i32, pub String);

/// Sums of an interval.
#[derive(Debug, Clone, FromRow)]
pub struct IntervalSums {
    /// Its beginning.
    pub start: DateTime<Utc>,
    /// Queue.
    pub queue: String,
    /// Number of the kind of channel.
    pub channel_kind: i32,
    /// Entitlement.
    pub entitlement: String,
    /// Its sums.
    #[sqlx(flatten)]
    pub sums: Sums,
}

impl IntervalSums {
    /// Where it stands in the history.
    pub fn key(&self) -> IntervalKey {
        IntervalKey(
            self.start,
            self.queue.clone(),
            self.channel_kind,
            self.entitlement.clone(),
        )
    }
}

/// Which part of the history.
#[derive(Debug, Clone)]
pub struct History {
    /// From.
    pub from: DateTime<Utc>,
    /// Until.
    pub until: DateTime<Utc>,
    /// Length of an interval.
    pub minutes: i32,
    /// Only this queue; all when empty.
    pub queue: String,
}

/// The history by interval, after `after`.
pub async fn history(
    conn: &mut PgConnection,
    tenant: &TenantId,
    what: &History,
    after: Option<&IntervalKey>,
    limit: i64,
) -> Result<Vec<IntervalSums>, Error> {
    Ok(sqlx::query_as(cells!(
        "date_bin(make_interval(mins => $5), starts_at, TIMESTAMPTZ '2000-01-01Z') AS start, queue, channel_kind, entitlement",
        "WHERE $6::timestamptz IS NULL
            OR (date_bin(make_interval(mins => $5), starts_at, TIMESTAMPTZ '2000-01-01Z'), queue, channel_kind, entitlement)
               > ($6, $7, $8, $9)
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT $10"
    ))
    .bind(tenant.as_str())
    .bind(what.from)
    .bind(what.until)
    .bind(&what.queue)
    .bind(what.minutes)
    .bind(after.map(|k| k.0))
    .bind(after.map(|k| k.1.as_str()))
    .bind(after.map(|k| k.2))
    .bind(after.map(|k| k.3.as_str()))
    .bind(limit)
    .fetch_all(conn)
    .await?)
}

/// What a queue holds now, of a kind of channel.
#[derive(Debug, Clone, Default, FromRow)]
pub struct NowRow {
    /// Queue.
    pub queue: String,
    /// Number of the kind of channel.
    pub channel_kind: i32,
    /// Waiting, not offered.
    pub pending: i64,
    /// Offered, not answered.
    pub offered: i64,
    /// In agents' hands.
    pub assigned: i64,
    /// Waiting or offered although overdue.
    pub overdue: i64,
    /// Since when the oldest that waits or is offered does.
    pub oldest: Option<DateTime<Utc>>,
}

/// What is open now, by queue and kind of channel. `queues`: only these; all when empty.
pub async fn open_now(
    conn: &mut PgConnection,
    tenant: &TenantId,
    queues: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<NowRow>, Error> {
    Ok(sqlx::query_as(
        "SELECT queue, channel_kind,
                count(*) FILTER (WHERE state = 'pending') AS pending,
                count(*) FILTER (WHERE state = 'offered') AS offered,
                count(*) FILTER (WHERE state IN ('assigned', 'wrapping')) AS assigned,
                count(*) FILTER (WHERE state IN ('pending', 'offered') AND due_at < $3) AS overdue,
                min(waiting_since) FILTER (WHERE state IN ('pending', 'offered')) AS oldest
         FROM work_items
         WHERE tenant = $1 AND state IN ('pending', 'offered', 'assigned', 'wrapping')
           AND (cardinality($2::text[]) = 0 OR queue = ANY($2))
         GROUP BY queue, channel_kind ORDER BY queue, channel_kind",
    )
    .bind(tenant.as_str())
    .bind(queues)
    .bind(now)
    .fetch_all(conn)
    .await?)
}

/// Agents who may take work of a queue that asks for this, and are available.
pub async fn count_available(
    conn: &mut PgConnection,
    tenant: &TenantId,
    skills: &[(String, i32)],
    teams: &[String],
) -> Result<i64, Error> {
    let (names, levels): (Vec<&str>, Vec<i32>) = skills.iter().map(|(n, l)| (n.as_str(), *l)).unzip();
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM agents a
         WHERE tenant = $1 AND presence = 'available' AND NOT draining
           AND (cardinality($4::text[]) = 0 OR a.teams && $4)
           AND NOT EXISTS (
               SELECT 1 FROM unnest($2::text[], $3::integer[]) AS asked (skill, level)
               WHERE NOT EXISTS (SELECT 1 FROM unnest(a.skill_names, a.skill_levels) AS has (skill, level)
                                 WHERE has.skill = asked.skill AND has.level >= asked.level))",
    )
    .bind(tenant.as_str())
    .bind(names)
    .bind(levels)
    .bind(teams)
    .fetch_one(conn)
    .await?)
}
