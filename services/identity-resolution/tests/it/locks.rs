//! Customers that a test holds, and whoever waits for them.

use trama_platform::Tx;
use trama_testkit::TestApp;
use uuid::Uuid;

use crate::world::TENANT;

/// Whoever writes of the customer waits until this ends.
pub async fn hold(app: &TestApp, customer: Uuid) -> Tx {
    let mut holding = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    sqlx::query("SELECT FROM customers WHERE tenant = $1 AND customer_id = $2 FOR UPDATE")
        .bind(TENANT)
        .bind(customer)
        .execute(holding.conn())
        .await
        .expect("held");
    holding
}

/// Waits until so many transactions wait for a lock.
pub async fn held_up(app: &TestApp, transactions: i64) {
    let waiting = || async {
        let mut tx = app
            .db("identity-resolution")
            .system_tx()
            .await
            .expect("a transaction");
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(sql)
            .fetch_one(tx.conn())
            .await
            .expect("a count");
        waiting
    };
    app.eventually("they wait for a lock", || async {
        waiting().await >= transactions
    })
    .await;
}

/// Ends the connections that wait for a lock, and comes back when they are gone.
pub async fn disconnect(app: &TestApp) {
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let waiting = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    sqlx::query(waiting)
        .execute(tx.conn())
        .await
        .expect("they were ended");
}
