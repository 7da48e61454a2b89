//! Customers who belong together without being one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use trama_platform::Error;
use trama_proto::{
    identity_resolution::v1::{RelationKind, RelationStatus},
    ids::{CustomerId, TenantId},
};
use uuid::Uuid;

use crate::domain::ids::RelationId;

/// Taken away by a person: not to be suggested again.
const DISMISSED: i16 = 9;

/// A relation as stored. Both sides are the ids they have now.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its id.
    pub id: RelationId,
    /// The first.
    pub one: CustomerId,
    /// The second.
    pub other: CustomerId,
    /// How.
    pub kind: RelationKind,
    /// Role of the second.
    pub role: String,
    /// How far it is believed.
    pub status: RelationStatus,
    /// What suggests it, in words.
    pub evidence: String,
    /// Who said so.
    pub decided_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// The id of a relation: both sides and the kind make it one.
pub fn id_of(tenant: &TenantId, one: CustomerId, other: CustomerId, kind: RelationKind) -> RelationId {
    let (one, other) = in_order(one, other, kind);
    RelationId::derived(&[
        b"relation",
        tenant.as_str().as_bytes(),
        one.uuid().as_bytes(),
        other.uuid().as_bytes(),
        &(kind as i32).to_be_bytes(),
    ])
}

/// Of a household it does not matter who comes first.
pub fn in_order(one: CustomerId, other: CustomerId, kind: RelationKind) -> (CustomerId, CustomerId) {
    match kind {
        RelationKind::Household => (one.min(other), one.max(other)),
        RelationKind::Unspecified
        | RelationKind::CompanyContact
        | RelationKind::PartOf
        | RelationKind::Representative => (one, other),
    }
}

/// Says that two belong together; a suggestion becomes certain by it, even one that was dismissed.
pub async fn put(conn: &mut PgConnection, tenant: &TenantId, relation: &Relation) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO relations AS r (tenant, relation_id, one, other, kind, role, status, evidence, decided_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (tenant, one, other, kind) DO UPDATE SET role = excluded.role, status = excluded.status,
             evidence = excluded.evidence, decided_by = excluded.decided_by",
    )
    .bind(tenant.as_str())
    .bind(relation.id.uuid())
    .bind(relation.one.uuid())
    .bind(relation.other.uuid())
    .bind(relation.kind as i16)
    .bind(&relation.role)
    .bind(relation.status as i16)
    .bind(&relation.evidence)
    .bind(&relation.decided_by)
    .bind(relation.created_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// A relation that is known, or was.
#[derive(Debug)]
pub struct Known {
    /// Its id.
    pub id: RelationId,
    /// Role of the second.
    pub role: String,
    /// How far it is believed.
    pub status: RelationStatus,
    /// A person took it away.
    pub dismissed: bool,
}

/// Which of these are known, those that were taken away included. They are held until the transaction ends.
pub async fn by_ids(
    conn: &mut PgConnection,
    tenant: &TenantId,
    ids: &[RelationId],
) -> Result<Vec<Known>, Error> {
    let rows: Vec<(Uuid, String, i16)> = sqlx::query_as(
        "SELECT relation_id, role, status FROM relations WHERE tenant = $1 AND relation_id = ANY($2)
         ORDER BY relation_id FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, role, status)| Known {
            id: RelationId::new(id),
            role,
            status: RelationStatus::try_from(i32::from(status)).unwrap_or_default(),
            dismissed: status == DISMISSED,
        })
        .collect())
}

/// Says of many that they belong together; what a person took away stays away.
pub async fn put_all(
    conn: &mut PgConnection,
    tenant: &TenantId,
    relations: &[Relation],
) -> Result<(), Error> {
    if relations.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO relations AS r (tenant, relation_id, one, other, kind, role, status, evidence, decided_by, created_at)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::text[], $7::smallint[], $8::text[],
             $9::text[], $10::timestamptz[]) AS s (relation_id, one, other, kind, role, status, evidence, decided_by, created_at)
         ORDER BY one, other, kind
         ON CONFLICT (tenant, one, other, kind) DO UPDATE SET role = excluded.role, status = excluded.status,
             evidence = excluded.evidence, decided_by = excluded.decided_by
         WHERE r.status <> $11",
    )
    .bind(tenant.as_str())
    .bind(relations.iter().map(|r| r.id.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.one.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.other.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.kind as i16).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.role.as_str()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.status as i16).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.evidence.as_str()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.decided_by.as_str()).collect::<Vec<_>>())
    .bind(relations.iter().map(|r| r.created_at).collect::<Vec<_>>())
    .bind(DISMISSED)
    .execute(conn)
    .await?;
    Ok(())
}

