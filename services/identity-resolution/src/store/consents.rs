//! What customers agreed to: the log, what follows from it, and what waits to be confirmed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _, types::Json};
use trama_platform::Error;
use trama_proto::ids::{CustomerId, InteractionId, TenantId};
use uuid::Uuid;

use crate::{
    domain::{
        challenge::Challenge,
        consent::{Entry, Subject, Word},
        customer::Origin,
    },
    error::broken_row,
};

/// Adds lines to the log.
pub async fn add(
    conn: &mut PgConnection,
    tenant: &TenantId,
    entries: &[(Uuid, &Entry)],
) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let small = |n: i32| i16::try_from(n).unwrap_or(i16::MAX);
    sqlx::query(
        "INSERT INTO consents (tenant, consent_id, customer_id, channel_kind, purpose, brand, status, evidence, recorded_by, recorded_at,
             expires_at, through)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::smallint[], $5::smallint[], $6::text[], $7::smallint[], $8::text[],
             $9::text[], $10::timestamptz[], $11::timestamptz[], $12::bigint[])",
    )
    .bind(tenant.as_str())
    .bind(entries.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.origin.uuid()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| small(e.subject.kind)).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| small(e.subject.purpose)).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.subject.brand.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.word.number()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.evidence.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.by.as_str()).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.at).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.expires_at).collect::<Vec<_>>())
    .bind(entries.iter().map(|(_, e)| e.through).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Everything that customers ever said, newest first.
pub async fn log(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
) -> Result<Vec<Entry>, Error> {
    let rows = sqlx::query(
        "SELECT c.consent_id, c.customer_id, c.channel_kind, c.purpose, c.brand, c.status, c.evidence, c.recorded_by, c.recorded_at,
             c.expires_at, c.through, COALESCE(c.recorded_at >= w.since, true) AS of_the_whole
         FROM unnest($2::uuid[]) AS a (customer_id)
         CROSS JOIN LATERAL (
             -- An alias spoke for itself only; who remains speaks for all since the last of them joined.
             SELECT CASE WHEN merged_into IS NULL
                 THEN (SELECT max(m.merged_at) FROM customers m WHERE m.tenant = $1 AND m.merged_into = o.customer_id)
                 ELSE 'infinity' END AS since
             FROM customers o WHERE o.tenant = $1 AND o.customer_id = a.customer_id) w
         CROSS JOIN LATERAL (SELECT consent_id, customer_id, channel_kind, purpose, brand, status, evidence, recorded_by, recorded_at,
                 expires_at, through
             FROM consents WHERE tenant = $1 AND customer_id = a.customer_id) c
         ORDER BY c.recorded_at DESC, c.consent_id DESC",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let id: Uuid = row.try_get("consent_id")?;
            Ok(Entry {
                subject: Subject {
                    kind: i32::from(row.try_get::<i16, _>("channel_kind")?),
                    purpose: i32::from(row.try_get::<i16, _>("purpose")?),
                    brand: row.try_get("brand")?,
                },
                word: Word::from_number(row.try_get("status")?).ok_or_else(|| broken_row("consents", id))?,
                evidence: row.try_get("evidence")?,
                by: row.try_get("recorded_by")?,
                at: row.try_get("recorded_at")?,
                expires_at: row.try_get("expires_at")?,
                origin: CustomerId::new(row.try_get("customer_id")?),
                of_the_whole: row.try_get("of_the_whole")?,
                through: row.try_get("through")?,
            })
        })
        .collect()
}

/// What was confirmed through handles, or is still to be, goes with them, whichever of the ids it is kept under. Gives the rows that it
/// was taken from.
pub async fn give(
    conn: &mut PgConnection,
    tenant: &TenantId,
    from: &[Uuid],
    to: CustomerId,
    evidence: &[i64],
) -> Result<Vec<CustomerId>, Error> {
    let taken_from: Vec<Uuid> = sqlx::query_scalar(
        "WITH asked AS (
             UPDATE consent_confirmations SET customer_id = $3, version = version + 1
             WHERE tenant = $1 AND customer_id = ANY($2) AND through = ANY($4)
         ), mine AS (
             SELECT consent_id, customer_id FROM consents
             WHERE tenant = $1 AND customer_id = ANY($2) AND through = ANY($4)
         ), given AS (
             UPDATE consents c SET customer_id = $3 FROM mine m WHERE c.tenant = $1 AND c.consent_id = m.consent_id
         )
         SELECT DISTINCT customer_id FROM mine",
    )
    .bind(tenant.as_str())
    .bind(from)
    .bind(to.uuid())
    .bind(evidence)
    .fetch_all(conn)
    .await?;
    Ok(taken_from.into_iter().map(CustomerId::new).collect())
}

