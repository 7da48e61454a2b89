//! Rows of a column whose values are sealed, piece by piece along the primary key, turned from clear to sealed or back.

use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow, Row as _, postgres::PgRow};

use super::{Column, Form, MARK, Shape};
use crate::{Error, db::Tx};

/// Rows that are looked at in one transaction.
const PIECE: i64 = 500;

/// What values become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Sealed, by the keys of now.
    Sealed,
    /// Clear.
    Clear,
}

/// Whose rows are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'t> {
    /// All.
    Everybodys,
    /// Those of these tenants.
    These(&'t [String]),
    /// Those of all other tenants.
    Others(&'t [String]),
}

/// Some rows.
pub(super) struct Page {
    /// Tenant and key of those that are to be turned.
    pub rows: Vec<Vec<String>>,
    /// Tenant and key of the last one that was looked at.
    pub last: Vec<String>,
    /// Whether there are no more after it.
    pub is_last: bool,
}

#[derive(FromRow)]
struct Looked {
    row: Vec<String>,
    wanted: bool,
}

/// Whether a value is not yet what it is to become. Nothing is neither sealed nor clear.
pub(super) fn is_wanted(column: Column, turn: Turn, table: &str) -> String {
    let name = format!("{table}.{}", column.column);
    let condition = match (column.shape, turn) {
        (Shape::Bytes, Turn::Sealed) => format!("length({name}) > 0 AND get_byte({name}, 0) <> 0"),
        (Shape::Bytes, Turn::Clear) => format!("length({name}) > 0 AND get_byte({name}, 0) = 0"),
        (Shape::Text, Turn::Sealed) => format!("{name} <> '' AND NOT starts_with({name}, $1)"),
        (Shape::Text, Turn::Clear) => format!("starts_with({name}, $1)"),
        (Shape::Json, Turn::Sealed) => format!(
            "{name} <> 'null' AND NOT (jsonb_typeof({name}) = 'string' AND starts_with({name} #>> '{{}}', $1))"
        ),
        (Shape::Json, Turn::Clear) => {
            format!("jsonb_typeof({name}) = 'string' AND starts_with({name} #>> '{{}}', $1)")
        }
    };
    format!("coalesce({condition}, false)")
}

/// The next rows in the order of their keys.
pub(super) async fn page(
    tx: &mut Tx,
    column: Column,
    turn: Turn,
    after: &[String],
    whose: Whose<'_>,
) -> Result<Page, Error> {
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
    let (tenants, theirs) = match whose {
        Whose::Everybodys => (&[][..], "$3::text[] IS NOT NULL"),
        Whose::These(tenants) => (tenants, "tenant = ANY($3::text[])"),
        Whose::Others(tenants) => (tenants, "NOT tenant = ANY($3::text[])"),
    };
    let query = format!(
        "SELECT ARRAY[tenant, {}] AS row, {} AS wanted FROM {}
         WHERE $1::text IS NOT NULL AND {theirs} AND $4::text[] IS NOT NULL {place}
         ORDER BY {names} LIMIT $2",
        texts.join(", "),
        is_wanted(column, turn, column.table),
        column.table,
    );
    let looked: Vec<Looked> = sqlx::query_as(AssertSqlSafe(query))
        .bind(MARK)
        .bind(PIECE)
        .bind(tenants)
        .bind(after)
        .fetch_all(tx.conn())
        .await?;
    Ok(Page {
        is_last: looked.len() < usize::try_from(PIECE).unwrap_or(usize::MAX),
        last: looked.last().map(|l| l.row.clone()).unwrap_or_default(),
        rows: looked.into_iter().filter(|l| l.wanted).map(|l| l.row).collect(),
    })
}

/// Turns the values of these rows. One that somebody is changing right now is left to the next look. Returns how many it
/// turned.
pub(super) async fn turn(
    tx: &mut Tx,
    column: Column,
    turn: Turn,
    rows: &[Vec<String>],
) -> Result<u64, Error> {
    match column.shape {
        Shape::Bytes => turn_values::<Vec<u8>>(tx, column, turn, "bytea", rows).await,
        Shape::Text => turn_values::<String>(tx, column, turn, "text", rows).await,
        Shape::Json => turn_values::<Value>(tx, column, turn, "jsonb", rows).await,
    }
}

async fn turn_values<V>(
    tx: &mut Tx,
    column: Column,
    turn: Turn,
    sql_type: &str,
    rows: &[Vec<String>],
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
        is_wanted(column, turn, "t"),
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
    if turn == Turn::Clear {
        let places = keys.iter().map(|key| (key[0].as_str(), key[1..].join("/")));
        let sealed = places.zip(&mut values);
        tx.open(column, sealed.map(|((tenant, row), value)| (tenant, row, value)))
            .await?;
    }
    // Of a tenant who does not want it, this only marks what was written to look sealed.
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