/// Suggests relations; what is known, or was dismissed, stays as it is.
pub async fn suggest(conn: &mut PgConnection, relations: &[(&TenantId, Relation)]) -> Result<(), Error> {
    if relations.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO relations (tenant, relation_id, one, other, kind, role, status, evidence, decided_by, created_at)
         SELECT tenant, relation_id, one, other, kind, '', $6, evidence, $7, created_at
         FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $8::text[], $9::timestamptz[])
             AS s (tenant, relation_id, one, other, kind, evidence, created_at)
         ORDER BY 1, 3, 4
         ON CONFLICT DO NOTHING",
    )
    .bind(relations.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>())
    .bind(relations.iter().map(|(_, r)| r.id.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|(_, r)| r.one.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|(_, r)| r.other.uuid()).collect::<Vec<_>>())
    .bind(relations.iter().map(|(_, r)| r.kind as i16).collect::<Vec<_>>())
    .bind(RelationStatus::Suggested as i16)
    .bind(crate::domain::merge::MATCHING)
    .bind(relations.iter().map(|(_, r)| r.evidence.as_str()).collect::<Vec<_>>())
    .bind(relations.iter().map(|(_, r)| r.created_at).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a relation away for good. False when there is none.
pub async fn dismiss(conn: &mut PgConnection, tenant: &TenantId, id: RelationId) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE relations SET status = $3 WHERE tenant = $1 AND relation_id = $2 AND status <> $3",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .bind(DISMISSED)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A relation.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: RelationId,
) -> Result<Option<Relation>, Error> {
    let rows = select(conn, tenant, None, Some(id), None, 1).await?;
    Ok(rows.into_iter().next())
}

/// Which end of relations is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first: the whole, the company.
    One,
    /// The second: the part, the contact.
    Other,
}

/// Relations of a kind at whose end one of these rows stands, oldest first.
pub async fn of_kind(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (rows, end): (&[Uuid], End),
    kind: RelationKind,
    most: i64,
) -> Result<Vec<Relation>, Error> {
    let (ones, others) = match end {
        End::One => (Some(rows), None),
        End::Other => (None, Some(rows)),
    };
    let found = sqlx::query(
        "SELECT r.relation_id, COALESCE(a.merged_into, r.one) AS one, COALESCE(b.merged_into, r.other) AS other, r.kind, r.role,
                r.status, r.evidence, r.decided_by, r.created_at
         FROM relations r
         LEFT JOIN customers a ON a.tenant = r.tenant AND a.customer_id = r.one
         LEFT JOIN customers b ON b.tenant = r.tenant AND b.customer_id = r.other
         WHERE r.tenant = $1 AND ($2::uuid[] IS NULL OR r.one = ANY($2)) AND ($3::uuid[] IS NULL OR r.other = ANY($3))
             AND r.kind = $4 AND r.status <> $5 AND COALESCE(a.merged_into, r.one) <> COALESCE(b.merged_into, r.other)
         ORDER BY r.created_at, r.relation_id LIMIT $6",
    )
    .bind(tenant.as_str())
    .bind(ones)
    .bind(others)
    .bind(kind as i16)
    .bind(DISMISSED)
    .bind(most)
    .fetch_all(conn)
    .await?;
    found.iter().map(relation).collect()
}

/// Lets nobody else of the tenant say what is part of what until the transaction ends: two at once could close a circle that
/// neither of them sees.
pub async fn hold_hierarchy(conn: &mut PgConnection, tenant: &TenantId) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 29))")
        .bind(tenant.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Relations of the customer with these ids, newest first.
pub async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: &[CustomerId],
    after: Option<(DateTime<Utc>, Uuid)>,
    most: i64,
) -> Result<Vec<Relation>, Error> {
    select(conn, tenant, Some(members), None, after, most).await
}

async fn select(
    conn: &mut PgConnection,
    tenant: &TenantId,
    members: Option<&[CustomerId]>,
    id: Option<RelationId>,
    after: Option<(DateTime<Utc>, Uuid)>,
    most: i64,
) -> Result<Vec<Relation>, Error> {
    // Two that became one belong together no more than one belongs to themselves.
    let rows = sqlx::query(
        "SELECT r.relation_id, COALESCE(a.merged_into, r.one) AS one, COALESCE(b.merged_into, r.other) AS other, r.kind, r.role,
                r.status, r.evidence, r.decided_by, r.created_at
         FROM relations r
         LEFT JOIN customers a ON a.tenant = r.tenant AND a.customer_id = r.one
         LEFT JOIN customers b ON b.tenant = r.tenant AND b.customer_id = r.other
         WHERE r.tenant = $1 AND ($2::uuid[] IS NULL OR r.one = ANY($2) OR r.other = ANY($2))
             AND ($3::uuid IS NULL OR r.relation_id = $3) AND r.status <> $4
             AND COALESCE(a.merged_into, r.one) <> COALESCE(b.merged_into, r.other)
             AND ($5::timestamptz IS NULL OR (r.created_at, r.relation_id) < ($5, $6))
         ORDER BY r.created_at DESC, r.relation_id DESC LIMIT $7",
    )
    .bind(tenant.as_str())
    .bind(members.map(|m| m.iter().map(|c| c.uuid()).collect::<Vec<_>>()))
    .bind(id.map(RelationId::uuid))
    .bind(DISMISSED)
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(most)
    .fetch_all(conn)
    .await?;
    rows.iter().map(relation).collect()
}

fn relation(row: &PgRow) -> Result<Relation, Error> {
    Ok(Relation {
        id: RelationId::new(row.try_get("relation_id")?),
        one: CustomerId::new(row.try_get("one")?),
        other: CustomerId::new(row.try_get("other")?),
        kind: RelationKind::try_from(i32::from(row.try_get::<i16, _>("kind")?)).unwrap_or_default(),
        role: row.try_get("role")?,
        status: RelationStatus::try_from(i32::from(row.try_get::<i16, _>("status")?)).unwrap_or_default(),
        evidence: row.try_get("evidence")?,
        decided_by: row.try_get("decided_by")?,
        created_at: row.try_get("created_at")?,
    })
}
