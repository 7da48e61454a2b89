//! What is held of a person, how it is forgotten, and what is too old to be kept.

use chrono::{DateTime, Utc};
use prost::Message as _;
use sqlx::PgConnection;
use trama_platform::{Error, Tx, privacy::Kept, sealing::Column};
use trama_proto::{common::v1::Interaction, ids::TenantId};
use uuid::Uuid;

use super::{aliases, cases, journey, timeline};

/// What is sealed.
pub const SEALED: &[Column] = &[
    cases::SUBJECT,
    cases::UNDERSTANDING,
    cases::CUSTOMER,
    timeline::INTERACTION,
    timeline::UNDERSTANDING,
    aliases::SURVIVOR,
    journey::SUMMARY,
];

/// What an export shows, by cases.
pub const OF_CASES: &[Kept] = &[
    Kept {
        records: "cases",
        rows: "SELECT to_jsonb(t) FROM cases t WHERE tenant = $1 AND case_id = ANY($2) ORDER BY opened_at",
        messages: &[
            ("customer", "trama.common.v1.CustomerContext"),
            ("understanding", "trama.case.v1.Understanding"),
            ("effort", "trama.case.v1.Effort"),
        ],
    },
    Kept {
        records: "interactions",
        rows: "SELECT to_jsonb(t) FROM timeline t WHERE tenant = $1 AND case_id = ANY($2) ORDER BY occurred_at",
        messages: INTERACTION,
    },
    Kept {
        records: "references",
        rows: "SELECT to_jsonb(t) FROM case_references t WHERE tenant = $1 AND case_id = ANY($2) ORDER BY reference",
        messages: &[],
    },
    Kept {
        records: "journey",
        rows: "SELECT to_jsonb(t) FROM journey t WHERE tenant = $1 AND case_id = ANY($2) ORDER BY at",
        messages: &[],
    },
];

/// What an export shows, by customers: what no case came of.
pub const OF_CUSTOMERS: &[Kept] = &[
    Kept {
        records: "conversations",
        rows: "SELECT to_jsonb(t) FROM timeline t WHERE tenant = $1 AND customer_id = ANY($2) AND case_id IS NULL ORDER BY occurred_at",
        messages: INTERACTION,
    },
    Kept {
        records: "questions",
        rows: "SELECT to_jsonb(t) FROM expectations t WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY asked_at",
        messages: &[],
    },
    Kept {
        records: "steps",
        rows: "SELECT to_jsonb(t) FROM journey t WHERE tenant = $1 AND customer_id = ANY($2) AND case_id IS NULL ORDER BY at",
        messages: &[],
    },
];

const INTERACTION: &[(&str, &str)] = &[
    ("interaction", "trama.common.v1.Interaction"),
    ("understanding", "trama.case.v1.Understanding"),
];

/// How it is forgotten, by cases. The row of a case stays for the figures, and is nobody's.
pub const CASES_FORGOTTEN: &[(&str, &str)] = &[
    (
        "interactions",
        "DELETE FROM timeline WHERE tenant = $1
         AND ((origin_case_id IS NULL AND case_id = ANY($2)) OR origin_case_id = ANY($2))",
    ),
    (
        "references",
        "DELETE FROM case_references WHERE tenant = $1 AND case_id = ANY($2)",
    ),
    (
        "journey",
        "DELETE FROM journey WHERE tenant = $1 AND case_id = ANY($2)",
    ),
    (
        "questions",
        "DELETE FROM expectations WHERE tenant = $1 AND case_id = ANY($2)",
    ),
    (
        "cases",
        "UPDATE cases SET subject = '', understanding = '', customer = '', article_key = '',
             resolved_at = CASE WHEN status IN (1, 2) THEN last_heard_at ELSE resolved_at END,
             resolved_by = CASE WHEN status IN (1, 2) THEN 'erasure' ELSE resolved_by END,
             status = CASE WHEN status IN (1, 2) THEN 3 ELSE status END,
             version = version + 1
         WHERE tenant = $1 AND case_id = ANY($2) AND (customer <> '' OR status IN (1, 2))",
    ),
];

