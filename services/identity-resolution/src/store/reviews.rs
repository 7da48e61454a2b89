//! Questions whether two are one person.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow, types::Json};
use trama_platform::Error;
use trama_proto::{
    identity_resolution::v1::{ReviewKind, ReviewStatus},
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use crate::domain::{
    ids::ReviewId,
    merge::{Likeness, MATCHING},
    resolution::{Doubt, Question},
};

/// A question as stored. Both sides are the ids they have now.
#[derive(Debug, Clone)]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// One.
    pub one: CustomerId,
    /// The other.
    pub other: CustomerId,
    /// Why a person is asked.
    pub kind: ReviewKind,
    /// Where it stands.
    pub status: ReviewStatus,
    /// How alike they were.
    pub likeness: Option<Likeness>,
    /// In words.
    pub reason: String,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
    /// When it shall be decided.
    pub due_at: DateTime<Utc>,
    /// How often it came up.
    pub sightings: i32,
    /// Who decided, why, when.
    pub decided: Option<(String, String, DateTime<Utc>)>,
}

/// Asks, or counts that the question came up again. One that a person answered stays answered; what later evidence had
/// answered is open again.
pub async fn ask(
    conn: &mut PgConnection,
    questions: &[(&TenantId, Question, DateTime<Utc>)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut rows: Vec<(&str, Uuid, Uuid, &Question, DateTime<Utc>)> = questions
        .iter()
        .filter(|(_, q, _)| q.one != q.other)
        .map(|(t, q, due)| {
            (
                t.as_str(),
                q.one.min(q.other).uuid(),
                q.one.max(q.other).uuid(),
                q,
                *due,
            )
        })
        .collect();
    rows.sort_by_key(|(tenant, one, other, ..)| (*tenant, *one, *other));
    rows.dedup_by_key(|(tenant, one, other, ..)| (*tenant, *one, *other));
    if rows.is_empty() {
        return Ok(());
    }
    let ids = rows.iter().map(|(tenant, one, other, ..)| {
        ReviewId::derived(&[b"review", tenant.as_bytes(), one.as_bytes(), other.as_bytes()]).uuid()
    });
    let kind = |doubt: Doubt| {
        let kind = match doubt {
            Doubt::Likely => ReviewKind::Likely,
            Doubt::Contradiction => ReviewKind::Contradiction,
            Doubt::Bridge => ReviewKind::Bridge,
        };
        kind as i16
    };
    sqlx::query(
        "INSERT INTO reviews AS r (tenant, review_id, one, other, kind, status, bits, evidence, reason, created_at, due_at)
         SELECT tenant, review_id, one, other, kind, $10, bits, evidence, reason, $11, due_at
         FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::float8[], $7::jsonb[], $8::text[],
             $9::timestamptz[]) AS q (tenant, review_id, one, other, kind, bits, evidence, reason, due_at)
         ON CONFLICT (tenant, one, other) DO UPDATE SET sightings = r.sightings + 1,
             bits = COALESCE(excluded.bits, r.bits), evidence = COALESCE(excluded.evidence, r.evidence),
             status = CASE WHEN r.decided_by = $12 THEN excluded.status ELSE r.status END,
             due_at = CASE WHEN r.decided_by = $12 THEN excluded.due_at ELSE r.due_at END,
             decision_reason = CASE WHEN r.decided_by = $12 THEN NULL ELSE r.decision_reason END,
             decided_at = CASE WHEN r.decided_by = $12 THEN NULL ELSE r.decided_at END,
             decided_by = NULLIF(r.decided_by, $12), version = r.version + 1",
    )
    .bind(rows.iter().map(|(t, ..)| *t).collect::<Vec<_>>())
    .bind(ids.collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, one, ..)| *one).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, _, other, ..)| *other).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., q, _)| kind(q.doubt)).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|(.., q, _)| q.likeness.as_ref().map(|l| l.bits))
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(.., q, _)| q.likeness.as_ref().map(Json))
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|(.., q, _)| q.words.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., due)| *due).collect::<Vec<_>>())
    .bind(ReviewStatus::Open as i16)
    .bind(now)
    .bind(MATCHING)
    .execute(conn)
    .await?;
    Ok(())
}

