//! One active puller per partition: a session lock in PostgreSQL, gone at once when its process dies.
//!
//! Replicas share the partitions evenly: no one has two more than another. A replica lives as long as the shared lock that
//! its session holds: PostgreSQL counts them for us in one order for all, and forgets the dead at once.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

use crate::{Error, bus::Bus, db::Db, lifecycle::Lifecycle, sealing};

const BEAT: Duration = Duration::from_secs(1);

/// Starts holding partitions; the receiver shows which are held now.
pub(crate) fn start(db: &Db, bus: &Bus, lifecycle: &Lifecycle) -> watch::Receiver<Vec<u32>> {
    let (held, receiver) = watch::channel(Vec::new());
    let keeper = Keeper {
        db: db.clone(),
        bus: bus.clone(),
    };
    let stopping = lifecycle.stopping();
    lifecycle.spawn("leases", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                result = keeper.hold(&held) => {
                    // The locks went with the connection.
                    held.send_replace(Vec::new());
                    if let Err(error) = result {
                        tracing::warn!(detail = error.detail(), "lost the partition locks; trying again");
                    }
                    tokio::time::sleep(BEAT).await;
                }
            }
        }
    });
    receiver
}

struct Keeper {
    db: Db,
    bus: Bus,
}

impl Keeper {
    async fn hold(&self, held: &watch::Sender<Vec<u32>>) -> Result<(), Error> {
        // A peer that vanished without a word is noticed within half a minute.
        let options = self.db.dedicated().options([
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
        let mut connection = PgConnection::connect_with(&options).await?;
        let presence = self.key("presence");
        sqlx::query("SELECT pg_advisory_lock_shared($1)")
            .bind(presence)
            .execute(&mut connection)
            .await?;
        if self.db.vault().is_sealing() {
            sealing::stand(&mut connection, self.db.schema()).await?;
        }
        let mut mine: Vec<u32> = Vec::new();
        loop {
            let (live, before_me): (i64, i64) = sqlx::query_as(
                "SELECT count(*), count(*) FILTER (WHERE pid < pg_backend_pid()) FROM pg_locks
                 WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND objsubid = 1
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND (classid::bigint << 32 | objid::bigint) = $1",
            )
            .bind(presence)
            .fetch_one(&mut connection)
            .await?;
            let fair = share(self.bus.partitions(), live, before_me);
            let before = mine.clone();
            while mine.len() > fair {
                if let Some(partition) = mine.pop() {
                    held.send_replace(mine.clone());
                    // The loop drops its batch; what was in hand is redelivered and dropped by the inbox.
                    self.lock(&mut connection, "SELECT pg_advisory_unlock($1)", partition)
                        .await?;
                }
            }
            for partition in 0..self.bus.partitions() {
                if mine.len() < fair
                    && !mine.contains(&partition)
                    && self
                        .lock(&mut connection, "SELECT pg_try_advisory_lock($1)", partition)
                        .await?
                {
                    mine.push(partition);
                }
            }
            if mine != before {
                tracing::debug!(schema = self.db.schema(), partitions = ?mine, live, "partitions held");
            }
            if *held.borrow() != mine {
                held.send_replace(mine.clone());
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    async fn lock(
        &self,
        connection: &mut PgConnection,
        sql: &'static str,
        partition: u32,
    ) -> Result<bool, Error> {
        let key = self.key(&partition.to_string());
        Ok(sqlx::query_scalar(sql).bind(key).fetch_one(connection).await?)
    }

    fn key(&self, what: &str) -> i64 {
        let name = format!("{}/{}/{what}", self.bus.prefix(), self.db.schema());
        let digest = trama_proto::ids::derive(&[name.as_bytes()]);
        i64::from_be_bytes(digest.as_bytes()[..8].try_into().expect("a UUID has 16 bytes"))
    }
}

/// How many partitions are for the replica that so many of the living stand before. Those at the front take what does not
/// divide: if all took up to the ceiling, of five replicas at sixteen partitions one would have none.
fn share(partitions: u32, live: i64, before_me: i64) -> usize {
    let live = u32::try_from(live).unwrap_or(1).max(1);
    let extra = i64::from(partitions % live) > before_me;
    (partitions / live + u32::from(extra)) as usize
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn everything_is_shared_and_nobody_has_two_more_than_another() {
        for partitions in [1, 2, 4, 16, 1024] {
            for live in 1..=20 {
                let shares: Vec<_> = (0..live).map(|place| share(partitions, live, place)).collect();
                assert_eq!(shares.iter().sum::<usize>(), partitions as usize);
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn who_sees_nobody_yet_takes_all() {
        assert_eq!(share(16, 0, 0), 16);
    }
}
