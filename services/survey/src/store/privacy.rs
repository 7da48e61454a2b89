//! What is held of a person, how it is forgotten, and what is too old to be kept.

use sqlx::PgConnection;
use trama_platform::{
    Error,
    privacy::{Aged, Kept},
    sealing::Column,
};
use trama_proto::ids::TenantId;
use uuid::Uuid;

use super::invitations;

/// What is sealed.
pub const SEALED: &[Column] = &[invitations::CUSTOMER, invitations::CASE_SUBJECT];

/// What an export shows, by the customers who were asked.
pub const KEPT: &[Kept] = &[
    Kept {
        records: "invitations",
        rows: "SELECT to_jsonb(t) FROM invitations t WHERE tenant = $1 AND asked_customer_id = ANY($2) ORDER BY created_at",
        messages: &[("customer", "trama.common.v1.CustomerContext")],
    },
    Kept {
        records: "questions",
        rows: "SELECT to_jsonb(t) FROM asked t JOIN invitations i USING (tenant, invitation_id)
               WHERE tenant = $1 AND i.asked_customer_id = ANY($2) ORDER BY t.asked_at",
        messages: &[],
    },
    Kept {
        records: "answers",
        rows: "SELECT to_jsonb(t) FROM responses t JOIN invitations i USING (tenant, invitation_id)
               WHERE tenant = $1 AND i.asked_customer_id = ANY($2) ORDER BY t.responded_at",
        messages: &[],
    },
];

/// How it is forgotten. Scores stay and are nobody's; what is still to be asked is not.
pub const FORGOTTEN: &[(&str, &str)] = &[
    (
        "invitations",
        "UPDATE invitations SET customer = '', case_subject = '', reason = '', until = NULL, position = NULL,
             status = CASE WHEN status IN ('scheduled', 'asked') THEN 'lapsed' ELSE status END, version = version + 1
         WHERE tenant = $1 AND asked_customer_id = ANY($2) AND (customer <> '' OR status IN ('scheduled', 'asked'))",
    ),
    (
        "merges",
        "DELETE FROM customer_merges WHERE tenant = $1 AND (survivor_id = ANY($2) OR merged_id = ANY($2) OR holder_id = ANY($2))",
    ),
];

/// Their invitations.
pub async fn invitations_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar(
        "SELECT invitation_id FROM invitations WHERE tenant = $1 AND asked_customer_id = ANY($2)",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .fetch_all(conn)
    .await?)
}

/// Invitations that are over, with their questions and answers.
pub const AGED: &[Aged] = &[Aged {
    records: "surveys",
    rows: "DELETE FROM invitations WHERE tenant = $1 AND invitation_id IN
               (SELECT invitation_id FROM invitations
                WHERE tenant = $1 AND created_at < $2 AND updated_at < $2 AND status NOT IN ('scheduled', 'asked') LIMIT $3)
           RETURNING invitation_id",
    with: &[
        ("questions", "DELETE FROM asked WHERE tenant = $1 AND invitation_id = ANY($2)"),
        ("answers", "DELETE FROM responses WHERE tenant = $1 AND invitation_id = ANY($2)"),
    ],
}];
