//! Segments of those about whom nothing is written: walked when the schema changes and once a day, since days count.

use std::{collections::HashMap, sync::Arc, time::Duration as Wait};

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use trama_platform::{Error, Tx, timers::TimerSpec};
use trama_proto::ids::{CustomerId, TenantId};
use uuid::Uuid;

use crate::{
    app::{App, publish_change},
    error::overtaken,
    store::{self, Question},
};

/// Kind of the timer that walks.
pub const TIMER: &str = "segments";
/// Kind of the timer that forgets old lines of the access log.
pub const FORGET_TIMER: &str = "access_log";
/// Customers in one step of the walk.
const STEP: i64 = 200;
/// Lines that are forgotten at once.
const FORGOTTEN_AT_ONCE: i64 = 5_000;

fn timer(tenant: &TenantId, kind: &'static str, due_at: DateTime<Utc>) -> TimerSpec {
    TimerSpec {
        tenant: tenant.clone(),
        kind,
        key: String::new(),
        due_at,
        payload: json!({}),
    }
}

impl App {
    fn schema_hash(&self, tenant: &TenantId) -> Vec<u8> {
        let schema = self.schema(tenant);
        Sha256::digest(serde_json::to_vec(schema.spec()).unwrap_or_default()).to_vec()
    }

    /// One step of the walk.
    pub(in crate::app) async fn walk_segments(&self, tx: &mut Tx, tenant: &TenantId) -> Result<(), Error> {
        let (hash, now) = (self.schema_hash(tenant), tx.now());
        let walk = store::profiles::segment_walk(tx.conn(), tenant).await?;
        let (started_at, after) = match walk {
            Some((seen, started_at, after, false)) if seen == hash => (started_at, after),
            Some(_) | None => (now, None),
        };
        let ids = hold_next(tx, tenant, after).await?;
        let question = Question {
            customers: ids.iter().map(|id| (tenant, CustomerId::new(*id))).collect(),
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        let mut found = Vec::with_capacity(ids.len());
        if let Some(world) = worlds.get_mut(tenant) {
            found.extend(ids.iter().filter_map(|id| world.take(CustomerId::new(*id))));
        }
        let changed = self.refresh(tx, tenant, &mut found).await?;
        let rules = self.rules(tenant);
        for customer in found.iter().filter(|c| changed.contains(&c.id)) {
            publish_change(tx, tenant, customer, &rules, &["segments"]);
        }
        let done = i64::try_from(ids.len()).is_ok_and(|n| n < STEP);
        store::profiles::save_segment_walk(
            tx.conn(),
            tenant,
            (&hash, started_at),
            (ids.last().copied(), done),
        )
        .await?;
        let next = if done { started_at + Duration::days(1) } else { now };
        if !done || !self.schema(tenant).spec().segments.is_empty() {
            tx.arm(timer(tenant, TIMER, next));
        }
        Ok(())
    }

    /// Starts a walk wherever a schema changed, for as long as the process runs.
    pub async fn watch_schemas(self: Arc<Self>, stopping: CancellationToken) -> Result<(), Error> {
        let mut walked: HashMap<TenantId, Vec<u8>> = HashMap::new();
        while !stopping.is_cancelled() {
            if let Err(error) = self.start_walks(&mut walked).await {
                tracing::warn!(
                    detail = error.detail(),
                    "segments cannot be walked yet; trying again"
                );
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(Wait::from_secs(5)) => {}
            }
        }
        Ok(())
    }

    async fn start_walks(&self, walked: &mut HashMap<TenantId, Vec<u8>>) -> Result<(), Error> {
        let snapshot = self.resources.snapshot();
        let with_schema = snapshot.tenants().filter(|(_, r)| !r.customer_schemas.is_empty());
        for (tenant, _) in with_schema {
            let hash = self.schema_hash(tenant);
            if walked.get(tenant) == Some(&hash) {
                continue;
            }
            let mut tx = self.db.tx(tenant).await?;
            let known = store::profiles::segment_walk(tx.conn(), tenant).await?;
            if known.is_none_or(|(seen, ..)| seen != hash) {
                let now = tx.now();
                tx.arm(timer(tenant, TIMER, now));
                tx.commit().await?;
            }
            walked.insert(tenant.clone(), hash);
        }
        Ok(())
    }

    /// Wants to be woken to forget old lines of the access log: once a day, while there are lines.
    pub(in crate::app) fn arm_forgetting(&self, tx: &mut Tx, tenant: &TenantId) {
        let tomorrow = (tx.now().date_naive() + Duration::days(1))
            .and_time(chrono::NaiveTime::MIN)
            .and_utc();
        tx.arm(timer(tenant, FORGET_TIMER, tomorrow));
    }

    /// Forgets lines of the access log that are older than the schema says.
    pub(in crate::app) async fn forget_access(&self, tx: &mut Tx, tenant: &TenantId) -> Result<(), Error> {
        let (now, days) = (tx.now(), self.schema(tenant).spec().access_log_days);
        let before = now - Duration::days(i64::from(days));
        let gone = store::access::forget(tx.conn(), tenant, before, FORGOTTEN_AT_ONCE).await?;
        if i64::try_from(gone) == Ok(FORGOTTEN_AT_ONCE) {
            tx.arm(timer(tenant, FORGET_TIMER, now));
        } else {
            self.arm_forgetting(tx, tenant);
        }
        Ok(())
    }
}

/// The next customers of a walk, held alone, so that nobody's newer view is replaced by one from older facts.
async fn hold_next(tx: &mut Tx, tenant: &TenantId, after: Option<Uuid>) -> Result<Vec<Uuid>, Error> {
    for _ in 0..5 {
        let ids = store::profiles::all_after(tx.conn(), tenant, after, STEP).await?;
        let customers: Vec<CustomerId> = ids.iter().copied().map(CustomerId::new).collect();
        if store::hold_alone(tx.conn(), tenant, &customers, &[]).await? {
            return Ok(ids);
        }
    }
    Err(overtaken())
}
