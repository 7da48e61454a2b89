//! Looks for words in every column of every table of every schema, encoded messages included: whatever tables there will be.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use trama_testkit::TestApp;

/// A word in a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub schema: String,
    pub table: String,
    pub needle: String,
    pub rows: i64,
}

impl Found {
    pub fn place(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// Where a tenant's rows, and rows of no tenant, hold one of the words.
pub async fn search(app: &TestApp, tenant: &str, needles: &[&str]) -> Vec<Found> {
    search_in(&app.config.database_url, tenant, needles).await
}

/// The same in a database.
pub async fn search_in(database_url: &str, tenant: &str, needles: &[&str]) -> Vec<Found> {
    let mut connection = PgConnection::connect(database_url).await.expect("PostgreSQL");
    sqlx::query("SELECT set_config('trama.tenant', '*', false)")
        .execute(&mut connection)
        .await
        .expect("a setting");
    let tables: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT t.table_schema::text, t.table_name::text, EXISTS (SELECT 1 FROM information_schema.columns c
             WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.column_name = 'tenant')
         FROM information_schema.tables t
         WHERE t.table_type = 'BASE TABLE' AND t.table_schema NOT IN ('pg_catalog', 'information_schema')
         ORDER BY 1, 2",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    assert!(tables.len() > 60, "all schemas are there");
    let mut found = Vec::new();
    for (schema, table, has_tenant) in tables {
        for needle in needles {
            // A row as text shows binary columns, and those inside of arrays and JSON, as hexadecimal digits.
            let query = format!(
                "SELECT count(*) FROM {schema}.{table} r
                 WHERE ($1 = '' OR {}) AND (position(lower($2) IN lower(r::text)) > 0
                     OR position(encode(convert_to($2, 'UTF8'), 'hex') IN r::text) > 0)",
                if has_tenant { "tenant = $1" } else { "true" }
            );
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(query))
                .bind(tenant)
                .bind(needle)
                .fetch_one(&mut connection)
                .await
                .expect("a search");
            if rows > 0 {
                found.push(Found {
                    schema: schema.clone(),
                    table: table.clone(),
                    needle: (*needle).to_owned(),
                    rows,
                });
            }
        }
    }
    found
}
