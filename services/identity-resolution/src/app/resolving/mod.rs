//! Records one by one, for callers who wait: what arrives at the same time is worked in together, so that many callers
//! cost what one batch does.
//!
//! Two lanes: who is known by their handle, and of whom nothing new is said, is answered at once ([`known`]); the others gather for
//! larger batches, in a transaction that decides.

mod known;
mod waiting;

use std::{borrow::Cow, pin::pin, sync::Arc};

use futures::{
    FutureExt as _,
    future::{FusedFuture as _, join, join_all, ready},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use trama_platform::{
    Error, Kind, Publishing,
    audit::{self, Call},
};
use trama_proto::{
    identity_resolution::v1::{self as wire, Resolution},
    ids::TenantId,
};

pub use self::waiting::Lanes;
use self::waiting::{AT_ONCE, Callers, Wanted, by_tenant};
use super::{
    App,
    auditing::record_changed,
    explaining::wire_likeness,
    observing::Decided,
    privacy::was_erased,
    records::{NewRecord, item},
};
use crate::{error::overtaken, store::privacy::HOLD_DECISIONS};

/// Transactions at the same time for those who must be decided about.
pub const WORKERS: usize = 4;
/// Transactions at the same time for those who are known.
pub const KNOWN_WORKERS: usize = 4;
/// How often records are tried that others overtake.
const TRIES: usize = 3;

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
            call: audit::current(),
            answer,
        };
        self.waiting.arriving.add(wanted);
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
        let mut items = [item(tenant, record, &self.rules(tenant))];
        let decided = self.foresee(&mut tx, &mut items).await?;
        let mut answer = decided.first().map(response).unwrap_or_default();
        if answer.resolution() != Resolution::Same
            && let Some(customer) = &mut answer.customer
        {
            customer.customer_id.clear();
        }
        Ok(answer)
    }

    /// Works in those who must be decided about, until the service stops.
    ///
    /// # Errors
    /// Never: who waits hears what went wrong.
    pub async fn resolve_waiting(self: Arc<Self>, stopping: CancellationToken) -> Result<(), Error> {
        let mut batch: Vec<Wanted> = Vec::with_capacity(AT_ONCE);
        // The bus keeps one batch while the database works on the next, and no more than one.
        let mut leaving = ready(()).boxed().fuse();
        'working: loop {
            let underway = {
                let mut next = pin!(self.waiting.undecided.next(&mut batch));
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => break 'working,
                        underway = &mut next => break underway,
                        () = &mut leaving => {}
                    }
                }
            };
            let left = async {
                if !leaving.is_terminated() {
                    (&mut leaving).await;
                }
            };
            let (published, ()) = join(self.resolve_batch(&mut batch), left).await;
            drop(underway);
            leaving = join_all(published).map(drop).boxed().fuse();
        }
        self.waiting.undecided.close().await;
        if !leaving.is_terminated() {
            leaving.await;
        }
        Ok(())
    }

    async fn resolve_batch(&self, batch: &mut Vec<Wanted>) -> Vec<Publishing> {
        let mut published = Vec::new();
        for (tenant, theirs) in by_tenant(batch) {
            published.extend(self.resolve_together(&tenant, theirs).await);
        }
        published
    }

    async fn resolve_together(&self, tenant: &TenantId, wanted: Vec<Wanted>) -> Vec<Publishing> {
        let mut records = Vec::with_capacity(wanted.len());
        let mut calls = Vec::with_capacity(wanted.len());
        let mut callers = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            records.push(wanted.record);
            calls.push(wanted.call);
            callers.push(wanted.answer);
        }
        let callers = Callers::of(callers);
        let mut publishing = Vec::new();
        // One that cannot be worked in must not take the others along: it is looked for by halves.
        let mut left = vec![(0..records.len(), callers)];
        let mut lost = false;
        while let Some((part, callers)) = left.pop() {
            let together = (&records[part.clone()], &calls[part.clone()]);
            match self.work_in(tenant, together, &callers).await {
                Ok(one) => publishing.push(one),
                // No record's fault. A connection may have been lost, which is no reason to send everybody away; a database may be.
                Err(error) if error.kind() == Kind::Unavailable => {
                    left.push((part, callers));
                    if std::mem::replace(&mut lost, true) {
                        tracing::error!(%tenant, detail = error.detail(), "records that wait are sent away");
                        left.drain(..).for_each(|(_, callers)| callers.refuse(&error));
                    }
                }
                Err(error) if part.len() <= 1 => callers.answer([Err(error)]),
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    let (before, after) = callers.in_two(part.len() / 2);
                    left.push((middle..part.end, after));
                    left.push((part.start..middle, before));
                }
            }
        }
        publishing
    }

    /// [`Self::try_together`], from the start whenever somebody else was faster.
    async fn work_in(
        &self,
        tenant: &TenantId,
        records: (&[NewRecord], &[Option<Call>]),
        callers: &Callers,
    ) -> Result<Publishing, Error> {
        for _ in 1..TRIES {
            match self.try_together(tenant, records, callers).await {
                Err(error) if error.kind() == Kind::Conflict => {}
                done => return done,
            }
        }
        self.try_together(tenant, records, callers).await
    }

    /// All that may be worked in, in one transaction; the answer to a record that may not is the refusal. Whoever asked is
    /// answered as soon as it is certain.
    async fn try_together(
        &self,
        tenant: &TenantId,
        (records, calls): (&[NewRecord], &[Option<Call>]),
        callers: &Callers,
    ) -> Result<Publishing, Error> {
        let mut tx = self.db.batch_tx(tenant, HOLD_DECISIONS).await?;
        let known_by = records.iter().map(|r| (r.handles.as_slice(), r.recorded_at));
        let void = self
            .void_among(&mut tx, tenant, &known_by.collect::<Vec<_>>())
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
        let mut answers = Vec::with_capacity(records.len());
        let mut observed = observed.iter();
        for (void, call) in void.into_iter().zip(calls) {
            if void {
                answers.push(Err(was_erased()));
                continue;
            }
            let observed = observed.next().ok_or_else(overtaken)?;
            answers.push(Ok(response(&observed.decided)));
            match call {
                Some(call) if observed.decided.outcome.is_news() => {
                    call.begin_anew();
                    record_changed(call, &observed.decided.outcome);
                    tx.on_behalf_of([call.clone()]);
                }
                // That the record came is in the records; whoever reads the audit log asks what became otherwise.
                Some(call) => call.changes_nothing(),
                None => {}
            }
        }
        metrics::histogram!("trama_identity_resolution_records_together").record(records.len() as f64);
        let callers = callers.clone();
        tx.after_commit(move || callers.answer(answers));
        tx.commit_ahead().await
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
