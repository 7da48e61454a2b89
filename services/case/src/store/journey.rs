//! Steps of journeys that are no interactions.

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, sealing::Column};
use trama_proto::{
    common::v1::ChannelKind,
    ids::{CaseId, CustomerId, TenantId},
};
use uuid::Uuid;

/// What a step says of the need.
pub const SUMMARY: Column = Column::text("journey", "summary", &[("step_id", "uuid")]);

/// A step that is no interaction.
#[derive(Debug, Clone)]
pub struct Step {
    /// Whose data.
    pub tenant: TenantId,
    /// Derived from what happened, so that a repeat is the same step.
    pub id: Uuid,
    /// On whose journey.
    pub customer_id: CustomerId,
    /// On which case.
    pub case_id: Option<CaseId>,
    /// When.
    pub at: DateTime<Utc>,
    /// On which kind of channel.
    pub channel_kind: ChannelKind,
    /// What, in words.
    pub what: String,
    /// More about it.
    pub summary: String,
    /// Who acted.
    pub actor: String,
}

/// Remembers steps; what is known stays as it is.
///
/// # Errors
/// When the database is away.
pub async fn save(tx: &mut Tx, steps: &[Step]) -> Result<(), Error> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut summaries: Vec<String> = steps.iter().map(|s| s.summary.clone()).collect();
    let places = steps.iter().map(|s| (s.tenant.as_str(), s.id));
    tx.seal(SUMMARY, places, &mut summaries).await?;
    sqlx::query(
        "INSERT INTO journey (tenant, step_id, customer_id, case_id, at, channel_kind, what, summary, actor)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::smallint[],
             $7::text[], $8::text[], $9::text[])
         ON CONFLICT (tenant, step_id) DO NOTHING",
    )
    .bind(steps.iter().map(|s| s.tenant.as_str()).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.id).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.customer_id.uuid()).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.case_id.map(CaseId::uuid)).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.at).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| i16::try_from(s.channel_kind as i32).unwrap_or(0)).collect::<Vec<_>>())
    .bind(steps.iter().map(|s| s.what.as_str()).collect::<Vec<_>>())
    .bind(summaries)
    .bind(steps.iter().map(|s| s.actor.as_str()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

type Row = (
    Uuid,
    Uuid,
    Option<Uuid>,
    DateTime<Utc>,
    i16,
    String,
    String,
    String,
);

/// The steps on these cases, and without a case of these customers.
///
/// # Errors
/// When the database is away.
pub async fn load(
    tx: &mut Tx,
    tenant: &TenantId,
    cases: &[Uuid],
    customers: &[Uuid],
    limit: i64,
) -> Result<Vec<Step>, Error> {
    let mut rows: Vec<Row> = sqlx::query_as(
        "SELECT step_id, customer_id, case_id, at, channel_kind, what, summary, actor FROM journey
         WHERE tenant = $1 AND (case_id = ANY($2) OR (case_id IS NULL AND customer_id = ANY($3)))
         ORDER BY at DESC, step_id LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .bind(customers)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let summaries = rows.iter_mut().map(|row| (tenant.as_str(), row.0, &mut row.6));
    tx.open(SUMMARY, summaries).await?;
    Ok(rows
        .into_iter()
        .map(
            |(id, customer, case, at, channel_kind, what, summary, actor)| Step {
                tenant: tenant.clone(),
                id,
                customer_id: CustomerId::new(customer),
                case_id: case.map(CaseId::new),
                at,
                channel_kind: ChannelKind::try_from(i32::from(channel_kind)).unwrap_or_default(),
                what,
                summary,
                actor,
            },
        )
        .collect())
}
