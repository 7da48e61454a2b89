//! Fresh statistics for tables that grow fast.
//!
//! The server's own daemon looks once a minute, and until then the planner believes that a table is as small as it was:
//! it reads all of a tenant's rows where a key would do. A table that has doubled since the last look is looked at again
//! within seconds; of the millionth row on, the daemon's pace is enough.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::{Error, db::Db, lifecycle::Lifecycle};

const TICK: Duration = Duration::from_secs(2);
/// Rows below which any plan is good.
const FEW: i64 = 200;
/// Rows from which on the server's daemon is quick enough.
const MANY: i64 = 1_000_000;

/// Starts looking after one schema.
pub(crate) fn start(db: &Db, lifecycle: &Lifecycle) {
    let (db, stopping) = (db.clone(), lifecycle.stopping());
    lifecycle.spawn("statistics", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = tokio::time::sleep(TICK) => {}
            }
            if let Err(error) = refresh(&db).await {
                // Whoever may not analyse is served by the daemon alone.
                tracing::debug!(
                    schema = db.schema(),
                    detail = error.detail(),
                    "no fresh statistics"
                );
            }
        }
    });
}

/// Looks at the tables that have doubled.
async fn refresh(db: &Db) -> Result<(), Error> {
    let mut tx = db.system_tx().await?;
    let grown: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', s.schemaname, s.relname) FROM pg_stat_user_tables s
         JOIN pg_class c ON c.oid = s.relid
         WHERE s.schemaname = $1 AND s.n_live_tup BETWEEN $2 AND $3 AND s.n_live_tup > 2 * c.reltuples",
    )
    .bind(db.schema())
    .bind(FEW)
    .bind(MANY)
    .fetch_all(tx.conn())
    .await?;
    for table in grown {
        // Another replica may be at it: then it is done.
        sqlx::query(AssertSqlSafe(format!("ANALYZE (SKIP_LOCKED) {table}")))
            .execute(tx.conn())
            .await?;
    }
    tx.commit().await
}
