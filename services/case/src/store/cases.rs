//! Cases.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::{FromRow, PgConnection};
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    case::v1::{CaseKind, CaseStatus, Effort, Understanding},
    common::v1::{ChannelKind, CustomerContext},
    ids::{CaseId, CustomerId, InteractionId, MergeId, TenantId},
};
use uuid::Uuid;

use crate::{
    domain::{Case, Kind, Live, State},
    error::broken_row,
};

#[derive(FromRow)]
struct Row {
    tenant: String,
    case_id: Uuid,
    customer_id: Uuid,
    origin_customer_id: Uuid,
    kind: i16,
    status: i16,
    waiting_since: Option<DateTime<Utc>>,
    answered_at: Option<DateTime<Utc>>,
    resolved_at: Option<DateTime<Utc>>,
    resolved_by: String,
    merged_into: Option<Uuid>,
    merge_id: Option<Uuid>,
    related_case_id: Option<Uuid>,
    subject: String,
    understanding: Vec<u8>,
    article_key: String,
    assigned_agent: String,
    assigned_at: Option<DateTime<Utc>>,
    last_agent: String,
    channel: String,
    channel_kind: i16,
    first_heard_at: DateTime<Utc>,
    last_heard_at: DateTime<Utc>,
    first_answer_at: Option<DateTime<Utc>>,
    effort: Vec<u8>,
    customer: Vec<u8>,
    last_word_id: Option<Uuid>,
    in_doubt: bool,
    opened_at: DateTime<Utc>,
    work_revision: i64,
    version: i64,
}

