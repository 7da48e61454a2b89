//! Timelines.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::{FromRow, PgConnection};
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    case::v1::{self as wire, Understanding},
    common::v1::{Direction, Interaction},
    ids::{CaseId, CustomerId, InteractionId, TenantId},
};
use uuid::Uuid;

use crate::domain::{Line, OutboundStatus};

#[derive(FromRow)]
struct Row {
    tenant: String,
    interaction_id: Uuid,
    case_id: Option<Uuid>,
    origin_case_id: Option<Uuid>,
    customer_id: Uuid,
    occurred_at: DateTime<Utc>,
    outbound_status: i16,
    article_version: String,
    interaction: Vec<u8>,
    understanding: Vec<u8>,
}

impl Row {
    fn into_line(self) -> Result<Line, Error> {
        let status = wire::OutboundStatus::try_from(i32::from(self.outbound_status)).unwrap_or_default();
        Ok(Line {
            tenant: self.tenant.parse()?,
            id: InteractionId::new(self.interaction_id),
            case_id: self.case_id.map(CaseId::new),
            origin_case_id: self.origin_case_id.map(CaseId::new),
            customer_id: CustomerId::new(self.customer_id),
            occurred_at: self.occurred_at,
            outbound: OutboundStatus::from_wire(status),
            article_version: self.article_version,
            interaction: Interaction::decode(self.interaction.as_slice())?,
            understanding: match self.understanding.as_slice() {
                [] => None,
                bytes => Some(Understanding::decode(bytes)?),
            },
        })
    }
}

const KEY: &[(&str, &str)] = &[("interaction_id", "uuid")];
/// What was said, and the files that came with it.
pub const INTERACTION: Column = Column::bytes("timeline", "interaction", KEY);
/// What we made of it.
pub const UNDERSTANDING: Column = Column::bytes("timeline", "understanding", KEY);

async fn all(tx: &mut Tx, mut rows: Vec<Row>) -> Result<Vec<Line>, Error> {
    let said = rows
        .iter_mut()
        .map(|r| (r.tenant.as_str(), r.interaction_id, &mut r.interaction));
    tx.open(INTERACTION, said).await?;
    let meant = rows
        .iter_mut()
        .map(|r| (r.tenant.as_str(), r.interaction_id, &mut r.understanding));
    tx.open(UNDERSTANDING, meant).await?;
    rows.into_iter().map(Row::into_line).collect()
}

/// The lines with these ids.
///
/// # Errors
/// When the database is away.
pub async fn load(tx: &mut Tx, tenants: &[&str], ids: &[Uuid]) -> Result<Vec<Line>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT line.* FROM unnest($1::text[]) AS t (tenant) CROSS JOIN unnest($2::uuid[]) AS wanted (interaction_id)
         CROSS JOIN LATERAL (
             SELECT tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, outbound_status,
                    article_version, interaction, understanding
             FROM timeline WHERE tenant = t.tenant AND interaction_id = wanted.interaction_id OFFSET 0) AS line",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// The last `limit` lines of each case, oldest first within a case.
///
/// # Errors
/// When the database is away.
pub async fn load_last(
    tx: &mut Tx,
    tenants: &[&str],
    cases: &[Uuid],
    limit: u16,
) -> Result<Vec<Line>, Error> {
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT line.* FROM unnest($1::text[], $2::uuid[]) AS wanted (tenant, case_id)
         CROSS JOIN LATERAL (
             SELECT tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, outbound_status,
                    article_version, interaction, understanding
             FROM timeline t WHERE t.tenant = wanted.tenant AND t.case_id = wanted.case_id
             ORDER BY t.occurred_at DESC, t.interaction_id DESC LIMIT $3) AS line
         ORDER BY line.occurred_at, line.interaction_id",
    )
    .bind(tenants)
    .bind(cases)
    .bind(i64::from(limit))
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// One page of a case's timeline, oldest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    tx: &mut Tx,
    tenant: &TenantId,
    case: CaseId,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Line>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, outbound_status,
                article_version, interaction, understanding
         FROM timeline
         WHERE tenant = $1 AND case_id = $2 AND ($3::timestamptz IS NULL OR (occurred_at, interaction_id) > ($3, $4))
         ORDER BY occurred_at, interaction_id LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(case.uuid())
    .bind(after.map(|a| a.0))
    .bind(after.map(|a| a.1))
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// All lines of a journey: on these cases, and without a case of these customers.
///
/// # Errors
/// When the database is away.
pub async fn load_journey(
    tx: &mut Tx,
    tenant: &TenantId,
    cases: &[Uuid],
    customers: &[Uuid],
    limit: i64,
) -> Result<Vec<Line>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, outbound_status,
                article_version, interaction, understanding
         FROM timeline
         WHERE tenant = $1 AND (case_id = ANY($2) OR (case_id IS NULL AND customer_id = ANY($3)))
         ORDER BY occurred_at DESC, interaction_id DESC LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .bind(customers)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    all(tx, rows).await
}

