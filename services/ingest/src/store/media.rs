//! Table `pending_media`.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trama_platform::{Error, Tx, sealing::Column};
use uuid::Uuid;

const KEY: &[(&str, &str)] = &[("interaction_id", "uuid"), ("revision", "integer")];
/// What was said.
pub const INTERACTION: Column = Column::bytes("pending_media", "interaction", KEY);
/// Where its files are.
pub const MEDIA: Column = Column::json("pending_media", "media", KEY);

/// Names one row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose.
    pub tenant: String,
    /// Which interaction.
    pub interaction_id: Uuid,
    /// Which revision of it.
    pub revision: i32,
}

impl Key {
    fn row(&self) -> String {
        format!("{}/{}", self.interaction_id, self.revision)
    }
}

/// An interaction whose files are still with the provider.
#[derive(Debug, sqlx::FromRow)]
pub struct Pending {
    /// Channel it came on.
    pub channel: String,
    /// The encoded interaction.
    pub interaction: Vec<u8>,
    /// What to fetch.
    pub media: serde_json::Value,
    /// Trace context.
    pub trace: Option<String>,
    /// Tries so far.
    pub attempts: i32,
}

/// Remembers an interaction; one that is already waiting stays as it is.
///
/// # Errors
/// When the database is away.
pub async fn put(tx: &mut Tx, key: &Key, pending: &Pending, now: DateTime<Utc>) -> Result<(), Error> {
    let (mut interaction, mut media) = (pending.interaction.clone(), pending.media.clone());
    let place = || [(key.tenant.as_str(), key.row())];
    tx.seal(INTERACTION, place(), [&mut interaction]).await?;
    tx.seal(MEDIA, place(), [&mut media]).await?;
    sqlx::query(
        "INSERT INTO pending_media (tenant, interaction_id, revision, channel, interaction, media, trace, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (tenant, interaction_id, revision) DO NOTHING",
    )
    .bind(&key.tenant)
    .bind(key.interaction_id)
    .bind(key.revision)
    .bind(&pending.channel)
    .bind(interaction)
    .bind(media)
    .bind(&pending.trace)
    .bind(now)
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// One that still waits.
///
/// # Errors
/// When the database is away.
pub async fn find(tx: &mut Tx, key: &Key) -> Result<Option<Pending>, Error> {
    let mut found: Option<Pending> = sqlx::query_as(
        "SELECT channel, interaction, media, trace, attempts FROM pending_media
         WHERE tenant = $1 AND interaction_id = $2 AND revision = $3",
    )
    .bind(&key.tenant)
    .bind(key.interaction_id)
    .bind(key.revision)
    .fetch_optional(tx.conn())
    .await?;
    let tenant = key.tenant.as_str();
    let said = found.iter_mut().map(|p| (tenant, key.row(), &mut p.interaction));
    tx.open(INTERACTION, said).await?;
    let files = found.iter_mut().map(|p| (tenant, key.row(), &mut p.media));
    tx.open(MEDIA, files).await?;
    Ok(found)
}

/// Which of these still wait.
///
/// # Errors
/// When the database is away.
pub async fn waiting(conn: &mut PgConnection, keys: &[&Key]) -> Result<HashSet<Key>, Error> {
    let rows: Vec<(String, Uuid, i32)> = sqlx::query_as(
        "SELECT tenant, interaction_id, revision FROM pending_media
         JOIN unnest($1::text[], $2::uuid[], $3::integer[]) AS key (tenant, interaction_id, revision)
              USING (tenant, interaction_id, revision)",
    )
    .bind(keys.iter().map(|k| k.tenant.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.interaction_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.revision).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, interaction_id, revision)| Key {
            tenant,
            interaction_id,
            revision,
        })
        .collect())
}

/// Removes one that is done; `false` when another replica was faster.
///
/// # Errors
/// When the database is away.
pub async fn remove(conn: &mut PgConnection, key: &Key) -> Result<bool, Error> {
    let removed =
        sqlx::query("DELETE FROM pending_media WHERE tenant = $1 AND interaction_id = $2 AND revision = $3")
            .bind(&key.tenant)
            .bind(key.interaction_id)
            .bind(key.revision)
            .execute(conn)
            .await?;
    Ok(removed.rows_affected() > 0)
}

/// Counts a try that failed.
///
/// # Errors
/// When the database is away.
pub async fn count_attempt(conn: &mut PgConnection, key: &Key) -> Result<(), Error> {
    sqlx::query("UPDATE pending_media SET attempts = attempts + 1 WHERE tenant = $1 AND interaction_id = $2 AND revision = $3")
        .bind(&key.tenant)
        .bind(key.interaction_id)
        .bind(key.revision)
        .execute(conn)
        .await?;
    Ok(())
}
