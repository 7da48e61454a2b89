//! One-time codes.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use trama_platform::Error;
use trama_proto::{
    ids::{ChallengeId, CustomerId, InteractionId, TenantId},
    resources::ProofMethod,
};
use uuid::Uuid;

use crate::{
    domain::{challenge::Challenge, handle::HandleKey},
    error::broken_row,
};

/// A challenge as stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id.
    pub id: ChallengeId,
    /// Who is asked.
    pub customer: CustomerId,
    /// How it is answered.
    pub method: ProofMethod,
    /// Where the code went; other methods rest on no handle.
    pub handle: Option<HandleKey>,
    /// The hook's name of the question that was asked.
    pub question: String,
    /// The level that was asked for.
    pub level: i32,
    /// The case it is for, if any.
    pub case_id: String,
    /// The interaction in which it was asked for, if the asker said so.
    pub interaction: Option<InteractionId>,
    /// Mixed into the hash.
    pub salt: Vec<u8>,
    /// What is stored instead of the code.
    pub code_hash: Vec<u8>,
    /// Where it stands.
    pub state: Challenge,
}

impl Stored {
    /// One that is answered with a word, not with a code that we sent.
    pub fn without_code(
        id: ChallengeId,
        customer: CustomerId,
        (method, level): (ProofMethod, i32),
        (case_id, interaction): (&str, Option<InteractionId>),
        state: Challenge,
    ) -> Self {
        Self {
            id,
            customer,
            method,
            handle: None,
            question: String::new(),
            level,
            case_id: case_id.to_owned(),
            interaction,
            salt: Vec::new(),
            code_hash: Vec::new(),
            state,
        }
    }
}

/// How many codes a customer was sent since a moment.
pub async fn count_since(
    conn: &mut PgConnection,
    tenant: &TenantId,
    customer: CustomerId,
    since: DateTime<Utc>,
) -> Result<i64, Error> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM challenges
         WHERE tenant = $1 AND customer_id = $2 AND requested_at > $3 AND method = 'one_time_code'",
    )
    .bind(tenant.as_str())
    .bind(customer.uuid())
    .bind(since)
    .fetch_one(conn)
    .await?)
}

/// Adds a challenge; an older one of the same customer and method that is still open is replaced by it.
pub async fn add(
    conn: &mut PgConnection,
    tenant: &TenantId,
    challenge: &Stored,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Challenge::Pending {
        attempts,
        max_attempts,
        expires_at,
    } = challenge.state
    else {
        return Err(broken_row("challenges", challenge.id));
    };
    sqlx::query(
        "UPDATE challenges SET state = 'expired', version = version + 1
         WHERE tenant = $1 AND customer_id = $2 AND method = $3 AND state = 'pending'",
    )
    .bind(tenant.as_str())
    .bind(challenge.customer.uuid())
    .bind(challenge.method.as_str())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO challenges (tenant, challenge_id, customer_id, handle_kind, handle_value, level, case_id, requested_by, requested_at,
             expires_at, salt, code_hash, state, attempts, max_attempts, method, question, interaction_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'pending', $13, $14, $15, $16, $17)",
    )
    .bind(tenant.as_str())
    .bind(challenge.id.uuid())
    .bind(challenge.customer.uuid())
    .bind(challenge.handle.as_ref().map_or("", |h| h.kind.as_str()))
    .bind(challenge.handle.as_ref().map_or("", |h| h.value.as_str()))
    .bind(i16::try_from(challenge.level).unwrap_or(i16::MAX))
    .bind(&challenge.case_id)
    .bind(by)
    .bind(now)
    .bind(expires_at)
    .bind(&challenge.salt)
    .bind(&challenge.code_hash)
    .bind(i32::try_from(attempts).unwrap_or(i32::MAX))
    .bind(i32::try_from(max_attempts).unwrap_or(i32::MAX))
    .bind(challenge.method.as_str())
    .bind(&challenge.question)
    .bind(challenge.interaction.map(InteractionId::uuid))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose a challenge is. Who holds both takes the customer first.
pub async fn customer_of(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: ChallengeId,
) -> Result<Option<CustomerId>, Error> {
    let found: Option<Uuid> =
        sqlx::query_scalar("SELECT customer_id FROM challenges WHERE tenant = $1 AND challenge_id = $2")
            .bind(tenant.as_str())
            .bind(id.uuid())
            .fetch_optional(conn)
            .await?;
    Ok(found.map(CustomerId::new))
}

/// A challenge, locked until the transaction ends, so that parallel guesses count one after the other.
pub async fn find(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: ChallengeId,
) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT customer_id, method, question, handle_kind, handle_value, level, case_id, expires_at, salt, code_hash, state, attempts, max_attempts,
             interaction_id
         FROM challenges WHERE tenant = $1 AND challenge_id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let broken = || broken_row("challenges", id);
    let count = |column| -> Result<u32, Error> {
        u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| broken())
    };
    let state: String = row.try_get("state")?;
    let state = Challenge::of_row(
        &state,
        count("attempts")?,
        count("max_attempts")?,
        row.try_get("expires_at")?,
    )
    .ok_or_else(broken)?;
    let handle_kind: String = row.try_get("handle_kind")?;
    let handle = if handle_kind.is_empty() {
        None
    } else {
        Some(HandleKey::of_row(&handle_kind, row.try_get("handle_value")?).ok_or_else(broken)?)
    };
    Ok(Some(Stored {
        id,
        customer: CustomerId::new(row.try_get::<Uuid, _>("customer_id")?),
        method: ProofMethod::parse(&row.try_get::<String, _>("method")?).ok_or_else(broken)?,
        handle,
        question: row.try_get("question")?,
        level: i32::from(row.try_get::<i16, _>("level")?),
        case_id: row.try_get("case_id")?,
        interaction: row
            .try_get::<Option<Uuid>, _>("interaction_id")?
            .map(InteractionId::new),
        salt: row.try_get("salt")?,
        code_hash: row.try_get("code_hash")?,
        state,
    }))
}

/// Saves where a challenge stands.
pub async fn save(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: ChallengeId,
    state: Challenge,
) -> Result<(), Error> {
    let attempts = state.attempts().and_then(|n| i32::try_from(n).ok());
    sqlx::query(
        "UPDATE challenges SET state = $3, attempts = COALESCE($4, attempts), version = version + 1
         WHERE tenant = $1 AND challenge_id = $2",
    )
    .bind(tenant.as_str())
    .bind(id.uuid())
    .bind(state.name())
    .bind(attempts)
    .execute(conn)
    .await?;
    Ok(())
}