/// Questions whose both sides became one customer are answered.
pub async fn answered_by_merges(
    conn: &mut PgConnection,
    tenants: &[&str],
    survivors: &[Uuid],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "WITH members AS (
             SELECT DISTINCT s.tenant, s.survivor, m.customer_id FROM unnest($1::text[], $2::uuid[]) AS s (tenant, survivor)
             CROSS JOIN LATERAL (
                 SELECT s.survivor AS customer_id
                 UNION ALL
                 (SELECT customer_id FROM customers WHERE tenant = s.tenant AND merged_into = s.survivor LIMIT 100000)) m)
         UPDATE reviews r SET status = $3, decided_by = $4, decision_reason = 'later evidence joined them',
             decided_at = $5, version = r.version + 1
         FROM members a JOIN members b ON a.tenant = b.tenant AND a.survivor = b.survivor
         WHERE r.tenant = a.tenant AND r.one = a.customer_id AND r.other = b.customer_id AND r.status = $6",
    )
    .bind(tenants)
    .bind(survivors)
    .bind(ReviewStatus::Same as i16)
    .bind(MATCHING)
    .bind(now)
    .bind(ReviewStatus::Open as i16)
    .execute(conn)
    .await?;
    Ok(())
}

const COLUMNS: &str = "r.review_id, COALESCE(a.merged_into, r.one) AS one, COALESCE(b.merged_into, r.other) AS other,
     r.kind, r.status, r.evidence, r.reason, r.created_at, r.due_at, r.sightings, r.decided_by, r.decision_reason, r.decided_at";
const JOINS: &str = "LEFT JOIN customers a ON a.tenant = r.tenant AND a.customer_id = r.one
     LEFT JOIN customers b ON b.tenant = r.tenant AND b.customer_id = r.other";

/// A question; locked until the transaction ends if it is to be decided.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: ReviewId,
    to_decide: bool,
) -> Result<Option<Review>, Error> {
    let lock = if to_decide { "FOR UPDATE OF r" } else { "" };
    let statement =
        format!("SELECT {COLUMNS} FROM reviews r {JOINS} WHERE r.tenant = $1 AND r.review_id = $2 {lock}");
    let row = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(tenant.as_str())
        .bind(id.uuid())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(review).transpose()
}

/// Which questions are wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// That stand so.
    pub status: ReviewStatus,
    /// About one of these ids; about anybody when `None`.
    pub about: Option<&'a [CustomerId]>,
    /// After this one.
    pub after: Option<(DateTime<Utc>, Uuid)>,
    /// At most so many.
    pub most: i64,
}

/// Questions, the one that is due first first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    wanted: &Wanted<'_>,
) -> Result<Vec<Review>, Error> {
    let statement = format!(
        "SELECT {COLUMNS} FROM reviews r {JOINS}
         WHERE r.tenant = $1 AND r.status = $2 AND ($3::uuid[] IS NULL OR r.one = ANY($3) OR r.other = ANY($3))
             AND ($4::timestamptz IS NULL OR (r.due_at, r.review_id) > ($4, $5))
         ORDER BY r.due_at, r.review_id LIMIT $6"
    );
    let about = wanted
        .about
        .map(|ids| ids.iter().map(|c| c.uuid()).collect::<Vec<_>>());
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(tenant.as_str())
        .bind(wanted.status as i16)
        .bind(about)
        .bind(wanted.after.map(|(due, _)| due))
        .bind(wanted.after.map(|(_, id)| id))
        .bind(wanted.most)
        .fetch_all(conn)
        .await?;
    rows.iter().map(review).collect()
}

fn review(row: &PgRow) -> Result<Review, Error> {
    let by: Option<String> = row.try_get("decided_by")?;
    let why: Option<String> = row.try_get("decision_reason")?;
    let at: Option<DateTime<Utc>> = row.try_get("decided_at")?;
    Ok(Review {
        id: ReviewId::new(row.try_get("review_id")?),
        one: CustomerId::new(row.try_get("one")?),
        other: CustomerId::new(row.try_get("other")?),
        kind: ReviewKind::try_from(i32::from(row.try_get::<i16, _>("kind")?)).unwrap_or_default(),
        status: ReviewStatus::try_from(i32::from(row.try_get::<i16, _>("status")?)).unwrap_or_default(),
        likeness: row.try_get::<Option<Json<Likeness>>, _>("evidence")?.map(|j| j.0),
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
        due_at: row.try_get("due_at")?,
        sightings: row.try_get("sightings")?,
        decided: by.zip(why).zip(at).map(|((by, why), at)| (by, why, at)),
    })
}

/// Writes an answer, or when to ask again.
pub async fn save(conn: &mut PgConnection, tenant: &TenantId, review: &Review) -> Result<(), Error> {
    let decided = review.decided.as_ref();
    sqlx::query(
        "UPDATE reviews SET status = $3, due_at = $4, decided_by = $5, decision_reason = $6, decided_at = $7,
             version = version + 1 WHERE tenant = $1 AND review_id = $2",
    )
    .bind(tenant.as_str())
    .bind(review.id.uuid())
    .bind(review.status as i16)
    .bind(review.due_at)
    .bind(decided.map(|(by, ..)| by))
    .bind(decided.map(|(_, why, _)| why))
    .bind(decided.map(|(.., at)| at))
    .execute(conn)
    .await?;
    Ok(())
}
