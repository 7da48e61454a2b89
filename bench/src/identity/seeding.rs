//! Many customers at once: written without indexes, which are built afterwards.

use std::{collections::HashMap, fmt::Write as _};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc;
use trama_identity_resolution::seeding::{Person, Seeder};
use trama_testkit::TestApp;

use super::people::Somebody;
use crate::app::TENANT;

/// Customers of one COPY.
const CHUNK: u64 = 10_000;
/// The tables that are filled, and what of them.
const TABLES: [(&str, &str); 6] = [
    (
        "customers",
        "customers (tenant, customer_id, created_at, display_name, provenance, said)",
    ),
    (
        "handles",
        "handles (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at)",
    ),
    ("block_keys", "block_keys (tenant, key, customer_id)"),
    ("keys_of", "keys_of (tenant, customer_id, keys)"),
    ("name_words", "name_words (tenant, word, customer_id)"),
    ("value_stats", "value_stats (tenant, value, customers)"),
];

/// Rows of some customers, for each table but the last.
struct Rows {
    of_table: [String; 5],
    values: Vec<i64>,
}

/// When the customers were taken over.
fn seen_first() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).expect("a moment of 2026")
}

fn rows_of(from: u64, to: u64, seeder: &Seeder) -> Rows {
    let (mut customers, mut handles) = (String::new(), String::new());
    let (mut keys, mut keys_of, mut words) = (String::new(), String::new(), String::new());
    let mut values = Vec::new();
    for number in from..to {
        let somebody = Somebody::of(number);
        let rows = seeder.rows(&Person {
            source: "bench",
            at: seen_first(),
            given_name: &somebody.given_name,
            surname: &somebody.surname,
            birth_date: &somebody.birth_date,
            street: &somebody.street,
            house_number: &somebody.house_number,
            city: &somebody.city,
            postal_code: &somebody.postal_code,
            email: &somebody.email,
            phone: &somebody.phone,
        });
        let id = Somebody::id(number);
        let written = "a String takes whatever is written";
        writeln!(
            customers,
            "{TENANT}\t{id}\t2026-01-01\t{} {}\t{}\t\\\\x{}",
            somebody.given_name,
            somebody.surname,
            rows.provenance,
            hex::encode(&rows.said)
        )
        .expect(written);
        for (kind, value) in [("email", &somebody.email), ("phone", &somebody.phone)] {
            writeln!(
                handles,
                "{TENANT}\t{kind}\t{value}\t{id}\t2\t2026-01-01\t2026-01-01"
            )
            .expect(written);
        }
        for key in &rows.keys {
            writeln!(keys, "{TENANT}\t{key}\t{id}").expect(written);
        }
        let all: Vec<String> = rows.keys.iter().map(i64::to_string).collect();
        writeln!(keys_of, "{TENANT}\t{id}\t{{{}}}", all.join(",")).expect(written);
        for word in [&somebody.given_name, &somebody.surname] {
            writeln!(words, "{TENANT}\t{word}\t{id}").expect(written);
        }
        values.extend(rows.values);
    }
    Rows {
        of_table: [customers, handles, keys, keys_of, words],
        values,
    }
}

/// Fills the tables of `identity-resolution`, with so many handles of others besides.
pub async fn seed(app: &TestApp, customers: u64, others: u64) -> anyhow::Result<()> {
    let indexes = drop_indexes(app).await?;
    let (sender, mut made) = mpsc::channel(2);
    let maker = tokio::task::spawn_blocking(move || {
        let seeder = Seeder::default();
        let mut from = 0;
        while from < customers {
            let to = (from + CHUNK).min(customers);
            if sender.blocking_send(rows_of(from, to, &seeder)).is_err() {
                return;
            }
            from = to;
        }
    });
    let mut frequencies: HashMap<i64, u32> = HashMap::new();
    while let Some(rows) = made.recv().await {
        for ((_, into), text) in TABLES.iter().zip(rows.of_table) {
            copy(app, into, text).await?;
        }
        for value in rows.values {
            *frequencies.entry(value).or_default() += 1;
        }
    }
    maker.await.context("making customers")?;
    // All of them, and what was found at the homes of every third.
    let at_home = customers / 3;
    let mut stats = format!("{TENANT}\t0\t{customers}\n{TENANT}\t1\t{at_home}\n{TENANT}\t2\t{at_home}\n");
    for (value, count) in frequencies {
        writeln!(stats, "{TENANT}\t{value}\t{count}")?;
    }
    copy(app, TABLES[5].1, stats).await?;
    let mut tx = app.db("identity-resolution").system_tx().await?;
    sqlx::query(
        "INSERT INTO handles (tenant, kind, value, customer_id, trust, first_seen_at, last_seen_at)
         SELECT $1, 'email', 'other' || n || '@mail' || n % 50 || '.test', gen_random_uuid(), 2, now(), now()
         FROM generate_series(1, $2) AS n",
    )
    .bind(TENANT)
    .bind(i64::try_from(others)?)
    .execute(tx.conn())
    .await?;
    run(tx.conn(), "SET LOCAL maintenance_work_mem = '1GB'").await?;
    for index in indexes {
        run(tx.conn(), &index).await?;
    }
    for (table, _) in TABLES {
        run(
            tx.conn(),
            &format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"),
        )
        .await?;
        run(tx.conn(), &format!("ALTER TABLE {table} ENABLE TRIGGER USER")).await?;
    }
    tx.commit().await?;
    // As autovacuum would in time; it cannot run in a transaction.
    let mut connection = PgConnection::connect(&app.config.database_url).await?;
    for (table, _) in TABLES {
        run(&mut connection, &format!("VACUUM (ANALYZE) identity.{table}")).await?;
    }
    connection.close().await?;
    Ok(())
}

/// Takes the indexes off the tables; gives the statements that make them again.
async fn drop_indexes(app: &TestApp) -> anyhow::Result<Vec<String>> {
    let mut tx = app.db("identity-resolution").system_tx().await?;
    for (table, _) in TABLES {
        // COPY is not there for whom policies bind; the owner may lift them from themselves.
        run(
            tx.conn(),
            &format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY"),
        )
        .await?;
        run(tx.conn(), &format!("ALTER TABLE {table} DISABLE TRIGGER USER")).await?;
    }
    let tables: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT CASE WHEN c.oid IS NULL THEN 'DROP INDEX ' || i.indexrelid::regclass
                     ELSE 'ALTER TABLE ' || i.indrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(c.conname) END,
                CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
                     ELSE 'ALTER TABLE ' || i.indrelid::regclass || ' ADD CONSTRAINT ' || quote_ident(c.conname) || ' '
                          || pg_get_constraintdef(c.oid) END
         FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
         WHERE i.indrelid IN (SELECT t::regclass FROM unnest($1::text[]) AS t) ORDER BY i.indexrelid",
    )
    .bind(tables)
    .fetch_all(tx.conn())
    .await?;
    let mut again = Vec::with_capacity(found.len());
    for (drop, make) in found {
        run(tx.conn(), &drop).await?;
        again.push(make);
    }
    tx.commit().await?;
    Ok(again)
}

async fn run(connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await
        .with_context(|| statement.to_owned())?;
    Ok(())
}

async fn copy(app: &TestApp, into: &str, rows: String) -> anyhow::Result<()> {
    let mut tx = app.db("identity-resolution").system_tx().await?;
    let mut copy = tx.conn().copy_in_raw(&format!("COPY {into} FROM STDIN")).await?;
    copy.send(rows.into_bytes()).await?;
    copy.finish().await?;
    tx.commit().await?;
    Ok(())
}
