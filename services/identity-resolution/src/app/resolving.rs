//! Records one by one, for callers who wait: what arrives at the same time is worked in together, so that many callers
//! cost what one batch does.

use std::{borrow::Cow, sync::Arc};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trama_platform::{Error, Kind};
use trama_proto::{
    identity_resolution::v1::{self as wire, Resolution},
    ids::TenantId,
};

use super::{
    App,
    explaining::wire_likeness,
    observing::{Decided, Item},
    privacy::was_erased,
    records::{NewRecord, observation},
};
use crate::error::overtaken;

/// Records that wait at most, in all.
const MOST_WAITING: usize = 4_096;
/// Records of one transaction at most.
const AT_ONCE: usize = 64;
/// Transactions at the same time.
pub const WORKERS: usize = 3;

struct Wanted {
    tenant: TenantId,
    record: NewRecord,
    answer: oneshot::Sender<Result<wire::ResolveRecordResponse, Error>>,
}

/// Where records wait for the next transaction.
pub struct Waiting {
    sender: mpsc::Sender<Wanted>,
    receiver: Mutex<mpsc::Receiver<Wanted>>,
}

impl Default for Waiting {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

impl App {
    /// Says whose a record is and remembers it, together with whatever else arrives now.
    ///
    /// # Errors
    /// When too many wait, or the database is away.
    pub async fn resolve_record(
        &self,
        tenant: &TenantId,
        record: NewRecord,
    ) -> Result<wire::ResolveRecordResponse, Error> {
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted {
            tenant: tenant.clone(),
            record,
            answer,
        };
        self.waiting
            .sender
            .try_send(wanted)
            .map_err(|_| Error::new(Kind::Exhausted, "too many records wait; try again in a moment"))?;
        answered
            .await
            .map_err(|_| Error::new(Kind::Unavailable, "the service stops; try again"))?
    }

    /// Says whose a record would be.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn foresee_record(
        &self,
        tenant: &TenantId,
        record: &NewRecord,
    ) -> Result<wire::ResolveRecordResponse, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let rules = self.rules(tenant);
        let mut items = [Item {
            tenant,
            observation: observation(record, tenant, &rules),
            rules,
            proof: None,
        }];
        let decided = self.foresee(&mut tx, &mut items).await?;
        let mut answer = decided.first().map(response).unwrap_or_default();
        if answer.resolution() != Resolution::Same
            && let Some(customer) = &mut answer.customer
        {
            customer.customer_id.clear();
        }
        Ok(answer)
    }

    /// Works records in until the service stops.
    ///
    /// # Errors
    /// Never: who waits hears what went wrong.
    pub async fn resolve_waiting(self: Arc<Self>, stopping: CancellationToken) -> Result<(), Error> {
        let mut batch: Vec<Wanted> = Vec::with_capacity(AT_ONCE);
        loop {
            {
                let mut receiver = self.waiting.receiver.lock().await;
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    _ = receiver.recv_many(&mut batch, AT_ONCE) => {}
                }
            }
            batch.sort_by(|a, b| a.tenant.cmp(&b.tenant));
            while let Some(first) = batch.first() {
                let tenant = first.tenant.clone();
                let theirs = batch.partition_point(|w| w.tenant <= tenant);
                let theirs: Vec<Wanted> = batch.drain(..theirs).collect();
                self.resolve_together(&tenant, theirs).await;
            }
        }
    }

    async fn resolve_together(&self, tenant: &TenantId, wanted: Vec<Wanted>) {
        let (records, answers): (Vec<NewRecord>, Vec<_>) =
            wanted.into_iter().map(|w| (w.record, w.answer)).unzip();
        match self.try_together(tenant, &records).await {
            Ok(responses) => {
                for (answer, response) in answers.into_iter().zip(responses) {
                    // Who no longer waits needs no answer.
                    drop(answer.send(response));
                }
            }
            Err(_) => {
                // One that cannot be worked in must not take the others along.
                for (record, answer) in records.into_iter().zip(answers) {
                    let alone = self.try_together(tenant, std::slice::from_ref(&record)).await;
                    let alone =
                        alone.and_then(|all| all.into_iter().next().unwrap_or_else(|| Err(overtaken())));
                    drop(answer.send(alone));
                }
            }
        }
    }

    /// All that may be worked in, in one transaction; the answer to a record that may not is the refusal.
    async fn try_together(
        &self,
        tenant: &TenantId,
        records: &[NewRecord],
    ) -> Result<Vec<Result<wire::ResolveRecordResponse, Error>>, Error> {
        let mut tx = self.db.tx(tenant).await?;
        let known_by = records.iter().map(|r| (r.handles.as_slice(), r.recorded_at));
        let void = self
            .void_rows(&mut tx, tenant, &known_by.collect::<Vec<_>>())
            .await?;
        let taken: Cow<'_, [NewRecord]> = if void.contains(&true) {
            let kept = records.iter().zip(&void).filter(|(_, void)| !**void);
            kept.map(|(record, _)| record.clone()).collect()
        } else {
            Cow::Borrowed(records)
        };
        let observed = if taken.is_empty() {
            Vec::new()
        } else {
            self.observe_records(&mut tx, tenant, &taken).await?
        };
        tx.commit().await?;
        metrics::histogram!("trama_identity_resolution_records_together").record(records.len() as f64);
        let mut observed = observed.iter();
        let answers = void.into_iter().map(|void| {
            if void {
                return Err(was_erased());
            }
            let observed = observed.next().ok_or_else(overtaken)?;
            Ok(response(&observed.decided))
        });
        Ok(answers.collect())
    }
}

fn response(decided: &Decided) -> wire::ResolveRecordResponse {
    let outcome = &decided.outcome;
    let resolution = match (outcome.is_new, outcome.questions.is_empty()) {
        (false, _) => Resolution::Same,
        (true, true) => Resolution::Different,
        (true, false) => Resolution::Review,
    };
    wire::ResolveRecordResponse {
        resolution: resolution as i32,
        customer: Some(decided.context.clone()),
        candidates: outcome
            .questions
            .iter()
            .map(|q| wire::Candidate {
                customer_id: if q.one == outcome.customer { q.other } else { q.one }.to_string(),
                likeness: q.likeness.as_ref().map(wire_likeness),
            })
            .collect(),
    }
}