/// What holds by the log of one row, and who said it when.
pub type Holds = BTreeMap<String, (i32, Origin)>;

/// Keeps beside rows what holds by the log of each, where sending looks, and who said it when: what was said after a merge
/// counts for all that were merged.
pub async fn keep(
    conn: &mut PgConnection,
    tenant: &TenantId,
    holds: &[(CustomerId, Holds)],
) -> Result<(), Error> {
    let statuses = holds.iter().map(|(_, holds)| {
        let statuses: BTreeMap<&str, i32> = holds
            .iter()
            .map(|(key, (status, _))| (key.as_str(), *status))
            .collect();
        (!statuses.is_empty()).then_some(Json(statuses))
    });
    let origins = holds.iter().map(|(_, holds)| {
        let origins: BTreeMap<String, &Origin> = holds
            .iter()
            .map(|(key, (_, origin))| (format!("consents/{key}"), origin))
            .collect();
        (!origins.is_empty()).then_some(Json(origins))
    });
    sqlx::query(
        "UPDATE customers c SET consents = h.statuses, version = c.version + 1,
             provenance = CASE WHEN h.origins IS NULL THEN c.provenance ELSE COALESCE(c.provenance, '{}') || h.origins END
         FROM unnest($2::uuid[], $3::jsonb[], $4::jsonb[]) AS h (customer_id, statuses, origins)
         WHERE c.tenant = $1 AND c.customer_id = h.customer_id",
    )
    .bind(tenant.as_str())
    .bind(holds.iter().map(|(id, _)| id.uuid()).collect::<Vec<_>>())
    .bind(statuses.collect::<Vec<_>>())
    .bind(origins.collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// A double opt-in that waits.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub customer: CustomerId,
    /// About what.
    pub subject: Subject,
    /// How we know that it was asked for.
    pub evidence: String,
    /// Evidence of the handle that it is asked for through.
    pub through: Option<i64>,
    /// Until when the consent will count.
    pub consent_expires_at: Option<DateTime<Utc>>,
    /// Mixed into the hashes.
    pub salt: Vec<u8>,
    /// Of the code.
    pub code_hash: Vec<u8>,
    /// Of the token.
    pub token_hash: Vec<u8>,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// Where it stands.
    pub state: Challenge,
}

/// How often customers were asked to confirm since a moment.
pub async fn count_confirmations(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customers: &[Uuid],
    since: DateTime<Utc>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM consent_confirmations
         WHERE tenant = $1 AND customer_id = ANY($2) AND requested_at > $3",
    )
    .bind(tenant.as_str())
    .bind(customers)
    .bind(since)
    .fetch_one(conn)
    .await?)
}