/// Writes lines.
///
/// # Errors
/// When the database is away.
pub async fn save(tx: &mut Tx, lines: &[&Line]) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    let each = || lines.iter().map(|l| (l.tenant.as_str(), l.id.uuid()));
    let mut said: Vec<Vec<u8>> = lines.iter().map(|l| l.interaction.encode_to_vec()).collect();
    tx.seal(INTERACTION, each(), &mut said).await?;
    let meant = |l: &&Line| {
        l.understanding
            .as_ref()
            .map(Understanding::encode_to_vec)
            .unwrap_or_default()
    };
    let mut meant: Vec<Vec<u8>> = lines.iter().map(meant).collect();
    tx.seal(UNDERSTANDING, each(), &mut meant).await?;
    sqlx::query(
        "INSERT INTO timeline (tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, revision,
             outbound_status, article_version, interaction, understanding)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::integer[],
             $8::smallint[], $9::text[], $10::bytea[], $11::bytea[])
         ON CONFLICT (tenant, interaction_id) DO UPDATE SET
             case_id = excluded.case_id, origin_case_id = excluded.origin_case_id, customer_id = excluded.customer_id,
             occurred_at = excluded.occurred_at, revision = excluded.revision,
             outbound_status = excluded.outbound_status, article_version = excluded.article_version,
             interaction = excluded.interaction, understanding = excluded.understanding",
    )
    .bind(lines.iter().map(|l| l.tenant.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.id.uuid()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.case_id.map(CaseId::uuid)).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.origin_case_id.map(CaseId::uuid)).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.customer_id.uuid()).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.occurred_at).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.interaction.revision).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| i16::try_from(l.outbound.to_wire() as i32).unwrap_or(0)).collect::<Vec<_>>())
    .bind(lines.iter().map(|l| l.article_version.as_str()).collect::<Vec<_>>())
    .bind(said)
    .bind(meant)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Moves all lines of cases that were joined with others; they remember where they came from.
///
/// # Errors
/// When the database is away.
pub async fn join(
    db: &mut PgConnection,
    tenants: &[String],
    from: &[Uuid],
    to: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE timeline SET case_id = joined.into_id, origin_case_id = coalesce(origin_case_id, case_id)
         FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS joined (tenant, from_id, into_id)
         WHERE timeline.tenant = joined.tenant AND timeline.case_id = joined.from_id",
    )
    .bind(tenants)
    .bind(from)
    .bind(to)
    .execute(db)
    .await?;
    Ok(())
}

/// Gives lines of joined cases back to them.
///
/// # Errors
/// When the database is away.
pub async fn part(
    db: &mut PgConnection,
    tenant: &TenantId,
    cases: &[Uuid],
    customer: CustomerId,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE timeline SET case_id = origin_case_id, origin_case_id = NULL, customer_id = $3
         WHERE tenant = $1 AND origin_case_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .bind(customer.uuid())
    .execute(db)
    .await?;
    Ok(())
}

/// The cases among these on which customers said nothing but these words. What agents wrote there is about the words.
///
/// # Errors
/// When the database is away.
pub async fn of_nobody_else(
    tx: &mut Tx,
    tenant: &TenantId,
    cases: &[Uuid],
    words: &[Uuid],
) -> Result<Vec<CaseId>, Error> {
    // Who speaks stands in what may be sealed.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant, interaction_id, case_id, origin_case_id, customer_id, occurred_at, outbound_status,
                article_version, interaction, understanding
         FROM timeline
         WHERE tenant = $1 AND outbound_status = 0 AND case_id IN (
             SELECT case_id FROM timeline WHERE tenant = $1 AND interaction_id = ANY($3) AND case_id = ANY($2))",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .bind(words)
    .fetch_all(tx.conn())
    .await?;
    let mut theirs: HashMap<CaseId, bool> = HashMap::new();
    for line in all(tx, rows).await? {
        let fits = line.interaction.direction() != Direction::Inbound || words.contains(&line.id.uuid());
        if let Some(case) = line.case_id {
            *theirs.entry(case).or_insert(true) &= fits;
        }
    }
    Ok(theirs
        .into_iter()
        .filter(|(_, fits)| *fits)
        .map(|(case, _)| case)
        .collect())
}

/// Puts lines on a case, or on none, under a customer.
///
/// # Errors
/// When the database is away.
pub async fn give(
    db: &mut PgConnection,
    tenant: &TenantId,
    interactions: &[Uuid],
    case: Option<CaseId>,
    customer: CustomerId,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE timeline SET case_id = coalesce($3, case_id), customer_id = $4
         WHERE tenant = $1 AND interaction_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(interactions)
    .bind(case.map(CaseId::uuid))
    .bind(customer.uuid())
    .execute(db)
    .await?;
    Ok(())
}
