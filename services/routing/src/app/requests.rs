//! A batch of requests and withdrawals: fold them case by case, in their order, then match.

use std::collections::HashMap;

use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    ids::{CaseId, TenantId},
    routing::v1::OfferEnd,
};

use super::{Change, Routing};
use crate::{
    domain::{Request, WithdrawReason, Withdrawal, WorkItem, is_newer, request, tombstone},
    store::{self, Locked},
};

/// What a message says.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// Somebody must act.
    Requested(Request),
    /// Nobody needs to any more.
    Withdrawn {
        /// The case.
        case_id: CaseId,
        /// See [`Request::revision`].
        revision: i64,
        /// Why.
        reason: WithdrawReason,
    },
}

impl Incoming {
    fn case_id(&self) -> CaseId {
        match self {
            Incoming::Requested(request) => request.case_id,
            Incoming::Withdrawn { case_id, .. } => *case_id,
        }
    }
}

impl Routing {
    /// Works in the messages of one tenant; `usize` is a message's place in the batch.
    pub async fn work_in(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        messages: Vec<(usize, Incoming)>,
        locked: Locked,
        batch: &[Envelope],
    ) -> Result<(), Error> {
        let now = tx.now();
        let mut cases: Vec<CaseId> = messages.iter().map(|(_, m)| m.case_id()).collect();
        cases.sort();
        cases.dedup();
        let mut last: HashMap<CaseId, WorkItem> = store::last_of_cases(tx.conn(), tenant, &cases)
            .await?
            .into_iter()
            .map(|i| (i.case_id, i))
            .collect();

        let mut change = Change::new(tenant, now, self.config);
        for (place, message) in messages {
            let case_id = message.case_id();
            let before = last.remove(&case_id);
            let after = match message {
                Incoming::Requested(asked) => {
                    if !is_newer(before.as_ref(), asked.revision, false) {
                        metrics::counter!("trama_routing_stale_requests_total").increment(1);
                        before
                    } else {
                        let item = request(tenant, before, asked);
                        if let Some((agent, _)) = item.in_hand() {
                            change.tell_desk(tx, agent, item.id);
                        }
                        Some(changed(&mut change, item, place))
                    }
                }
                Incoming::Withdrawn { revision, reason, .. } => match before {
                    None => Some(changed(
                        &mut change,
                        tombstone(tenant, case_id, revision, now),
                        place,
                    )),
                    Some(item) if !is_newer(Some(&item), revision, true) => Some(item),
                    Some(item) => {
                        let (item, what) = item.withdraw(revision, reason, now);
                        match what {
                            Withdrawal::Nothing | Withdrawal::Cancelled => {}
                            Withdrawal::Rescinded(hold) => {
                                change.offer_ended(&item, &hold, OfferEnd::Rescinded, "", true);
                            }
                            Withdrawal::Completed(done) => change.completed(&item, &done),
                        }
                        Some(changed(&mut change, item, place))
                    }
                },
            };
            if let Some(item) = after {
                last.insert(case_id, item);
            }
        }
        match locked {
            Locked::Exclusive => change.match_and_save(tx, batch).await,
            Locked::Shared => change.save(tx, batch).await,
        }
    }
}

fn changed(change: &mut Change, item: WorkItem, place: usize) -> WorkItem {
    change.caused_by(item.id, place);
    change.put(item.clone());
    item
}
