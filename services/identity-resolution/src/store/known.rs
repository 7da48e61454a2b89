//! Records of customers who are known, and say nothing new of them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::Error;
use trama_proto::ids::TenantId;

use super::similar::Observed;
use crate::domain::customer::Held;

/// What such records leave behind.
#[derive(Debug)]
pub struct Repeats<'a> {
    /// Hashes of addresses that nobody who was erased may have had.
    pub hashes: Vec<Vec<u8>>,
    /// Handles that were seen again, each once.
    pub sightings: Vec<&'a Held>,
    /// What records said, each once.
    pub observations: Vec<Observed<'a>>,
}

/// Writes it, in one transaction of its own. `false`: something it rests on is no longer as it was read, nothing is written.
pub async fn note(
    conn: &mut PgConnection,
    tenant: &TenantId,
    news: &Repeats<'_>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let (seen, said) = (&news.sightings, &news.observations);
    let noted = sqlx::query("SELECT note_known($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(tenant.as_str())
        .bind(&news.hashes)
        .bind(seen.iter().map(|h| h.key.kind.as_str()).collect::<Vec<_>>())
        .bind(seen.iter().map(|h| h.key.value.as_str()).collect::<Vec<_>>())
        .bind(seen.iter().map(|h| h.row_owner.uuid()).collect::<Vec<_>>())
        .bind(seen.iter().map(|h| h.last_seen).collect::<Vec<_>>())
        .bind(said.iter().map(|o| o.id.uuid()).collect::<Vec<_>>())
        .bind(said.iter().map(|o| o.member.uuid()).collect::<Vec<_>>())
        .bind(said.iter().map(|o| o.source).collect::<Vec<_>>())
        .bind(said.iter().map(|o| o.evidence).collect::<Vec<_>>())
        .bind(said.iter().map(|o| o.said.encode()).collect::<Vec<_>>())
        .bind(now)
        .execute(conn)
        .await;
    match noted {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("TR001") => Ok(false),
        Err(error) => Err(error.into()),
    }
}
