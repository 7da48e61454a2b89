//! Answers requests that were heard: removes files, or writes the service's part of an export.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost::Message as _;
use serde_json::{Map, Value, json};
use sqlx::types::Json;
use trama_proto::{
    ids::TenantId,
    privacy::v1::{PrivacyAction, PrivacyDone, PrivacyRequested, RecordCount},
    time::to_wire,
};
use uuid::Uuid;

use super::{Held, Holder, Request, forget, sum};
use crate::{
    Error,
    db::{Db, Tx},
    lifecycle::Lifecycle,
    objects::Objects,
};

/// How often it looks by itself.
const TICK: Duration = Duration::from_secs(5);
/// How often it looks while it waits for transactions to end.
const SOON: Duration = Duration::from_millis(20);

/// What a round found.
enum Round {
    /// Nothing to do.
    Idle,
    /// Something is to be done when older transactions have ended.
    Waits,
    /// A request was answered.
    Answered,
}

/// Starts the worker of one service.
pub(crate) fn start(
    service: &'static str,
    db: &Db,
    objects: &Objects,
    holder: &Arc<dyn Holder>,
    lifecycle: &Lifecycle,
) {
    let (db, objects, holder) = (db.clone(), objects.clone(), Arc::clone(holder));
    let stopping = lifecycle.stopping();
    lifecycle.spawn("privacy", async move {
        loop {
            let pause = match round(service, &db, &objects, &holder).await {
                Ok(Round::Answered) => continue,
                Ok(Round::Waits) => SOON,
                Ok(Round::Idle) => TICK,
                Err(error) => {
                    tracing::warn!(
                        service,
                        detail = error.detail(),
                        "a request of privacy is not answered yet; trying again"
                    );
                    TICK
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = db.privacy_work().notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

type Row = (String, Uuid, Vec<u8>, Json<BTreeMap<String, u64>>, Vec<String>);

async fn round(
    service: &'static str,
    db: &Db,
    objects: &Objects,
    holder: &Arc<dyn Holder>,
) -> Result<Round, Error> {
    let mut tx = db.system_tx().await?;
    // A snapshot that is younger than the rows: whoever might not have seen that they are forgotten has begun before it.
    sqlx::query(
        "UPDATE privacy_work SET waits_for = pg_snapshot_xmax(pg_current_snapshot()) WHERE waits_for IS NULL",
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    let mut tx = db.system_tx().await?;
    let found: Option<Row> = sqlx::query_as(
        "SELECT tenant, request_id, request, counts, objects FROM privacy_work
         WHERE waits_for <= pg_snapshot_xmin(pg_current_snapshot()) ORDER BY created_at LIMIT 1",
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some((tenant, id, request, Json(counts), keys)) = found else {
        let waiting: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM privacy_work)")
            .fetch_one(tx.conn())
            .await?;
        return Ok(if waiting { Round::Waits } else { Round::Idle });
    };
    drop(tx);
    let tenant: TenantId = tenant.parse()?;
    let wire = PrivacyRequested::decode(request.as_slice())?;
    let request = Request::read(&tenant, &wire)?;
    let mut done = PrivacyDone {
        request_id: wire.request_id.clone(),
        action: wire.action,
        service: service.to_owned(),
        ..PrivacyDone::default()
    };
    // What takes its time happens before the transaction that answers: files, streams. Another replica may do it too.
    let counts = match request.action {
        PrivacyAction::Erase => outside(objects, holder, &request, counts, &keys).await?,
        PrivacyAction::Export | PrivacyAction::Unspecified => {
            let mut tx = db.system_tx().await?;
            let held = holder.export(&mut tx, &request).await?;
            tx.commit().await?;
            done.object_key = part_key(&tenant, id, service);
            let counts = held
                .sections
                .iter()
                .map(|s| (s.records.to_owned(), s.rows.len() as u64));
            let counts = counts.collect();
            let document = document(service, &request, held);
            objects.put(&done.object_key, document.into()).await?;
            counts
        }
    };
    let mut tx = db.system_tx().await?;
    let ours: Option<bool> = sqlx::query_scalar(
        "SELECT true FROM privacy_work WHERE tenant = $1 AND request_id = $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(tenant.as_str())
    .bind(id)
    .fetch_optional(tx.conn())
    .await?;
    if ours.is_none() {
        // Another replica answers.
        return Ok(Round::Waits);
    }
    let counts = match request.action {
        PrivacyAction::Erase => again(&mut tx, objects, holder, &request, counts).await?,
        PrivacyAction::Export | PrivacyAction::Unspecified => counts,
    };
    done.counts = counts
        .into_iter()
        .map(|(records, count)| RecordCount {
            records,
            count: i64::try_from(count).unwrap_or(i64::MAX),
        })
        .collect();
    done.done_at = Some(to_wire(tx.now()));
    tx.publish(&tenant, &wire.request_id, &done);
    sqlx::query("DELETE FROM privacy_work WHERE tenant = $1 AND request_id = $2")
        .bind(tenant.as_str())
        .bind(id)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(Round::Answered)
}

type Counts = BTreeMap<String, u64>;

/// Removes files and what else is not in the database. A crash before the answer leaves the row: it is done once more,
/// and changes nothing.
async fn outside(
    objects: &Objects,
    holder: &Arc<dyn Holder>,
    request: &Request,
    mut counts: Counts,
    keys: &[String],
) -> Result<Counts, Error> {
    for key in keys {
        objects.remove(&request.tenant, key).await?;
    }
    if !keys.is_empty() {
        counts.insert("files".to_owned(), keys.len() as u64);
    }
    Ok(sum(&holder.erase_outside(request).await?, counts))
}

/// Forgets what came in while the first time was under way.
async fn again(
    tx: &mut Tx,
    objects: &Objects,
    holder: &Arc<dyn Holder>,
    request: &Request,
    counts: Counts,
) -> Result<Counts, Error> {
    let erased = forget(tx, holder, request).await?;
    for key in &erased.objects {
        objects.remove(&request.tenant, key).await?;
    }
    Ok(sum(&erased.counts, counts))
}

/// Where a service's part of an export lies.
fn part_key(tenant: &TenantId, request: Uuid, service: &str) -> String {
    format!("{tenant}/privacy/{request}/{service}.json")
}

fn document(service: &str, request: &Request, held: Held) -> Vec<u8> {
    let records: Map<String, Value> = held
        .sections
        .into_iter()
        .map(|section| (section.records.to_owned(), Value::Array(section.rows)))
        .collect();
    let document = json!({
        "service": service,
        "request": request.id,
        "records": records,
        "attachments": held.attachments,
    });
    format!("{document:#}").into_bytes()
}
