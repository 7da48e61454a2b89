//! What a crash left behind: publishes old outbox rows, deletes published ones, forgets old inbox rows.

use std::time::Duration;

use bytes::Bytes;
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{
    Error,
    bus::{Outgoing, tenant_of},
    config::StageConfig,
    db::{Db, PAYLOAD},
    lifecycle::Lifecycle,
};

const TICK: Duration = Duration::from_millis(500);

/// Starts the sweeper of one schema.
pub(crate) fn start(db: &Db, config: &StageConfig, lifecycle: &Lifecycle) {
    let (db, config, stopping) = (db.clone(), config.clone(), lifecycle.stopping());
    lifecycle.spawn("outbox", async move {
        let mut ticks = 0_u64;
        loop {
            let last = stopping.is_cancelled();
            if let Err(error) = tick(&db, &config, ticks).await {
                tracing::warn!(
                    schema = db.schema(),
                    detail = error.detail(),
                    "sweeping failed; trying again"
                );
            }
            if last {
                return Ok(());
            }
            ticks += 1;
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    });
}

async fn tick(db: &Db, config: &StageConfig, ticks: u64) -> Result<(), Error> {
    delete_published(db).await?;
    if ticks.is_multiple_of(4) {
        while sweep(db, Duration::from_secs(config.sweep_after_seconds)).await? == 256 {}
    }
    if ticks % 7200 == 1 {
        forget(db, config.inbox_days).await?;
    }
    Ok(())
}

/// Deletes what was published from memory and no later transaction has deleted yet.
async fn delete_published(db: &Db) -> Result<(), Error> {
    let published = db.take_published();
    if published.is_empty() {
        return Ok(());
    }
    let mut tx = db.system_tx().await?;
    sqlx::query("DELETE FROM outbox WHERE id = ANY($1)")
        .bind(&published)
        .execute(tx.conn())
        .await?;
    tx.commit().await
}

/// Rows that are not known to be on the bus, and timers that are due.
pub(crate) async fn remaining(db: &Db) -> Result<i64, Error> {
    delete_published(db).await?;
    let mut tx = db.system_tx().await?;
    // A timer that is being fired stays visible here until its transaction ends.
    Ok(sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM timers WHERE due_at <= $1)
              + (SELECT count(*) FROM privacy_work)",
    )
    .bind(tx.now())
    .fetch_one(tx.conn())
    .await?)
}

/// Publishes rows that are older than `age`; returns how many it found.
pub(crate) async fn sweep(db: &Db, age: Duration) -> Result<usize, Error> {
    let mut tx = db.system_tx().await?;
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT id, subject, payload, headers ->> 'traceparent' AS trace,
                extract(epoch FROM clock_timestamp() - created_at)::float8 AS age
         FROM outbox WHERE created_at < clock_timestamp() - make_interval(secs => $1)
         ORDER BY created_at LIMIT 256 FOR UPDATE SKIP LOCKED",
    )
    .bind(age.as_secs_f64())
    .fetch_all(tx.conn())
    .await?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut payloads: Vec<Vec<u8>> = Vec::with_capacity(rows.len());
    let mut outgoing = Vec::with_capacity(rows.len());
    for row in &rows {
        payloads.push(row.try_get("payload")?);
        outgoing.push(Outgoing {
            id: row.try_get("id")?,
            subject: row.try_get("subject")?,
            payload: Bytes::new(),
            trace: row.try_get("trace")?,
        });
    }
    let sealed: Vec<_> = outgoing
        .iter()
        .zip(&mut payloads)
        .map(|(o, payload)| (tenant_of(&o.subject), o.id, payload))
        .collect();
    tx.open(PAYLOAD, sealed).await?;
    for (message, payload) in outgoing.iter_mut().zip(payloads) {
        message.payload = payload.into();
    }
    let results = db.bus().publish(&outgoing).await;
    let done: Vec<Uuid> = outgoing
        .iter()
        .zip(results)
        .filter(|(_, r)| r.is_ok())
        .map(|(o, _)| o.id)
        .collect();
    tracing::info!(
        schema = db.schema(),
        found = rows.len(),
        published = done.len(),
        "published what was left behind"
    );
    metrics::counter!("trama_outbox_swept_total", "schema" => db.schema()).increment(done.len() as u64);
    sqlx::query("DELETE FROM outbox WHERE id = ANY($1)")
        .bind(&done)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    // What could not be published is tried at the next tick, not at once.
    Ok(if done.len() == rows.len() { rows.len() } else { 0 })
}

/// Turns sealed events that are on their way back to clear ones. Returns how many.
pub(crate) async fn unseal(db: &Db) -> Result<u64, Error> {
    let mut tx = db.system_tx().await?;
    let rows: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(
        "SELECT id, subject, payload FROM outbox WHERE length(payload) > 0 AND get_byte(payload, 0) = 0 FOR UPDATE",
    )
    .fetch_all(tx.conn())
    .await?;
    let (mut ids, mut payloads) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    let mut subjects = Vec::with_capacity(rows.len());
    for (id, subject, payload) in rows {
        ids.push(id);
        subjects.push(subject);
        payloads.push(payload);
    }
    let places = subjects.iter().map(|subject| tenant_of(subject)).zip(&ids);
    tx.open(
        PAYLOAD,
        places
            .zip(&mut payloads)
            .map(|((tenant, id), payload)| (tenant, *id, payload)),
    )
    .await?;
    let done = sqlx::query(
        "UPDATE outbox o SET payload = row.payload FROM unnest($1::uuid[], $2::bytea[]) AS row (id, payload)
         WHERE o.id = row.id",
    )
    .bind(&ids)
    .bind(&payloads)
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(done.rows_affected())
}

async fn forget(db: &Db, days: u64) -> Result<(), Error> {
    let mut tx = db.system_tx().await?;
    sqlx::query("DELETE FROM inbox WHERE received_at < now() - make_interval(days => $1)")
        .bind(i32::try_from(days).unwrap_or(i32::MAX))
        .execute(tx.conn())
        .await?;
    sqlx::query("DELETE FROM requests WHERE created_at < now() - interval '2 days'")
        .execute(tx.conn())
        .await?;
    tx.commit().await
}
