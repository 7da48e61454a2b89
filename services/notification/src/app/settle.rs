//! How a try ended, and what follows from it: one transaction each.

use chrono::{DateTime, TimeDelta, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{identity_resolution::v1::Purpose, ingest::v1::ReceiptStatus};

use super::outcome::{kept, publish};
use crate::{
    config::Config,
    domain::{Backoff, Change, Receipt, Standing, pause, receipt, way},
    providers::{SendError, SendErrorKind},
    store::{self, EarlyReceipt, MessageRow},
};

/// A provider took the message: it is sent, and receipts that were faster than we are worked in.
/// A second report of the same changes nothing.
pub async fn sent(
    tx: &mut Tx,
    row: &MessageRow,
    attempt: i32,
    provider_message_id: &str,
) -> Result<(), Error> {
    let now = tx.now();
    store::lock_provider_ids(tx.conn(), &[(&row.tenant, &row.channel, provider_message_id)]).await?;
    store::close_attempt(
        tx.conn(),
        &row.tenant,
        row.message_id,
        attempt,
        "accepted",
        "",
        provider_message_id,
    )
    .await?;
    let Some(mut row) = store::record_sent(tx, row, provider_message_id, &kept(row), now).await? else {
        return Ok(());
    };
    publish(tx, &row, now);
    let mut changed = false;
    for early in store::take_early(tx.conn(), &row.tenant, &row.channel, provider_message_id).await? {
        let Some(news) = early.receipt() else { continue };
        let Some(change) = receipt(row.standing, &news, early.occurred_at) else {
            continue;
        };
        changed |= reached(tx, &mut row, &change).await?;
    }
    if changed {
        store::save_standings(tx.conn(), &[&row], now).await?;
    }
    Ok(())
}

impl EarlyReceipt {
    /// In the words of the domain.
    pub fn receipt(&self) -> Option<Receipt> {
        news(
            ReceiptStatus::try_from(self.status).unwrap_or_default(),
            &self.error,
        )
    }
}

/// A receipt in the words of the domain.
pub fn news(status: ReceiptStatus, error: &str) -> Option<Receipt> {
    match status {
        ReceiptStatus::Unspecified => None,
        ReceiptStatus::Sent => Some(Receipt::Sent),
        ReceiptStatus::Delivered => Some(Receipt::Delivered),
        ReceiptStatus::Read => Some(Receipt::Read),
        ReceiptStatus::Failed => Some(Receipt::Failed(error.to_owned())),
    }
}

/// Works a change in, event included. The row is locked by the caller's transaction; `true` says that its standing is
/// still to be saved, so that many can be saved at once.
pub async fn reached(tx: &mut Tx, row: &mut MessageRow, change: &Change) -> Result<bool, Error> {
    let at = match change {
        Change::Delivered { at } => {
            row.standing = Standing::Delivered;
            *at
        }
        Change::Read { at } => {
            row.standing = Standing::Read;
            *at
        }
        Change::GaveUp { at, words } => return gave_up(tx, row, words, *at).await.map(|()| false),
    };
    publish(tx, row, at);
    Ok(true)
}

/// The provider took it and later gave up: the next allowed channel, unless there can be none.
async fn gave_up(tx: &mut Tx, row: &mut MessageRow, words: &str, at: DateTime<Utc>) -> Result<(), Error> {
    let now = tx.now();
    row.reason = format!("{}: {words}", row.channel);
    // A one-time code is gone by now, and goes nowhere else anyway.
    if row.purpose() == Purpose::Security || row.request.handle.is_some() {
        return fail(tx, row, at).await;
    }
    row.spent.push(way(&row.channel, &row.handle));
    row.tries_here = 0;
    if store::requeue(tx.conn(), row, now, now).await? {
        row.standing = Standing::Queued;
        row.version += 1;
    }
    Ok(())
}

/// It will not arrive.
async fn fail(tx: &mut Tx, row: &mut MessageRow, at: DateTime<Utc>) -> Result<(), Error> {
    finished(tx, row, Standing::Failed, at).await
}

/// It is over without having left, or without having arrived.
pub async fn finished(
    tx: &mut Tx,
    row: &mut MessageRow,
    standing: Standing,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let now = tx.now();
    if store::finish(tx, row, standing, &kept(row), now).await? {
        row.standing = standing;
        row.version += 1;
        publish(tx, row, at);
    }
    Ok(())
}

/// A try failed: the same again later, the next channel now, or never.
pub async fn failed(
    tx: &mut Tx,
    row: &mut MessageRow,
    attempt: i32,
    error: &SendError,
    config: &Config,
) -> Result<(), Error> {
    let now = tx.now();
    let state = if error.kind == SendErrorKind::Unknown {
        "unknown"
    } else {
        "refused"
    };
    store::close_attempt(
        tx.conn(),
        &row.tenant,
        row.message_id,
        attempt,
        state,
        &error.words,
        "",
    )
    .await?;
    row.reason.clone_from(&error.words);
    let bounds = Backoff {
        first: TimeDelta::milliseconds(config.backoff_ms),
        longest: TimeDelta::milliseconds(config.backoff_max_ms),
    };
    let due_at = match error.kind {
        SendErrorKind::Permanent => return fail(tx, row, now).await,
        SendErrorKind::Retry { after } if row.tries_here < config.max_attempts => {
            now + pause(bounds, row.message_id, row.tries_here, after)
        }
        SendErrorKind::Retry { .. } | SendErrorKind::NextChannel => {
            row.spent.push(way(&row.channel, &row.handle));
            row.tries_here = 0;
            now
        }
        SendErrorKind::Unknown => {
            row.unknown_outcomes += 1;
            if row.unknown_outcomes > 1 {
                "the outcome was unknown twice; it may have arrived".clone_into(&mut row.reason);
                return fail(tx, row, now).await;
            }
            now + TimeDelta::seconds(config.unknown_after_seconds)
        }
    };
    store::requeue(tx.conn(), row, due_at, now).await?;
    Ok(())
}
