//! Delayed work: rows with a `due_at` are the truth; this loop fires them, each in one transaction with its effect.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use trama_proto::ids::TenantId;

use crate::{
    Error,
    db::{Db, Tx},
    lifecycle::Lifecycle,
};

/// Wants to be woken.
#[derive(Debug, Clone)]
pub struct TimerSpec {
    /// Whose.
    pub tenant: TenantId,
    /// What for: chooses the code that runs.
    pub kind: &'static str,
    /// Which one of its kind; arming it again replaces it.
    pub key: String,
    /// When.
    pub due_at: DateTime<Utc>,
    /// What the code needs to know.
    pub payload: serde_json::Value,
}

/// A timer that is due.
#[derive(Debug, Clone)]
pub struct Timer {
    /// Whose.
    pub tenant: TenantId,
    /// What for.
    pub kind: String,
    /// Which one of its kind.
    pub key: String,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// What the code needs to know.
    pub payload: serde_json::Value,
}

/// Works in timers that are due, in the transaction that removes them.
#[async_trait::async_trait]
pub trait TimerHandler: Send + Sync + 'static {
    /// All of them or, with an error, none.
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error>;
}

/// Starts the loop of one schema.
pub(crate) fn start(db: &Db, handler: Arc<dyn TimerHandler>, lifecycle: &Lifecycle) {
    let (db, stopping) = (db.clone(), lifecycle.stopping());
    lifecycle.spawn("timers", async move {
        loop {
            let wait = match fire_due(&db, handler.as_ref()).await {
                // More may be due.
                Ok(256) => continue,
                Ok(_) => {
                    // Unknown while we ask: whatever is armed meanwhile wakes us.
                    db.timers_look_at(None);
                    let next = next_due(&db).await.unwrap_or(None);
                    db.timers_look_at(next);
                    next
                }
                Err(error) => {
                    tracing::warn!(schema = db.schema(), detail = error.detail(), "timers failed; trying again");
                    None
                }
            };
            let clock = db.clock().clone();
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = db.timer_armed().notified() => {}
                () = async { match wait { Some(due) => clock.sleep_until(due).await, None => std::future::pending().await } } => {}
                // Another replica may have armed one.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    });
}

async fn next_due(db: &Db) -> Result<Option<DateTime<Utc>>, Error> {
    let mut tx = db.system_tx().await?;
    Ok(sqlx::query_scalar("SELECT min(due_at) FROM timers")
        .fetch_one(tx.conn())
        .await?)
}

/// Fires what is due; returns how many.
pub(crate) async fn fire_due(db: &Db, handler: &dyn TimerHandler) -> Result<usize, Error> {
    let now = db.clock().now();
    let mut tx = db.system_tx().await?;
    let due = take(&mut tx, now, 256).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let fired = match handler.fire(&mut tx, &due).await {
        Ok(()) => tx.commit().await,
        Err(error) => {
            // It still holds the rows that are taken one by one below: they would wait for us, and we for them.
            drop(tx);
            Err(error)
        }
    };
    match fired {
        Ok(()) => Ok(due.len()),
        Err(error) => {
            tracing::debug!(
                schema = db.schema(),
                detail = error.detail(),
                "timers failed together; going one by one"
            );
            for timer in &due {
                fire_one(db, handler, timer, now).await?;
            }
            Ok(due.len())
        }
    }
}

async fn fire_one(
    db: &Db,
    handler: &dyn TimerHandler,
    timer: &Timer,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = db.system_tx().await?;
    let taken =
        sqlx::query("DELETE FROM timers WHERE tenant = $1 AND kind = $2 AND key = $3 AND due_at <= $4")
            .bind(timer.tenant.as_str())
            .bind(&timer.kind)
            .bind(&timer.key)
            .bind(now)
            .execute(tx.conn())
            .await?
            .rows_affected();
    if taken == 0 {
        return Ok(());
    }
    let error = match handler.fire(&mut tx, std::slice::from_ref(timer)).await {
        Ok(()) => return tx.commit().await,
        Err(error) => error,
    };
    drop(tx);
    tracing::error!(
        kind = timer.kind,
        key = timer.key,
        detail = error.detail(),
        "a timer failed; it will fire again"
    );
    let mut tx = db.system_tx().await?;
    sqlx::query(
        "UPDATE timers SET attempts = attempts + 1, due_at = $4 + make_interval(secs => least(3600, 2 ^ least(attempts, 12)))
         WHERE tenant = $1 AND kind = $2 AND key = $3",
    )
    .bind(timer.tenant.as_str())
    .bind(&timer.kind)
    .bind(&timer.key)
    .bind(now)
    .execute(tx.conn())
    .await?;
    tx.commit().await
}

async fn take(tx: &mut Tx, now: DateTime<Utc>, limit: i64) -> Result<Vec<Timer>, Error> {
    let rows = sqlx::query(
        "DELETE FROM timers WHERE (tenant, kind, key) IN (
             SELECT tenant, kind, key FROM timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING tenant, kind, key, due_at, payload",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(tx.conn())
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        due.push(Timer {
            tenant: row.try_get::<String, _>("tenant")?.parse()?,
            kind: row.try_get("kind")?,
            key: row.try_get("key")?,
            due_at: row.try_get("due_at")?,
            payload: row.try_get("payload")?,
        });
    }
    due.sort_by(|a, b| (a.due_at, &a.key).cmp(&(b.due_at, &b.key)));
    Ok(due)
}
