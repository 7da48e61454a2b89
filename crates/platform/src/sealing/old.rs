//! Rows that were written before sealing was switched on: sealed in small pieces, so that nobody waits for it.
//!
//! A column is walked along its primary key, since nothing tells clear rows from sealed ones but reading them. A walk that
//! found nothing ends it, unless replicas of before may still be writing: then there is another one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::FromRow;

use super::{
    Column,
    rows::{Turn, Whose, page, turn},
};
use crate::{
    Error,
    db::{Db, Tx},
    lifecycle::Lifecycle,
};

/// How often it is looked.
const ROUND: TimeDelta = TimeDelta::minutes(15);
/// Before the first look: other things matter more at the start.
const FIRST: TimeDelta = TimeDelta::seconds(10);
/// Between two pieces, for everybody else.
pub(super) const BREATH: Duration = Duration::from_millis(50);
/// As long as that after the first walk began, replicas that do not seal yet may be writing.
const ROLLOUT: TimeDelta = TimeDelta::hours(1);

/// Starts sealing what is clear, and wrapping anew what an older key has wrapped. Of all replicas one does it at a time.
pub(crate) fn start(db: &Db, lifecycle: &Lifecycle) {
    if !db.vault().is_sealing() {
        return;
    }
    let (db, clock, stopping) = (db.clone(), db.clock().clone(), lifecycle.stopping());
    lifecycle.spawn("sealing", async move {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = clock.sleep_until(clock.now() + pause) => {}
            }
            pause = ROUND;
            let both = async {
                db.rewrap_data_keys().await?;
                round(&db).await
            };
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                result = both => match result {
                    Ok(0) => {}
                    Ok(sealed) => tracing::info!(schema = db.schema(), sealed, "sealed what was clear"),
                    Err(error) => tracing::warn!(
                        schema = db.schema(),
                        detail = error.detail(),
                        "what is clear is not sealed yet; trying again"
                    ),
                }
            }
        }
    });
}

/// One walk along each column that is not done. Returns how many values were sealed.
pub(crate) async fn round(db: &Db) -> Result<u64, Error> {
    let mut sealed = 0;
    if !db.vault().is_sealing() {
        return Ok(sealed);
    }
    for column in db.sealed() {
        loop {
            let piece = piece(db, *column).await?;
            sealed += piece.sealed;
            metrics::counter!("trama_sealing_old_total", "schema" => db.schema()).increment(piece.sealed);
            if piece.is_last {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
    }
    Ok(sealed)
}

struct Piece {
    sealed: u64,
    is_last: bool,
}

/// How far a column is.
#[derive(FromRow)]
struct Walk {
    tenants: Vec<String>,
    first_at: DateTime<Utc>,
    began_at: Option<DateTime<Utc>>,
    found: i64,
    after: Vec<String>,
    done: bool,
}

async fn piece(db: &Db, column: Column) -> Result<Piece, Error> {
    let nothing = Piece {
        sealed: 0,
        is_last: true,
    };
    let mut tx = db.system_tx().await?;
    let tenants = db.vault().tenants();
    let Some(mut walk) = take_walk(&mut tx, column, &tenants).await? else {
        return Ok(nothing);
    };
    if walk.done {
        return Ok(nothing);
    }
    let began_at = *walk.began_at.get_or_insert(tx.now());
    let whose = match tenants.as_slice() {
        [] => Whose::Everybodys,
        these => Whose::These(these),
    };
    let page = page(&mut tx, column, Turn::Sealed, &walk.after, whose).await?;
    let is_last = page.is_last;
    walk.found += i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
    let sealed = turn(&mut tx, column, Turn::Sealed, &page.rows).await?;
    if is_last {
        walk.done = walk.found == 0 && began_at >= walk.first_at + ROLLOUT;
        (walk.began_at, walk.found) = (None, 0);
        walk.after.clear();
    } else {
        walk.after = page.last;
    }
    save_walk(&mut tx, column, &walk).await?;
    tx.commit().await?;
    Ok(Piece { sealed, is_last })
}

/// The column's walk, locked; none when another replica is at it. Other tenants to seal are another walk.
async fn take_walk(tx: &mut Tx, column: Column, tenants: &[String]) -> Result<Option<Walk>, Error> {
    let now = tx.now();
    sqlx::query(
        "INSERT INTO sealing_walks (table_name, column_name, tenants, first_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(column.table)
    .bind(column.column)
    .bind(tenants)
    .bind(now)
    .execute(tx.conn())
    .await?;
    let walk: Option<Walk> = sqlx::query_as(
        "SELECT tenants, first_at, began_at, found, after, done FROM sealing_walks
         WHERE table_name = $1 AND column_name = $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(column.table)
    .bind(column.column)
    .fetch_optional(tx.conn())
    .await?;
    Ok(walk.map(|walk| {
        if walk.tenants == tenants {
            return walk;
        }
        Walk {
            tenants: tenants.to_vec(),
            first_at: now,
            began_at: None,
            found: 0,
            after: Vec::new(),
            done: false,
        }
    }))
}

async fn save_walk(tx: &mut Tx, column: Column, walk: &Walk) -> Result<(), Error> {
    sqlx::query(
        "UPDATE sealing_walks SET tenants = $3, first_at = $4, began_at = $5, found = $6, after = $7, done = $8
         WHERE table_name = $1 AND column_name = $2",
    )
    .bind(column.table)
    .bind(column.column)
    .bind(&walk.tenants)
    .bind(walk.first_at)
    .bind(walk.began_at)
    .bind(walk.found)
    .bind(&walk.after)
    .bind(walk.done)
    .execute(tx.conn())
    .await?;
    Ok(())
}
