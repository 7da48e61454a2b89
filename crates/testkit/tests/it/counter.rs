//! A service that counts what it sees, per key.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use trama_platform::{
    Context, Db, Error, Kind, Parts, Service, Tx,
    stage::{Envelope, Handler, Stage},
    timers::{Timer, TimerHandler, TimerSpec},
};
use trama_proto::{
    case::v1::{WorkRequested, WorkWithdrawn},
    events::Event as _,
};

pub struct Counter;

static MIGRATIONS: Migrator = sqlx::migrate!("tests/it/migrations");

#[async_trait]
impl Service for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn schema(&self) -> &'static str {
        "counter"
    }

    fn migrations(&self) -> &'static Migrator {
        &MIGRATIONS
    }

    async fn build(&self, _: Context) -> Result<Parts, Error> {
        let stage = Stage {
            name: "counter",
            stream: trama_platform::bus::Stream::Events,
            events: vec![WorkRequested::NAME.to_owned()],
            handler: Arc::new(Count),
        };
        Ok(Parts {
            stages: vec![stage],
            timers: Some(Arc::new(Count)),
            ..Parts::default()
        })
    }
}

/// Counts `WorkRequested` by case and answers each with a `WorkWithdrawn`. Case ids tell it how to misbehave.
struct Count;

#[async_trait]
impl Handler for Count {
    async fn handle(&self, tx: &mut Tx, batch: &[Envelope]) -> Result<(), Error> {
        for envelope in batch {
            let event: WorkRequested = envelope.decode()?;
            if event.case_id == "poison" {
                return Err(Error::new(Kind::Internal, "this one never works"));
            }
            if event.case_id == "invalid" {
                return Err(Error::invalid("case_id", "is invalid for ever"));
            }
            sqlx::query(
                "INSERT INTO counts (tenant, key, n) VALUES ($1, $2, 1)
                 ON CONFLICT (tenant, key) DO UPDATE SET n = counts.n + 1",
            )
            .bind(envelope.tenant.as_str())
            .bind(&event.case_id)
            .execute(tx.conn())
            .await?;
            tx.follow(envelope);
            let answer = WorkWithdrawn {
                case_id: event.case_id.clone(),
                revision: event.revision,
                reason: 0,
            };
            tx.publish(&envelope.tenant, &event.case_id, &answer);
            if event.revision > 0 {
                tx.arm(TimerSpec {
                    tenant: envelope.tenant.clone(),
                    kind: "count-again",
                    key: event.case_id,
                    due_at: tx.now() + chrono::Duration::seconds(event.revision),
                    payload: serde_json::json!({}),
                });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TimerHandler for Count {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        for timer in due {
            sqlx::query("UPDATE counts SET n = n + 100 WHERE tenant = $1 AND key = $2")
                .bind(timer.tenant.as_str())
                .bind(&timer.key)
                .execute(tx.conn())
                .await?;
        }
        Ok(())
    }
}

pub async fn count(db: &Db, key: &str) -> i32 {
    let mut tx = db.system_tx().await.expect("a transaction");
    let found: Option<i32> = sqlx::query_scalar("SELECT n FROM counts WHERE key = $1")
        .bind(key)
        .fetch_optional(tx.conn())
        .await
        .expect("a count");
    found.unwrap_or(0)
}

pub fn work(case: &str) -> WorkRequested {
    WorkRequested {
        case_id: case.to_owned(),
        ..WorkRequested::default()
    }
}