/// Ends what waits to be confirmed by customers and is covered by what they said. Gives what it ends.
pub async fn void_confirmations(
    conn: &mut PgConnection,
    tenant: &TenantId,
    said: &[(Uuid, &Subject)],
) -> Result<Vec<Uuid>, Error> {
    let small = |n: i32| i16::try_from(n).unwrap_or(i16::MAX);
    Ok(sqlx::query_scalar(
        "UPDATE consent_confirmations c SET state = 'expired', version = c.version + 1
         FROM unnest($2::uuid[], $3::smallint[], $4::smallint[], $5::text[]) AS s (customer_id, channel_kind, purpose, brand)
         WHERE c.tenant = $1 AND c.customer_id = s.customer_id AND c.channel_kind = s.channel_kind AND c.purpose = s.purpose
             AND s.brand IN ('', c.brand) AND c.state = 'pending'
         RETURNING c.confirmation_id",
    )
    .bind(tenant.as_str())
    .bind(said.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(said.iter().map(|(_, s)| small(s.kind)).collect::<Vec<_>>())
    .bind(said.iter().map(|(_, s)| small(s.purpose)).collect::<Vec<_>>())
    .bind(said.iter().map(|(_, s)| s.brand.as_str()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?)
}

/// Adds a confirmation that waits.
pub async fn add_confirmation(
    conn: &mut PgConnection,
    tenant: &TenantId,
    confirmation: &Confirmation,
    by: &str,
) -> Result<(), Error> {
    let Challenge::Pending {
        attempts,
        max_attempts,
        expires_at,
    } = confirmation.state
    else {
        return Err(broken_row("consent_confirmations", confirmation.id));
    };
    sqlx::query(
        "INSERT INTO consent_confirmations (tenant, confirmation_id, customer_id, channel_kind, purpose, brand, evidence,
             consent_expires_at, requested_by, requested_at, expires_at, salt, code_hash, token_hash, state, attempts, max_attempts,
             through)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'pending', $15, $16, $17)",
    )
    .bind(tenant.as_str())
    .bind(confirmation.id)
    .bind(confirmation.customer.uuid())
    .bind(i16::try_from(confirmation.subject.kind).unwrap_or(i16::MAX))
    .bind(i16::try_from(confirmation.subject.purpose).unwrap_or(i16::MAX))
    .bind(&confirmation.subject.brand)
    .bind(&confirmation.evidence)
    .bind(confirmation.consent_expires_at)
    .bind(by)
    .bind(confirmation.requested_at)
    .bind(expires_at)
    .bind(&confirmation.salt)
    .bind(&confirmation.code_hash)
    .bind(&confirmation.token_hash)
    .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
    .bind(i32::try_from(max_attempts).unwrap_or(i32::MAX))
    .bind(confirmation.through)
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose a confirmation is. Who holds both takes the customer first.
pub async fn customer_of_confirmation(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
) -> Result<Option<CustomerId>, Error> {
    let found: Option<Uuid> = sqlx::query_scalar(
        "SELECT customer_id FROM consent_confirmations WHERE tenant = $1 AND confirmation_id = $2",
    )
    .bind(tenant.as_str())
    .bind(id)
    .fetch_optional(conn)
    .await?;
    Ok(found.map(CustomerId::new))
}

/// A confirmation, locked until the transaction ends, so that parallel guesses count one after the other.
pub async fn find_confirmation(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
) -> Result<Option<Confirmation>, Error> {
    let row = sqlx::query(
        "SELECT customer_id, channel_kind, purpose, brand, evidence, consent_expires_at, requested_at, expires_at, salt, code_hash,
             token_hash, state, attempts, max_attempts, through
         FROM consent_confirmations WHERE tenant = $1 AND confirmation_id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let broken = || broken_row("consent_confirmations", id);
    let count = |column| -> Result<u32, Error> {
        u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| broken())
    };
    let state: String = row.try_get("state")?;
    Ok(Some(Confirmation {
        id,
        customer: CustomerId::new(row.try_get("customer_id")?),
        subject: Subject {
            kind: i32::from(row.try_get::<i16, _>("channel_kind")?),
            purpose: i32::from(row.try_get::<i16, _>("purpose")?),
            brand: row.try_get("brand")?,
        },
        evidence: row.try_get("evidence")?,
        through: row.try_get("through")?,
        consent_expires_at: row.try_get("consent_expires_at")?,
        salt: row.try_get("salt")?,
        code_hash: row.try_get("code_hash")?,
        token_hash: row.try_get("token_hash")?,
        requested_at: row.try_get("requested_at")?,
        state: Challenge::of_row(
            &state,
            count("attempts")?,
            count("max_attempts")?,
            row.try_get("expires_at")?,
        )
        .ok_or_else(broken)?,
    }))
}

/// Saves where a confirmation stands.
pub async fn save_confirmation(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: Uuid,
    state: Challenge,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE consent_confirmations SET state = $3, attempts = COALESCE($4, attempts), version = version + 1
         WHERE tenant = $1 AND confirmation_id = $2",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(state.name())
    .bind(state.attempts().and_then(|n| i32::try_from(n).ok()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose an interaction was when it arrived.
pub async fn owner_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    interaction: InteractionId,
) -> Result<Option<CustomerId>, Error> {
    let owner: Option<Uuid> = sqlx::query_scalar(
        "SELECT customer_id FROM interaction_owner WHERE tenant = $1 AND interaction_id = $2",
    )
    .bind(tenant.as_str())
    .bind(interaction.uuid())
    .fetch_optional(conn)
    .await?;
    Ok(owner.map(CustomerId::new))
}
