//! Rows that were written before sealing was switched on: sealed in small pieces, so that nobody waits for it.
//!
//! A column is walked along its primary key, since nothing tells clear rows from sealed ones but reading them. A walk that
//! found nothing ends it, unless replicas of before may still be writing: then there is another one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, Row as _, postgres::PgRow};

use super::{Column, Form, MARK, Shape};
use crate::{
    Error,
    db::{Db, Tx},
    lifecycle::Lifecycle,
};

/// How often it is looked.
const ROUND: TimeDelta = TimeDelta::minutes(15);
/// Before the first look: other things matter more at the start.
const FIRST: TimeDelta = TimeDelta::seconds(10);
/// Rows that are looked at in one transaction.
const PIECE: i64 = 500;
/// Between two pieces, for everybody else.
const BREATH: Duration = Duration::from_millis(50);
/// As long as that after the first walk began, replicas that do not seal yet may be writing.
const ROLLOUT: TimeDelta = TimeDelta::hours(1);

/// Starts sealing what is clear, and wrapping anew what an older key has wrapped. Of all replicas one does it at a time.
pub(crate) fn start(db: &Db, columns: &'static [Column], lifecycle: &Lifecycle) {
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
                round(&db, columns).await
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
pub(crate) async fn round(db: &Db, columns: &'static [Column]) -> Result<u64, Error> {
    let mut sealed = 0;
    if !db.vault().is_sealing() {
        return Ok(sealed);
    }
    for column in columns {
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
    let page = page(&mut tx, column, &walk.after, &tenants).await?;
    let is_last = page.len() < usize::try_from(PIECE).unwrap_or(usize::MAX);
    let clear: Vec<&Vec<String>> = page
        .iter()
        .filter(|(_, clear)| *clear)
        .map(|(row, _)| row)
        .collect();
    walk.found += i64::try_from(clear.len()).unwrap_or(i64::MAX);
    let sealed = match column.shape {
        Shape::Bytes => seal_rows::<Vec<u8>>(&mut tx, column, "bytea", &clear).await?,
        Shape::Text => seal_rows::<String>(&mut tx, column, "text", &clear).await?,
        Shape::Json => seal_rows::<Value>(&mut tx, column, "jsonb", &clear).await?,
    };
    if is_last {
        walk.done = walk.found == 0 && began_at >= walk.first_at + ROLLOUT;
        (walk.began_at, walk.found) = (None, 0);
        walk.after.clear();
    } else if let Some((last, _)) = page.into_iter().next_back() {
        walk.after = last;
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

/// Whether a value is neither nothing nor sealed.
fn is_clear(column: Column, table: &str) -> String {
    let name = format!("{table}.{}", column.column);
    match column.shape {
        Shape::Bytes => format!("coalesce(length({name}) > 0 AND get_byte({name}, 0) <> 0, false)"),
        Shape::Text => format!("coalesce({name} <> '' AND NOT starts_with({name}, $1), false)"),
        Shape::Json => format!(
            "coalesce({name} <> 'null' AND NOT (jsonb_typeof({name}) = 'string' AND starts_with({name} #>> '{{}}', $1)), false)"
        ),
    }
}

/// The next rows in the order of their keys: tenant and key, and whether the value is clear.
async fn page(
    tx: &mut Tx,
    column: Column,
    after: &[String],
    tenants: &[String],
) -> Result<Vec<(Vec<String>, bool)>, Error> {
    let names: Vec<&str> = std::iter::once("tenant")
        .chain(column.key.iter().map(|k| k.0))
        .collect();
    let names = names.join(", ");
    let texts: Vec<String> = column
        .key
        .iter()
        .map(|(name, _)| format!("{name}::text"))
        .collect();
    let place = if after.is_empty() {
        String::new()
    } else {
        let types = std::iter::once("text").chain(column.key.iter().map(|k| k.1));
        let places: Vec<String> = types
            .enumerate()
            .map(|(n, t)| format!("$4[{}]::{t}", n + 1))
            .collect();
        format!("AND ({names}) > ({})", places.join(", "))
    };
    let query = format!(
        "SELECT ARRAY[tenant, {}] AS row, {} AS clear FROM {}
         WHERE $1::text IS NOT NULL AND (cardinality($3::text[]) = 0 OR tenant = ANY($3)) AND $4::text[] IS NOT NULL {place}
         ORDER BY {names} LIMIT $2",
        texts.join(", "),
        is_clear(column, column.table),
        column.table,
    );
    Ok(sqlx::query_as(AssertSqlSafe(query))
        .bind(MARK)
        .bind(PIECE)
        .bind(tenants)
        .bind(after)
        .fetch_all(tx.conn())
        .await?)
}

/// Seals the values of these rows. One that somebody is changing right now is left to the next walk.
async fn seal_rows<V>(
    tx: &mut Tx,
    column: Column,
    sql_type: &str,
    rows: &[&Vec<String>],
) -> Result<u64, Error>
where
    V: Form + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    for<'q> Vec<V>: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    V: 'static,
{
    if rows.is_empty() {
        return Ok(0);
    }
    // One array for each part of the key.
    let part = |n: usize| -> Vec<&str> {
        rows.iter()
            .map(|row| row.get(n).map_or("", String::as_str))
            .collect()
    };
    let width = column.key.len() + 1;
    let arrays: Vec<String> = (1..=width).map(|n| format!("${}::text[]", n + 1)).collect();
    let aliases: Vec<String> = (1..=width).map(|n| format!("k{n}")).collect();
    let mut same = vec!["t.tenant = wanted.k1".to_owned()];
    for (n, (name, sql)) in column.key.iter().enumerate() {
        same.push(format!("t.{name} = wanted.k{}::{sql}", n + 2));
    }
    let texts: Vec<String> = column
        .key
        .iter()
        .map(|(name, _)| format!("t.{name}::text"))
        .collect();
    let (arrays, aliases, same) = (arrays.join(", "), aliases.join(", "), same.join(" AND "));
    let select = format!(
        "SELECT ARRAY[t.tenant, {}] AS row, t.{} AS value FROM {} t, unnest({arrays}) AS wanted ({aliases})
         WHERE $1::text IS NOT NULL AND {same} AND {} FOR UPDATE OF t SKIP LOCKED",
        texts.join(", "),
        column.column,
        column.table,
        is_clear(column, "t"),
    );
    let mut query = sqlx::query(AssertSqlSafe(select)).bind(MARK);
    for n in 0..width {
        query = query.bind(part(n));
    }
    let found: Vec<PgRow> = query.fetch_all(tx.conn()).await?;
    let mut keys: Vec<Vec<String>> = Vec::with_capacity(found.len());
    let mut values: Vec<V> = Vec::with_capacity(found.len());
    for row in &found {
        keys.push(row.try_get("row")?);
        values.push(row.try_get("value")?);
    }
    let places = keys.iter().map(|key| (key[0].as_str(), key[1..].join("/")));
    tx.seal(column, places, &mut values).await?;
    let update = format!(
        "UPDATE {} t SET {} = wanted.value
         FROM unnest({arrays}, $1::{sql_type}[]) AS wanted ({aliases}, value) WHERE {same}",
        column.table, column.column,
    );
    let mut query = sqlx::query(AssertSqlSafe(update)).bind(values);
    for n in 0..width {
        query = query.bind(keys.iter().map(|key| key[n].clone()).collect::<Vec<_>>());
    }
    Ok(query.execute(tx.conn()).await?.rows_affected())
}
