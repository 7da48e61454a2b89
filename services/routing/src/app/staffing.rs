//! Use cases of staffing: load in one transaction, let it go, compute on a thread that may be busy.

mod ask;
mod note;
mod plan;
mod schedules;
mod shape;
mod volumes;
mod what_if;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use trama_platform::{Clock, Context, Db, Error, Kind, Tx, resources::ResourceStore};
use trama_proto::ids::TenantId;

pub use ask::{ForecastAsk, ShiftAsk, ShiftKind, StaffAsk, WhatIfAsk};
pub use note::note;
pub use plan::{Shifts, Staff};
pub use schedules::AgentAdherence;
pub use volumes::{Forecasts, Imported};
pub use what_if::Side;

/// The use cases of staffing.
#[derive(Clone)]
pub struct Staffing {
    db: Db,
    clock: Clock,
    resources: ResourceStore,
    /// One computation at a time: planning must not take the processors that calls are routed with.
    turn: Arc<Semaphore>,
}

impl Staffing {
    /// Over what the platform gives.
    pub fn new(context: &Context) -> Self {
        Self {
            db: context.db.clone(),
            clock: context.clock.clone(),
            resources: context.resources.clone(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Computes when it is its turn. Who asked may go away: what has begun still ends, and keeps its turn until then.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turn)
            .acquire_owned()
            .await
            .map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(Error::internal)?
    }
}

/// Something must be there before this can be answered.
fn precondition(message: impl Into<String>) -> Error {
    Error::new(Kind::Precondition, message)
}

/// The time before which nothing was counted.
fn long_ago() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

/// Tells the audit log that rows took the place of others: how many, not which.
fn tell_import(tx: &Tx, (kind, tenant): (&str, &TenantId), gone: u64, taken: usize) {
    let (gone, taken) = (format!("{gone} rows replaced"), format!("{taken} rows taken"));
    tx.changed((kind, tenant), "rows", &gone, &taken);
}
