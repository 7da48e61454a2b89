//! Proofs, wrong answers and their log.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::ids::{AgentId, CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::domain::{customer::Verification, handle::evidence_of_customer, proof::Failures};

/// One line of the log of verifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// `proven`, `failed`, `revoked` or `dropped`.
    pub outcome: &'static str,
    /// By which method.
    pub method: String,
    /// The level, for what was proven.
    pub level: i32,
    /// Who.
    pub subject: String,
    /// Evidence or reason.
    pub evidence: String,
    /// For which case.
    pub case_id: String,
}

/// Adds lines to the log.
pub async fn log_all(
    conn: &mut PgConnection,
    entries: &[(&TenantId, CustomerId, Uuid, &LogEntry)],
    at: DateTime<Utc>,
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&LogEntry) -> &str| entries.iter().map(|(.., e)| of(e)).collect::<Vec<_>>();
    let levels = entries
        .iter()
        .map(|(.., e)| i16::try_from(e.level).unwrap_or(i16::MAX));
    sqlx::query(
        "INSERT INTO verification_log (tenant, customer_id, at, entry_id, outcome, method, level, subject, evidence, case_id)
         SELECT tenant, customer_id, $10, entry_id, outcome, method, level, subject, evidence, case_id
         FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::smallint[], $7::text[], $8::text[], $9::text[])
             AS l (tenant, customer_id, entry_id, outcome, method, level, subject, evidence, case_id)",
    )
    .bind(entries.iter().map(|(t, ..)| t.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, c, ..)| c.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, _, id, _)| *id).collect::<Vec<_>>())
    .bind(text(|e| e.outcome))
    .bind(text(|e| &e.method))
    .bind(levels.collect::<Vec<_>>())
    .bind(text(|e| &e.subject))
    .bind(text(|e| &e.evidence))
    .bind(text(|e| &e.case_id))
    .bind(at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds a line to the log.
pub async fn log(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customer: CustomerId,
    (id, at): (Uuid, DateTime<Utc>),
    entry: &LogEntry,
) -> Result<(), Error> {
    log_all(conn, &[(tenant, customer, id, entry)], at).await
}

/// A line of the log as read.
#[derive(Debug, Clone)]
pub struct Logged {
    /// What became of it.
    pub outcome: String,
    /// By which method.
    pub method: String,
    /// The level.
    pub level: i32,
    /// Who.
    pub subject: String,
    /// Evidence or reason.
    pub evidence: String,
    /// For which case.
    pub case_id: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// The latest lines of a customer and their aliases, newest first.
pub async fn history(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
) -> Result<Vec<Logged>, Error> {
    let rows = sqlx::query(
        "SELECT outcome, method, level, subject, evidence, case_id, at FROM verification_log
         WHERE tenant = $1 AND customer_id = ANY($2) ORDER BY at DESC, entry_id DESC LIMIT 50",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Logged {
                outcome: row.try_get("outcome")?,
                method: row.try_get("method")?,
                level: i32::from(row.try_get::<i16, _>("level")?),
                subject: row.try_get("subject")?,
                evidence: row.try_get("evidence")?,
                case_id: row.try_get("case_id")?,
                at: row.try_get("at")?,
            })
        })
        .collect()
}

/// The proofs that are kept under one id and hold.
pub async fn of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customer: CustomerId,
    now: DateTime<Utc>,
) -> Result<Vec<Verification>, Error> {
    let rows = sqlx::query(
        "SELECT method, evidence, level, verified_by, verified_at, expires_at, interaction_id FROM verifications
         WHERE tenant = $1 AND customer_id = $2 AND expires_at > $3",
    )
    .bind(tenant.as_str())
    .bind(customer.uuid())
    .bind(now)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let asked_in: Option<Uuid> = row.try_get("interaction_id")?;
            Ok(Verification {
                level: i32::from(row.try_get::<i16, _>("level")?),
                method: row.try_get("method")?,
                verified_by: row.try_get("verified_by")?,
                verified_at: row.try_get("verified_at")?,
                expires_at: row.try_get("expires_at")?,
                evidence: row.try_get("evidence")?,
                asked_in: asked_in.map(InteractionId::new),
            })
        })
        .collect()
}

/// Who and what a wrong answer counts against.
#[derive(Debug, Clone, Copy)]
pub struct Scopes<'a> {
    /// The customer.
    pub customer: CustomerId,
    /// The handle.
    pub handle: i64,
    /// Who brought the answer.
    pub source: &'a str,
}

impl<'a> Scopes<'a> {
    /// Of a method that rests on no handle.
    pub fn of_customer(customer: CustomerId, source: &'a AgentId) -> Self {
        Self {
            customer,
            handle: evidence_of_customer(customer),
            source: source.as_str(),
        }
    }

    fn keys(&self) -> [String; 3] {
        [
            format!("customer:{}", self.customer),
            format!("handle:{}", self.handle),
            format!("source:{}", self.source),
        ]
    }
}

/// Counts a wrong answer.
pub async fn add_failure(
    conn: &mut PgConnection,
    tenant: &TenantId,
    scopes: Scopes<'_>,
    (id, at): (Uuid, DateTime<Utc>),
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO verification_failures (tenant, scope, at, id) SELECT $1, scope, $3, $4 FROM unnest($2::text[]) AS s (scope)",
    )
    .bind(tenant.as_str())
    .bind(scopes.keys().as_slice())
    .bind(at)
    .bind(id)
    .execute(conn)
    .await?;
    Ok(())
}

/// The wrong answers since a moment; older ones of these scopes are forgotten by the way.
pub async fn failures(
    conn: &mut PgConnection,
    tenant: &TenantId,
    scopes: Scopes<'_>,
    since: DateTime<Utc>,
) -> Result<Failures, Error> {
    let keys = scopes.keys();
    sqlx::query("DELETE FROM verification_failures WHERE tenant = $1 AND scope = ANY($2) AND at <= $3")
        .bind(tenant.as_str())
        .bind(keys.as_slice())
        .bind(since)
        .execute(&mut *conn)
        .await?;
    let rows: Vec<(String, DateTime<Utc>)> = sqlx::query_as(
        "SELECT scope, at FROM verification_failures WHERE tenant = $1 AND scope = ANY($2) ORDER BY at",
    )
    .bind(tenant.as_str())
    .bind(keys.as_slice())
    .fetch_all(conn)
    .await?;
    let of = |key: &String| rows.iter().filter(|(k, _)| k == key).map(|(_, at)| *at).collect();
    let [customer, handle, source] = &keys;
    Ok(Failures {
        customer: of(customer),
        handle: of(handle),
        source: of(source),
    })
}

/// Notes that a proof was relied upon.
pub async fn prolong(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
    (method, evidence): (&str, i64),
    until: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE verifications SET expires_at = $5
         WHERE tenant = $1 AND customer_id = ANY($2) AND method = $3 AND evidence = $4 AND expires_at < $5",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .bind(method)
    .bind(evidence)
    .bind(until)
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends proofs of a customer: all, or those of one method. Returns how many.
pub async fn revoke(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
    method: &str,
) -> Result<u64, Error> {
    let ended = sqlx::query(
        "DELETE FROM verifications WHERE tenant = $1 AND customer_id = ANY($2) AND ($3 = '' OR method = $3)",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .bind(method)
    .execute(conn)
    .await?;
    Ok(ended.rows_affected())
}