/// How it is forgotten, by customers.
pub const CUSTOMERS_FORGOTTEN: &[(&str, &str)] = &[
    (
        "interactions",
        "DELETE FROM timeline WHERE tenant = $1 AND customer_id = ANY($2) AND case_id IS NULL",
    ),
    (
        "journey",
        "DELETE FROM journey WHERE tenant = $1 AND customer_id = ANY($2) AND case_id IS NULL",
    ),
    (
        "questions",
        "DELETE FROM expectations WHERE tenant = $1 AND customer_id = ANY($2)",
    ),
    (
        "merges",
        "DELETE FROM customer_aliases WHERE tenant = $1 AND (merged_id = ANY($2) OR survivor_id = ANY($2))",
    ),
];

/// Cases that were theirs from the beginning. What came by a merge that is undone by now is not theirs, though the
/// news may still be on its way.
pub async fn cases_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT case_id FROM cases WHERE tenant = $1 AND origin_customer_id = ANY($2) ORDER BY case_id",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .fetch_all(conn)
    .await?)
}

/// Keys of the files that came with what they said.
pub async fn attachments(
    tx: &mut Tx,
    tenant: &TenantId,
    customers: &[Uuid],
    cases: &[Uuid],
) -> Result<Vec<String>, Error> {
    let rows: Vec<Said> = sqlx::query_as(
        "SELECT interaction_id, interaction FROM timeline WHERE tenant = $1
         AND ((origin_case_id IS NULL AND case_id = ANY($3)) OR origin_case_id = ANY($3)
              OR (customer_id = ANY($2) AND case_id IS NULL))",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .bind(cases)
    .fetch_all(tx.conn())
    .await?;
    keys(tx, tenant, rows).await
}

type Said = (Uuid, Vec<u8>);

async fn keys(tx: &mut Tx, tenant: &TenantId, mut said: Vec<Said>) -> Result<Vec<String>, Error> {
    let sealed = said.iter_mut().map(|(id, value)| (tenant.as_str(), *id, value));
    tx.open(timeline::INTERACTION, sealed).await?;
    Ok(said
        .iter()
        .filter_map(|(_, bytes)| Interaction::decode(bytes.as_slice()).ok())
        .flat_map(|interaction| interaction.attachments)
        .map(|attachment| attachment.object_key)
        .filter(|key| !key.is_empty())
        .collect())
}

/// Deletes cases that ended before a moment, with all that belongs to them. Returns how many, and their files.
pub async fn expire_cases(
    tx: &mut Tx,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<(u64, Vec<String>), Error> {
    let cases: Vec<Uuid> = sqlx::query_scalar(
        "SELECT case_id FROM cases WHERE tenant = $1 AND opened_at < $2
             AND ((status = 3 AND resolved_at < $2) OR (status = 4 AND last_heard_at < $2))
         ORDER BY opened_at LIMIT $3 FOR UPDATE SKIP LOCKED",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let said: Vec<Said> = sqlx::query_as(
        "DELETE FROM timeline WHERE tenant = $1 AND case_id = ANY($2) RETURNING interaction_id, interaction",
    )
    .bind(tenant.as_str())
    .bind(&cases)
    .fetch_all(tx.conn())
    .await?;
    for statement in [
        "DELETE FROM case_references WHERE tenant = $1 AND case_id = ANY($2)",
        "DELETE FROM journey WHERE tenant = $1 AND case_id = ANY($2)",
        "DELETE FROM expectations WHERE tenant = $1 AND case_id = ANY($2)",
        "DELETE FROM cases WHERE tenant = $1 AND case_id = ANY($2)",
    ] {
        sqlx::query(statement)
            .bind(tenant.as_str())
            .bind(&cases)
            .execute(tx.conn())
            .await?;
    }
    Ok((cases.len() as u64, keys(tx, tenant, said).await?))
}

/// Deletes what was said before a moment and no case came of.
pub async fn expire_conversations(
    tx: &mut Tx,
    tenant: &TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<(u64, Vec<String>), Error> {
    let said: Vec<Said> = sqlx::query_as(
        "DELETE FROM timeline WHERE tenant = $1 AND interaction_id IN
             (SELECT interaction_id FROM timeline WHERE tenant = $1 AND case_id IS NULL AND occurred_at < $2 LIMIT $3)
         RETURNING interaction_id, interaction",
    )
    .bind(tenant.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    Ok((said.len() as u64, keys(tx, tenant, said).await?))
}