impl Row {
    fn into_case(self) -> Result<Case, Error> {
        let broken = |problem: &str| broken_row("cases", self.case_id, problem);
        let live = match (self.waiting_since, self.answered_at) {
            (Some(waiting_since), _) => Some(Live::Open { waiting_since }),
            (None, Some(since)) => Some(Live::Waiting { since }),
            (None, None) => None,
        };
        let state = match (CaseStatus::try_from(i32::from(self.status)), live) {
            (Ok(CaseStatus::Open | CaseStatus::Waiting), Some(live)) => State::Live(live),
            (Ok(CaseStatus::Resolved), _) => State::Resolved {
                at: self
                    .resolved_at
                    .ok_or_else(|| broken("resolved without a time"))?,
                by: self.resolved_by.clone(),
            },
            (Ok(CaseStatus::Merged), Some(was)) => State::Merged {
                into: CaseId::new(self.merged_into.ok_or_else(|| broken("merged into nothing"))?),
                merge: MergeId::new(self.merge_id.ok_or_else(|| broken("merged by nothing"))?),
                was,
            },
            _ => return Err(broken("status and times do not fit")),
        };
        let kind = match CaseKind::try_from(i32::from(self.kind)) {
            Ok(CaseKind::Need) => Kind::Need,
            Ok(CaseKind::Recovery) => Kind::Recovery,
            _ => return Err(broken("unknown kind")),
        };
        Ok(Case {
            tenant: self.tenant.parse()?,
            id: CaseId::new(self.case_id),
            customer_id: CustomerId::new(self.customer_id),
            origin_customer_id: CustomerId::new(self.origin_customer_id),
            kind,
            state,
            related: self.related_case_id.map(CaseId::new),
            subject: self.subject,
            understanding: Understanding::decode(self.understanding.as_slice())?,
            article_key: self.article_key,
            assigned_agent: self.assigned_agent,
            assigned_at: self.assigned_at,
            last_agent: self.last_agent,
            channel: self.channel,
            channel_kind: ChannelKind::try_from(i32::from(self.channel_kind)).unwrap_or_default(),
            first_heard_at: self.first_heard_at,
            last_heard_at: self.last_heard_at,
            first_answer_at: self.first_answer_at,
            effort: Effort::decode(self.effort.as_slice())?,
            customer: CustomerContext::decode(self.customer.as_slice())?,
            last_word: self.last_word_id.map(InteractionId::new),
            in_doubt: self.in_doubt,
            opened_at: self.opened_at,
            work_revision: self.work_revision,
            version: self.version,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT tenant, case_id, customer_id, origin_customer_id, kind, status, waiting_since, answered_at, resolved_at,
                    resolved_by, merged_into, merge_id, related_case_id, subject, understanding, article_key,
                    assigned_agent, assigned_at, last_agent, channel, channel_kind, first_heard_at, last_heard_at,
                    first_answer_at, effort, customer, last_word_id, in_doubt, opened_at, work_revision, version
             FROM cases ",
            $rest
        )
    };
}

const KEY: &[(&str, &str)] = &[("case_id", "uuid")];
/// The need in the customer's words.
pub const SUBJECT: Column = Column::text("cases", "subject", KEY);
/// What we made of them.
pub const UNDERSTANDING: Column = Column::bytes("cases", "understanding", KEY);
/// Whom it is about, as far as we were told.
pub const CUSTOMER: Column = Column::bytes("cases", "customer", KEY);

async fn all(tx: &mut Tx, mut rows: Vec<Row>) -> Result<Vec<Case>, Error> {
    tx.open(
        SUBJECT,
        rows.iter_mut()
            .map(|r| (r.tenant.as_str(), r.case_id, &mut r.subject)),
    )
    .await?;
    let meant = rows
        .iter_mut()
        .map(|r| (r.tenant.as_str(), r.case_id, &mut r.understanding));
    tx.open(UNDERSTANDING, meant).await?;
    tx.open(
        CUSTOMER,
        rows.iter_mut()
            .map(|r| (r.tenant.as_str(), r.case_id, &mut r.customer)),
    )
    .await?;
    rows.into_iter().map(Row::into_case).collect()
}

/// Locks and loads the cases that a batch may touch: those with these ids, and of these customers those that are live
/// or ended after `ended_after`.
///
/// # Errors
/// When the database is away.
pub async fn load_for_batch(
    tx: &mut Tx,
    tenants: &[&str],
    customers: &[Uuid],
    cases: &[Uuid],
    ended_after: DateTime<Utc>,
) -> Result<Vec<Case>, Error> {
    // Ordered, so that two batches lock in the same order. Row by row over the keys: without fresh statistics the
    // planner would rather read the whole table.
    let rows: Vec<Row> = sqlx::query_as(
        "WITH wanted AS MATERIALIZED (
             SELECT t.tenant, c.case_id
             FROM unnest($1::text[]) AS t (tenant) CROSS JOIN unnest($2::uuid[]) AS u (customer_id)
             CROSS JOIN LATERAL (
                 SELECT case_id FROM cases
                 WHERE tenant = t.tenant AND customer_id = u.customer_id AND (status IN (1, 2) OR resolved_at > $4)
                 OFFSET 0) c
             UNION
             SELECT t.tenant, u.case_id FROM unnest($1::text[]) AS t (tenant) CROSS JOIN unnest($3::uuid[]) AS u (case_id)
             ORDER BY 1, 2)
         SELECT c.* FROM wanted
         CROSS JOIN LATERAL (
             SELECT tenant, case_id, customer_id, origin_customer_id, kind, status, waiting_since, answered_at, resolved_at,
                    resolved_by, merged_into, merge_id, related_case_id, subject, understanding, article_key,
                    assigned_agent, assigned_at, last_agent, channel, channel_kind, first_heard_at, last_heard_at,
                    first_answer_at, effort, customer, last_word_id, in_doubt, opened_at, work_revision, version
             FROM cases WHERE tenant = wanted.tenant AND case_id = wanted.case_id FOR UPDATE) c",
    )
    .bind(tenants)
    .bind(customers)
    .bind(cases)
    .bind(ended_after)
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// Locks and loads one case.
///
/// # Errors
/// When the database is away.
pub async fn find_for_update(tx: &mut Tx, tenant: &TenantId, id: CaseId) -> Result<Option<Case>, Error> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE tenant = $1 AND case_id = $2 FOR UPDATE"))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(tx.conn())
        .await?;
    Ok(all(tx, row.into_iter().collect()).await?.pop())
}

/// One case.
///
/// # Errors
/// When the database is away.
pub async fn find(tx: &mut Tx, tenant: &TenantId, id: CaseId) -> Result<Option<Case>, Error> {
    let row: Option<Row> = sqlx::query_as(select!("WHERE tenant = $1 AND case_id = $2"))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(tx.conn())
        .await?;
    Ok(all(tx, row.into_iter().collect()).await?.pop())
}

/// What to list. Empty filters let everything through.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    /// Of these customers.
    pub customers: Option<Vec<Uuid>>,
    /// With this reference.
    pub reference: &'a str,
    /// In this status.
    pub status: CaseStatus,
    /// Older than this one.
    pub before: Option<(DateTime<Utc>, Uuid)>,
}

