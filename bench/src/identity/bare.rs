//! What the database alone can do.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use sqlx::{Connection as _, PgConnection};
use trama_testkit::TestApp;

use super::{
    online::{Answered, Pace, departure},
    people::Somebody,
};
use crate::{app::TENANT, servers::Servers};

/// Connections of whoever asks the database alone.
pub const CONNECTIONS: usize = 8;

/// The least that a resolution can be: look a handle up, insert another.
pub async fn bare(
    app: &TestApp,
    servers: &Servers,
    customers: u64,
    pace: Pace,
    seconds: Duration,
) -> anyhow::Result<Answered> {
    let database = database_of(app).await?;
    let options: sqlx::postgres::PgConnectOptions = servers.database_url.parse()?;
    let options = options.database(&database).options([("search_path", "identity")]);
    let next = AtomicU64::new(0);
    let done = RefCell::new(Answered::default());
    let started = Instant::now();
    let mut clients: FuturesUnordered<_> = (0..CONNECTIONS)
        .map(|_| async {
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::query("CREATE TABLE IF NOT EXISTS bare_inserts (tenant text, kind text, value text, customer_id uuid, PRIMARY KEY (tenant, kind, value))")
                .execute(&mut connection)
                .await
                .ok();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let left_at = departure(pace, number, started).await;
                if left_at - started >= seconds {
                    break;
                }
                let whom = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % customers;
                let found: Option<uuid::Uuid> = sqlx::query_scalar(
                    "SELECT customer_id FROM handles WHERE tenant = $1 AND kind = 'email' AND value = $2",
                )
                .bind(TENANT)
                .bind(Somebody::of(whom).email)
                .fetch_optional(&mut connection)
                .await?;
                sqlx::query("INSERT INTO bare_inserts VALUES ($1, 'email', $2, $3) ON CONFLICT DO NOTHING")
                    .bind(TENANT)
                    .bind(format!("{number}-{:?}", started))
                    .bind(found)
                    .execute(&mut connection)
                    .await?;
                let mut done = done.borrow_mut();
                done.count += 1;
                done.elapsed = started.elapsed();
                done.latencies.push(left_at.elapsed());
            }
            connection.close().await?;
            anyhow::Ok(())
        })
        .collect();
    while let Some(client) = clients.next().await {
        client?;
    }
    drop(clients);
    Ok(done.into_inner())
}

/// The database of `identity-resolution`.
pub async fn database_of(app: &TestApp) -> anyhow::Result<String> {
    let mut tx = app.db("identity-resolution").system_tx().await?;
    let database = sqlx::query_scalar("SELECT current_database()::text")
        .fetch_one(tx.conn())
        .await?;
    Ok(database)
}
