//! Timers → app.

use std::sync::Arc;

use async_trait::async_trait;
use trama_platform::{
    Error, Tx,
    timers::{Timer, TimerHandler},
};

use crate::app::{App, REEVALUATE, ROUND};

/// Works in timers that are due.
pub struct Timers(Arc<App>);

impl Timers {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait]
impl TimerHandler for Timers {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let (again, others): (Vec<Timer>, Vec<Timer>) =
            due.iter().cloned().partition(|t| t.kind == REEVALUATE);
        for timer in &others {
            if timer.kind == ROUND {
                self.0.round(tx, timer).await?;
            } else {
                self.0.wake(tx, timer).await?;
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        tx.plan_once().await?;
        self.0.reevaluate(tx, &again).await
    }
}
