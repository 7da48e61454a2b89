//! Back to clear texts, for whoever switches sealing off.
//!
//! The last step deletes the data keys, and a text that is sealed with one of them after that is lost. So whoever seals holds
//! a shared lock as long as it lives ([`stand`]), and nobody's keys are deleted while there is one.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{
    Column, MARK,
    old::BREATH,
    rows::{Turn, Whose, is_wanted, page, turn},
};
use crate::{
    Error, Kind,
    db::{Db, PAYLOAD, RESPONSE},
    outbox,
};

/// What [`Db::unseal`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// Texts that are clear now.
    pub texts: u64,
    /// Data keys that nothing needs any more, and that are gone.
    pub keys: u64,
}

impl Db {
    /// Turns texts back that are sealed and would not be now: everybody's where no key is in use, else those of tenants who
    /// are not named. What the runtime keeps comes along. Where no key is in use the data keys go too.
    ///
    /// # Errors
    /// `Precondition` when nothing is to be turned back by the configuration, or a process that seals is running.
    pub async fn unseal(&self) -> Result<Unsealed, Error> {
        let vault = self.vault();
        let wanted = vault.tenants();
        let (whose, alone) = match (vault.is_sealing(), wanted.as_slice()) {
            (false, _) => (Whose::Everybodys, Some(shut_out(self).await?)),
            (true, []) => {
                return Err(Error::new(
                    Kind::Precondition,
                    "by sealing.key and sealing.tenants everybody's texts are sealed: change that first, for all services",
                ));
            }
            (true, these) => (Whose::Others(these), None),
        };
        let mut texts = 0;
        for column in self.sealed().iter().chain([&RESPONSE]) {
            texts += walk(self, *column, whose).await?;
        }
        let Some(alone) = alone else {
            return Ok(Unsealed { texts, keys: 0 });
        };
        texts += outbox::unseal(self).await?;
        let keys = forget_keys(self).await?;
        alone.close().await?;
        Ok(Unsealed { texts, keys })
    }
}

/// Until a look at all rows finds nothing that somebody was changing.
async fn walk(db: &Db, column: Column, whose: Whose<'_>) -> Result<u64, Error> {
    let mut turned = 0;
    loop {
        let (mut found, mut done) = (0, 0);
        let mut after = Vec::new();
        loop {
            let mut tx = db.system_tx().await?;
            let page = page(&mut tx, column, Turn::Clear, &after, whose).await?;
            found += page.rows.len() as u64;
            done += turn(&mut tx, column, Turn::Clear, &page.rows).await?;
            tx.commit().await?;
            if page.is_last {
                break;
            }
            after = page.last;
            tokio::time::sleep(BREATH).await;
        }
        turned += done;
        if found == done {
            return Ok(turned);
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Deletes the data keys, if nothing is sealed any more; and the memory of what was walked, so that all is walked when
/// sealing is switched on again.
async fn forget_keys(db: &Db) -> Result<u64, Error> {
    let mut tx = db.system_tx().await?;
    for column in db.sealed().iter().chain([&RESPONSE, &PAYLOAD]) {
        let query = format!(
            "SELECT EXISTS (SELECT 1 FROM {0} WHERE $1::text IS NOT NULL AND {1})",
            column.table,
            is_wanted(*column, Turn::Clear, column.table),
        );
        let left: bool = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(MARK)
            .fetch_one(tx.conn())
            .await?;
        if left {
            return Err(Error::new(
                Kind::Precondition,
                format!(
                    "{}.{}.{} holds sealed texts again: does a process with another configuration write? The keys stay",
                    db.schema(),
                    column.table,
                    column.column
                ),
            ));
        }
    }
    sqlx::query("DELETE FROM sealing_walks")
        .execute(tx.conn())
        .await?;
    let keys = sqlx::query("DELETE FROM data_keys").execute(tx.conn()).await?;
    tx.commit().await?;
    Ok(keys.rows_affected())
}

const LOCK: &str = "hashtextextended('sealing/' || $1, 13)";

/// Whoever seals says so, as long as this connection lives. Waits for one who is turning texts back.
pub(crate) async fn stand(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(format!("SELECT pg_advisory_lock_shared({LOCK})")))
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}

/// A connection that keeps out whoever would seal.
async fn shut_out(db: &Db) -> Result<PgConnection, Error> {
    let mut connection = PgConnection::connect_with(&db.dedicated()).await?;
    let alone: bool = sqlx::query_scalar(AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK})")))
        .bind(db.schema())
        .fetch_one(&mut connection)
        .await?;
    if alone {
        return Ok(connection);
    }
    Err(Error::new(
        Kind::Precondition,
        format!(
            "a process that seals texts of schema `{}` is running: first run all services with `sealing.key: \"\"`",
            db.schema()
        ),
    ))
}

/// Whether nobody is turning texts back just now.
pub(super) async fn is_open(db: &Db) -> Result<bool, Error> {
    let mut connection = PgConnection::connect_with(&db.dedicated()).await?;
    // The lock goes with the connection.
    let open = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT pg_try_advisory_lock_shared({LOCK})"
    )))
    .bind(db.schema())
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(open)
}
