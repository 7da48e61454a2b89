//! The events that tell where a message stands.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use trama_platform::{Tx, stage::Envelope};
use trama_proto::{
    events::Event,
    identity_resolution::v1::Purpose,
    notification::v1::{
        MessageDelivered, MessageFailed, MessageOutcome, MessageRead, MessageRequested, MessageSent,
    },
    time::to_wire,
};

use crate::{domain::Standing, store::MessageRow};

/// Where a message stands, in the words of the contract.
fn outcome(row: &MessageRow, at: DateTime<Utc>) -> MessageOutcome {
    MessageOutcome {
        message_id: row.message_id.to_string(),
        customer_id: row.customer_id.to_string(),
        case_id: row.case_id.map(|c| c.to_string()).unwrap_or_default(),
        channel: row.channel.clone(),
        channel_kind: row.channel_kind.into(),
        handle: (!row.handle.value.is_empty()).then(|| row.handle.clone()),
        provider_message_id: row.provider_message_id.clone(),
        at: Some(to_wire(at)),
        reason: row.reason.clone(),
        author: row.request.author.clone(),
        purpose: row.purpose().into(),
    }
}

/// Publishes that the message stands where it stands now. What is queued or suppressed by us alone is told as failed
/// or not at all.
pub fn publish(tx: &mut Tx, row: &MessageRow, at: DateTime<Utc>) {
    let outcome = Some(outcome(row, at));
    let counted = match row.standing {
        Standing::Queued => return,
        Standing::Sent => {
            let event = MessageSent {
                outcome,
                text: row.body.clone(),
                article_version: row.request.article_version.clone(),
            };
            emit(tx, row, &event);
            "sent"
        }
        Standing::Delivered => {
            emit(tx, row, &MessageDelivered { outcome });
            "delivered"
        }
        Standing::Read => {
            emit(tx, row, &MessageRead { outcome });
            "read"
        }
        Standing::Failed => {
            emit(tx, row, &MessageFailed { outcome });
            "failed"
        }
        Standing::Suppressed => {
            emit(tx, row, &MessageFailed { outcome });
            "suppressed"
        }
    };
    metrics::counter!("trama_notification_messages_total", "status" => counted, "kind" => row.channel_kind.as_str_name())
        .increment(1);
}

fn emit<E: Event>(tx: &mut Tx, row: &MessageRow, event: &E) {
    let key = row.customer_id.to_string();
    // The outcome belongs to the trace of the request, whoever worked it in.
    tx.follow(&Envelope {
        id: row.message_id.uuid(),
        name: MessageRequested::NAME.to_owned(),
        tenant: row.tenant.clone(),
        payload: Bytes::new(),
        trace: row.trace.clone(),
        subject: String::new(),
    });
    tx.publish(&row.tenant, &key, event);
}

/// The request as it is kept once the message is done with: a one-time code must not outlive its use.
pub fn kept(row: &MessageRow) -> MessageRequested {
    let mut request = row.request.clone();
    if row.purpose() == Purpose::Security {
        request.template_values.clear();
        request.text.clear();
    }
    request
}
