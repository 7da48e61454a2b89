//! Counts behind the scores. Answers are counted by when their question was asked, as is the denominator.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

/// How often each kind was asked.
pub async fn asked_counts(
    conn: &mut PgConnection,
    tenant: &TenantId,
    survey: Option<&str>,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<(i32, i64)>, Error> {
    Ok(sqlx::query_as(
        "SELECT kind, count(*) FROM asked
         WHERE tenant = $1 AND ($2::text IS NULL OR survey = $2) AND ($3::timestamptz IS NULL OR asked_at >= $3)
         GROUP BY kind ORDER BY kind",
    )
    .bind(tenant.as_str())
    .bind(survey)
    .bind(since)
    .fetch_all(conn)
    .await?)
}

/// How often each answer was given to each kind.
pub async fn answer_counts(
    conn: &mut PgConnection,
    tenant: &TenantId,
    survey: Option<&str>,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<(i32, i32, i64)>, Error> {
    Ok(sqlx::query_as(
        "SELECT a.kind, r.score, count(*) FROM asked a
         JOIN responses r ON r.tenant = a.tenant AND r.invitation_id = a.invitation_id AND r.question_id = a.question_id
         WHERE a.tenant = $1 AND ($2::text IS NULL OR a.survey = $2) AND ($3::timestamptz IS NULL OR a.asked_at >= $3)
         GROUP BY a.kind, r.score",
    )
    .bind(tenant.as_str())
    .bind(survey)
    .bind(since)
    .fetch_all(conn)
    .await?)
}
