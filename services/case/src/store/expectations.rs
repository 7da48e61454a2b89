//! Survey questions on their way.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::{CaseId, CustomerId, InvitationId, TenantId};
use uuid::Uuid;

use crate::domain::Expectation;

type Row = (
    String,
    Uuid,
    String,
    Uuid,
    Uuid,
    i32,
    i32,
    DateTime<Utc>,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
);

/// The questions that these customers may answer, newest first, and those with these ids whether open or not: the
/// second value says whether it is open.
///
/// # Errors
/// When the database is away.
pub async fn load(
    db: &mut PgConnection,
    tenants: &[&str],
    customers: &[Uuid],
    invitations: &[Uuid],
) -> Result<Vec<(Expectation, bool)>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT tenant, invitation_id, question_id, customer_id, case_id, min_score, max_score, closes_at, asked_at, closed_at
         FROM expectations
         WHERE tenant = ANY($1) AND (customer_id = ANY($2) AND closed_at IS NULL OR invitation_id = ANY($3))
         ORDER BY asked_at DESC, closes_at DESC, invitation_id, question_id",
    )
    .bind(tenants)
    .bind(customers)
    .bind(invitations)
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(
            |(
                tenant,
                invitation,
                question_id,
                customer,
                case,
                min_score,
                max_score,
                closes_at,
                asked_at,
                closed_at,
            )| {
                let expectation = Expectation {
                    tenant: tenant.parse()?,
                    invitation_id: InvitationId::new(invitation),
                    question_id,
                    customer_id: CustomerId::new(customer),
                    case_id: CaseId::new(case),
                    min_score,
                    max_score,
                    closes_at,
                    asked_at,
                };
                Ok((expectation, closed_at.is_none()))
            },
        )
        .collect()
}

/// Writes questions with whether they are still open.
///
/// # Errors
/// When the database is away.
pub async fn save(
    db: &mut PgConnection,
    questions: &[(&Expectation, bool)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if questions.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO expectations (tenant, invitation_id, question_id, customer_id, case_id, min_score, max_score,
             closes_at, asked_at, closed_at)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::integer[], $7::integer[],
             $8::timestamptz[], $9::timestamptz[], $10::timestamptz[])
         ON CONFLICT (tenant, invitation_id, question_id) DO UPDATE
         SET closed_at = excluded.closed_at, customer_id = excluded.customer_id",
    )
    .bind(questions.iter().map(|(q, _)| q.tenant.as_str()).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.invitation_id.uuid()).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.question_id.as_str()).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.customer_id.uuid()).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.case_id.uuid()).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.min_score).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.max_score).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.closes_at).collect::<Vec<_>>())
    .bind(questions.iter().map(|(q, _)| q.asked_at).collect::<Vec<_>>())
    .bind(questions.iter().map(|(_, open)| (!open).then_some(now)).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// Gives the open questions about these cases to another customer: the answer is theirs to give.
///
/// # Errors
/// When the database is away.
pub async fn give(
    db: &mut PgConnection,
    tenant: &TenantId,
    cases: &[Uuid],
    (from, to): (CustomerId, CustomerId),
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE expectations SET customer_id = $4
         WHERE tenant = $1 AND customer_id = $3 AND case_id = ANY($2) AND closed_at IS NULL",
    )
    .bind(tenant.as_str())
    .bind(cases)
    .bind(from.uuid())
    .bind(to.uuid())
    .execute(db)
    .await?;
    Ok(())
}