/// Cases, newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    tx: &mut Tx,
    tenant: &TenantId,
    filter: &Filter<'_>,
    limit: i64,
) -> Result<Vec<Case>, Error> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE tenant = $1
           AND ($2::uuid[] IS NULL OR customer_id = ANY($2))
           AND ($3 = '' OR case_id IN (SELECT r.case_id FROM case_references r WHERE r.tenant = $1 AND r.reference = $3))
           AND ($4 = 0 OR status = $4)
           AND ($5::timestamptz IS NULL OR (opened_at, case_id) < ($5, $6))
         ORDER BY opened_at DESC, case_id DESC
         LIMIT $7"
    ))
    .bind(tenant.as_str())
    .bind(&filter.customers)
    .bind(filter.reference)
    .bind(filter.status as i32)
    .bind(filter.before.map(|b| b.0))
    .bind(filter.before.map(|b| b.1))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// Locks and loads the cases of customers and those that a merge ended, for a split.
///
/// # Errors
/// When the database is away.
pub async fn load_for_split(
    tx: &mut Tx,
    tenant: &TenantId,
    customers: &[Uuid],
    merge: MergeId,
) -> Result<Vec<Case>, Error> {
    let rows: Vec<Row> = sqlx::query_as(select!(
        "WHERE tenant = $1 AND (customer_id = ANY($2) OR merge_id = $3) ORDER BY tenant, case_id FOR UPDATE"
    ))
    .bind(tenant.as_str())
    .bind(customers)
    .bind(merge.uuid())
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// Gives cases that are not in memory to the customer who remains.
///
/// # Errors
/// When the database is away.
pub async fn repoint(
    db: &mut PgConnection,
    tenants: &[String],
    from: &[Uuid],
    to: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE cases SET customer_id = moved.survivor
         FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS moved (tenant, merged, survivor)
         WHERE cases.tenant = moved.tenant AND cases.customer_id = moved.merged",
    )
    .bind(tenants)
    .bind(from)
    .bind(to)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes cases. Their versions are one ahead of the rows they replace; rows are locked, so nobody was faster.
///
/// # Errors
/// When the database is away.
pub async fn save(tx: &mut Tx, cases: &[&Case]) -> Result<(), Error> {
    if cases.is_empty() {
        return Ok(());
    }
    let column = |f: fn(&Case) -> Option<DateTime<Utc>>| cases.iter().map(|c| f(c)).collect::<Vec<_>>();
    let texts = |f: fn(&Case) -> &str| cases.iter().map(|c| f(c)).collect::<Vec<_>>();
    let ids = |f: fn(&Case) -> Option<Uuid>| cases.iter().map(|c| f(c)).collect::<Vec<_>>();
    let small = |f: fn(&Case) -> i32| {
        cases
            .iter()
            .map(|c| i16::try_from(f(c)).unwrap_or(0))
            .collect::<Vec<_>>()
    };
    let blobs = |f: fn(&Case) -> Vec<u8>| cases.iter().map(|c| f(c)).collect::<Vec<_>>();
    let each = || cases.iter().map(|c| (c.tenant.as_str(), c.id.uuid()));
    let mut subjects: Vec<String> = cases.iter().map(|c| c.subject.clone()).collect();
    tx.seal(SUBJECT, each(), &mut subjects).await?;
    let mut meant = blobs(|c| c.understanding.encode_to_vec());
    tx.seal(UNDERSTANDING, each(), &mut meant).await?;
    let mut customers = blobs(|c| c.customer.encode_to_vec());
    tx.seal(CUSTOMER, each(), &mut customers).await?;
    sqlx::query(
        "INSERT INTO cases (tenant, case_id, customer_id, origin_customer_id, kind, status, waiting_since, answered_at,
             resolved_at, resolved_by, merged_into, merge_id, related_case_id, subject, intent, understanding, article_key,
             assigned_agent, assigned_at, last_agent, channel, channel_kind, first_heard_at, last_heard_at,
             first_answer_at, effort, customer, last_word_id, in_doubt, opened_at, work_revision, version)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::smallint[],
             $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::text[], $11::uuid[], $12::uuid[], $13::uuid[],
             $14::text[], $15::text[], $16::bytea[], $17::text[], $18::text[], $19::timestamptz[], $20::text[],
             $21::text[], $22::smallint[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::bytea[],
             $27::bytea[], $28::uuid[], $29::boolean[], $30::timestamptz[], $31::bigint[], $32::bigint[])
         ON CONFLICT (tenant, case_id) DO UPDATE SET
             customer_id = excluded.customer_id, origin_customer_id = excluded.origin_customer_id,
             status = excluded.status, waiting_since = excluded.waiting_since,
             answered_at = excluded.answered_at, resolved_at = excluded.resolved_at, resolved_by = excluded.resolved_by,
             merged_into = excluded.merged_into, merge_id = excluded.merge_id, subject = excluded.subject,
             intent = excluded.intent, understanding = excluded.understanding, article_key = excluded.article_key,
             assigned_agent = excluded.assigned_agent, assigned_at = excluded.assigned_at,
             last_agent = excluded.last_agent, channel = excluded.channel, channel_kind = excluded.channel_kind,
             first_heard_at = excluded.first_heard_at, last_heard_at = excluded.last_heard_at,
             first_answer_at = excluded.first_answer_at, effort = excluded.effort, customer = excluded.customer,
             last_word_id = excluded.last_word_id, in_doubt = excluded.in_doubt,
             work_revision = excluded.work_revision, version = excluded.version",
    )
    .bind(texts(|c| c.tenant.as_str()))
    .bind(ids(|c| Some(c.id.uuid())))
    .bind(ids(|c| Some(c.customer_id.uuid())))
    .bind(ids(|c| Some(c.origin_customer_id.uuid())))
    .bind(small(|c| c.kind.to_wire().into()))
    .bind(small(|c| c.state.status().into()))
    .bind(column(|c| match &c.state {
        State::Live(Live::Open { waiting_since }) | State::Merged { was: Live::Open { waiting_since }, .. } => {
            Some(*waiting_since)
        }
        State::Live(Live::Waiting { .. }) | State::Merged { was: Live::Waiting { .. }, .. } | State::Resolved { .. } => None,
    }))
    .bind(column(|c| match &c.state {
        State::Live(Live::Waiting { since }) | State::Merged { was: Live::Waiting { since }, .. } => Some(*since),
        State::Live(Live::Open { .. }) | State::Merged { was: Live::Open { .. }, .. } | State::Resolved { .. } => None,
    }))
    .bind(column(|c| match &c.state {
        State::Resolved { at, .. } => Some(*at),
        State::Live(_) | State::Merged { .. } => None,
    }))
    .bind(texts(|c| match &c.state {
        State::Resolved { by, .. } => by,
        State::Live(_) | State::Merged { .. } => "",
    }))
    .bind(ids(|c| match &c.state {
        State::Merged { into, .. } => Some(into.uuid()),
        State::Live(_) | State::Resolved { .. } => None,
    }))
    .bind(ids(|c| match &c.state {
        State::Merged { merge, .. } => Some(merge.uuid()),
        State::Live(_) | State::Resolved { .. } => None,
    }))
    .bind(ids(|c| c.related.map(CaseId::uuid)))
    .bind(subjects)
    .bind(texts(|c| c.intent()))
    .bind(meant)
    .bind(texts(|c| &c.article_key))
    .bind(texts(|c| &c.assigned_agent))
    .bind(column(|c| c.assigned_at))
    .bind(texts(|c| &c.last_agent))
    .bind(texts(|c| &c.channel))
    .bind(small(|c| c.channel_kind.into()))
    .bind(column(|c| Some(c.first_heard_at)))
    .bind(column(|c| Some(c.last_heard_at)))
    .bind(column(|c| c.first_answer_at))
    .bind(blobs(|c| c.effort.encode_to_vec()))
    .bind(customers)
    .bind(ids(|c| c.last_word.map(InteractionId::uuid)))
    .bind(cases.iter().map(|c| c.in_doubt).collect::<Vec<_>>())
    .bind(column(|c| Some(c.opened_at)))
    .bind(cases.iter().map(|c| c.work_revision).collect::<Vec<_>>())
    .bind(cases.iter().map(|c| c.version).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Remembers which references lead to which cases.
///
/// # Errors
/// When the database is away.
pub async fn save_references(
    db: &mut PgConnection,
    references: &[(TenantId, String, CaseId)],
) -> Result<(), Error> {
    if references.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO case_references (tenant, reference, case_id)
         SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) ON CONFLICT DO NOTHING",
    )
    .bind(references.iter().map(|r| r.0.as_str()).collect::<Vec<_>>())
    .bind(references.iter().map(|r| r.1.as_str()).collect::<Vec<_>>())
    .bind(references.iter().map(|r| r.2.uuid()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}
