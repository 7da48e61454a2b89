//! Records grow old: deleted in small pieces, so that nobody waits for it.

use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use trama_proto::ids::TenantId;

use super::Holder;
use crate::{Error, db::Db, lifecycle::Lifecycle, objects::Objects, resources::ResourceStore};

/// How often it is looked.
const ROUND: Duration = Duration::from_secs(15 * 60);
/// Records that go in one transaction.
const PIECE: i64 = 500;
/// Between two pieces, for everybody else.
const BREATH: Duration = Duration::from_millis(50);

/// Starts looking for what is too old. Every replica does: the same row goes once.
pub(crate) fn start(
    db: &Db,
    objects: &Objects,
    resources: &ResourceStore,
    holder: &Arc<dyn Holder>,
    lifecycle: &Lifecycle,
) {
    let (db, objects, resources, holder) =
        (db.clone(), objects.clone(), resources.clone(), Arc::clone(holder));
    let stopping = lifecycle.stopping();
    lifecycle.spawn("retention", async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = tokio::time::sleep(ROUND) => {}
            }
            if let Err(error) = round(&db, &objects, &resources, &holder).await {
                tracing::warn!(
                    schema = db.schema(),
                    detail = error.detail(),
                    "what is too old is still there; trying again"
                );
            }
        }
    });
}

/// One look at all tenants and kinds. Returns how many records went.
pub(crate) async fn round(
    db: &Db,
    objects: &Objects,
    resources: &ResourceStore,
    holder: &Arc<dyn Holder>,
) -> Result<u64, Error> {
    let snapshot = resources.snapshot();
    let mut gone = 0;
    for (tenant, set) in snapshot.tenants() {
        for policy in set.retention_policies.values() {
            for (records, days) in &policy.keep_days {
                gone += pieces(db, objects, holder, tenant, (records.name(), *days)).await?;
            }
        }
    }
    Ok(gone)
}

async fn pieces(
    db: &Db,
    objects: &Objects,
    holder: &Arc<dyn Holder>,
    tenant: &TenantId,
    (records, days): (&'static str, u32),
) -> Result<u64, Error> {
    let mut gone = 0;
    loop {
        let mut tx = db.tx(tenant).await?;
        let before: chrono::DateTime<Utc> = tx.now() - TimeDelta::days(i64::from(days));
        let (count, keys) = holder.expire(&mut tx, tenant, records, before, PIECE).await?;
        // Files first: a crash in between leaves the rows that name them.
        for key in &keys {
            objects.remove(tenant, key).await?;
        }
        tx.commit().await?;
        gone += count;
        metrics::counter!("trama_retention_deleted_total", "records" => records).increment(count);
        // A piece may be smaller than it could be: what makes more work is taken in smaller ones.
        if count == 0 {
            return Ok(gone);
        }
        tokio::time::sleep(BREATH).await;
    }
}
