//! Taking messages in.

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, InteractionId, TenantId},
    notification::v1::MessageRequested,
    time::from_wire,
};

use crate::store::{self, NewMessage, Trace, Whose};

/// A request as it came.
pub struct Asked {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub request: MessageRequested,
    /// The same, encoded.
    pub encoded: Vec<u8>,
    /// Trace that it belongs to.
    pub trace: Option<String>,
}

/// Queues what is new. The sending is the sender's.
///
/// # Errors
/// `Invalid` when an id is none.
pub async fn queue(tx: &mut Tx, asked: Vec<Asked>) -> Result<(), Error> {
    let now = tx.now();
    let mut messages = Vec::with_capacity(asked.len());
    for one in asked {
        messages.push(read(one, now)?);
    }
    belong(tx, &mut messages).await?;
    let customers: Vec<(&TenantId, CustomerId)> = messages
        .iter()
        .map(|m| (&m.tenant, m.asked_customer_id))
        .collect();
    let now_called = store::resolve(tx.conn(), &customers).await?;
    for message in &mut messages {
        let key = (
            message.tenant.as_str().to_owned(),
            message.asked_customer_id.uuid(),
        );
        if let Some(customer) = now_called.get(&key) {
            message.customer_id = *customer;
        }
    }
    let new = store::insert(tx, &messages, now).await?;
    metrics::counter!("trama_notification_requested_total").increment(new);
    Ok(())
}

/// What was asked before a split and comes after it: whose it is by the word it answers, or nobody's.
async fn belong(tx: &mut Tx, messages: &mut [NewMessage]) -> Result<(), Error> {
    let traces: Vec<Trace<'_>> = messages
        .iter()
        .map(|m| Trace {
            tenant: &m.tenant,
            asked: m.asked_customer_id,
            interaction: m.interaction_id.map(InteractionId::uuid),
            at: m.requested_at,
        })
        .collect();
    let whose = store::whose(tx.conn(), &traces).await?;
    for (message, whose) in messages.iter_mut().zip(whose) {
        match whose {
            Whose::Asked => {}
            Whose::Restored(customer) => {
                message.asked_customer_id = customer;
                message.customer_id = customer;
            }
            Whose::Undecided => message.undecided = true,
        }
    }
    Ok(())
}

fn read(asked: Asked, now: DateTime<Utc>) -> Result<NewMessage, Error> {
    let request = &asked.request;
    let customer_id: CustomerId = request.customer_id.parse()?;
    let case_id: Option<CaseId> = if request.case_id.is_empty() {
        None
    } else {
        Some(request.case_id.parse()?)
    };
    let interaction_id: Option<InteractionId> = if request.interaction_id.is_empty() {
        None
    } else {
        Some(request.interaction_id.parse()?)
    };
    Ok(NewMessage {
        message_id: request.message_id.parse()?,
        customer_id,
        asked_customer_id: customer_id,
        case_id,
        interaction_id,
        undecided: false,
        urgent: request.purpose() == Purpose::Security,
        requested_at: from_wire(request.requested_at.as_ref()).unwrap_or(now),
        tenant: asked.tenant,
        request: asked.encoded,
        trace: asked.trace,
    })
}
