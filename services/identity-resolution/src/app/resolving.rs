//! Records one by one, for callers who wait: what arrives at the same time is worked in together, so that many callers
//! cost what one batch does.

use std::{
    borrow::Cow,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{
    FutureExt as _,
    future::{FusedFuture as _, join, join_all, ready},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use trama_platform::{
    Error, Kind, Publishing,
    audit::{self, Call},
};
use trama_proto::{
    identity_resolution::v1::{self as wire, Resolution},
    ids::TenantId,
};

use super::{
    App,
    auditing::record_changed,
    explaining::wire_likeness,
    observing::{Decided, Item},
    privacy::was_erased,
    records::{NewRecord, observation},
};
use crate::{error::overtaken, store::privacy::HOLD_DECISIONS};

/// Records that wait at most, in all.
const MOST_WAITING: usize = 4_096;
/// Records of one transaction at most.
const AT_ONCE: usize = 64;
/// Transactions at the same time.
pub const WORKERS: usize = 4;
/// How often records are tried that others overtake.
const TRIES: usize = 3;
/// Records that are worth another transaction while one is under way.
const COMPANY: usize = 24;
/// How long records wait for company, before it is known what a transaction takes.
const PATIENCE: Duration = Duration::from_millis(3);
/// How long they wait at most, whatever one takes: the one that is under way may wait for somebody itself.
const MOST_PATIENCE: Duration = Duration::from_millis(15);

struct Wanted {
    tenant: TenantId,
    record: NewRecord,
    /// What the audit log tells if it changes something.
    call: Option<Call>,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<wire::ResolveRecordResponse, Error>>;

/// Where records wait for the next transaction.
pub struct Waiting {
    sender: mpsc::Sender<Wanted>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Wanted>>,
    /// Transactions under way.
    busy: AtomicUsize,
    /// There is company enough, or a transaction is through.
    news: Notify,
    /// What a transaction takes, in microseconds: the last ones count most.
    takes: AtomicU64,
}

impl Default for Waiting {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        Self {
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            busy: AtomicUsize::new(0),
            news: Notify::new(),
            takes: AtomicU64::new(micros(PATIENCE)),
        }
    }
}

/// How long records wait for company while so many transactions are under way, of which one takes so long.
fn patience(takes: Duration, busy: usize) -> Duration {
    takes.mul_f64(busy.min(WORKERS) as f64 / WORKERS as f64)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Waiting {
    fn add(&self, wanted: Wanted) -> Result<(), Error> {
        self.sender
            .try_send(wanted)
            .map_err(|_| Error::new(Kind::Exhausted, "too many records wait; try again in a moment"))?;
        if self.sender.max_capacity() - self.sender.capacity() == COMPANY {
            self.news.notify_one();
        }
        Ok(())
    }

    /// The next records to work in together. What a transaction costs by itself is more than a record's own share: while
    /// others are under way, those who come gather until they are many, until all are through, or for a part of what one
    /// takes. The part grows with those under way: where there is little to do nobody waits long for company that does not
    /// come, and where there is much, large batches are what gets everybody through.
    async fn next(&self, batch: &mut Vec<Wanted>) -> Underway<'_> {
        let mut receiver = self.receiver.lock().await;
        receiver.recv_many(batch, 1).await;
        let company = async {
            while self.busy.load(Ordering::Relaxed) > 0 && receiver.len() < COMPANY {
                self.news.notified().await;
            }
        };
        // A transaction that waits for somebody keeps nobody else waiting.
        let takes = Duration::from_micros(self.takes.load(Ordering::Relaxed)).min(MOST_PATIENCE);
        let patience = patience(takes, self.busy.load(Ordering::Relaxed));
        drop(tokio::time::timeout(patience, company).await);
        receiver.recv_many(batch, AT_ONCE - 1).now_or_never();
        self.busy.fetch_add(1, Ordering::Relaxed);
        Underway {
            waiting: self,
            since: Instant::now(),
        }
    }
}

/// A transaction, until it is through.
struct Underway<'a> {
    waiting: &'a Waiting,
    since: Instant,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let (waiting, took) = (self.waiting, micros(self.since.elapsed()));
        // Of two who end at once one may go uncounted: it is a guess anyway.
        let takes = waiting.takes.load(Ordering::Relaxed);
        waiting.takes.store((takes * 7 + took) / 8, Ordering::Relaxed);
        waiting.busy.fetch_sub(1, Ordering::Relaxed);
        waiting.news.notify_one();
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
            call: audit::current(),
            answer,
        };
        self.waiting.add(wanted)?;
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
        // The bus keeps one batch while the database works on the next, and no more than one.
        let mut leaving = ready(()).boxed().fuse();
        'working: loop {
            let underway = {
                let mut next = pin!(self.waiting.next(&mut batch));
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
        if !leaving.is_terminated() {
            leaving.await;
        }
        Ok(())
    }

    async fn resolve_batch(&self, batch: &mut Vec<Wanted>) -> Vec<Publishing> {
        let mut published = Vec::new();
        batch.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        while let Some(first) = batch.first() {
            let tenant = first.tenant.clone();
            let theirs = batch.partition_point(|w| w.tenant <= tenant);
            let theirs: Vec<Wanted> = batch.drain(..theirs).collect();
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
        if let Ok(publishing) = self.work_in(tenant, (&records, &calls), &callers).await {
            return vec![publishing];
        }
        // One that cannot be worked in must not take the others along.
        let alone = callers.take().into_iter().map(|caller| Callers::of(vec![caller]));
        let mut publishing = Vec::with_capacity(records.len());
        for ((record, call), caller) in records.into_iter().zip(calls).zip(alone) {
            match self.work_in(tenant, (&[record], &[call]), &caller).await {
                Ok(one) => publishing.push(one),
                Err(error) => caller.answer([Err(error)]),
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

/// Who waits for the answers of a batch: whoever gets to know them first takes them along.
#[derive(Clone)]
struct Callers(Arc<Mutex<Vec<Answer>>>);

impl Callers {
    fn of(callers: Vec<Answer>) -> Self {
        Self(Arc::new(Mutex::new(callers)))
    }

    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, answers: impl IntoIterator<Item = Result<wire::ResolveRecordResponse, Error>>) {
        for (caller, answer) in self.take().into_iter().zip(answers) {
            // Who no longer waits needs no answer.
            drop(caller.send(answer));
        }
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
