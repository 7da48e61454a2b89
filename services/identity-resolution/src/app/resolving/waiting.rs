//! Where records wait for company, and their callers for an answer.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    oneshot,
};
use trama_platform::{Error, Kind, audit::Call};
use trama_proto::{identity_resolution::v1 as wire, ids::TenantId};

use super::{KNOWN_WORKERS, WORKERS};
use crate::app::records::NewRecord;

/// Records that wait at most, in all.
const MOST_WAITING: usize = 4_096;
/// Records of one transaction at most.
pub(super) const AT_ONCE: usize = 64;
/// Records that are worth another transaction while one is under way.
const COMPANY: usize = 24;
/// How long records wait for company, before it is known what a transaction takes.
const PATIENCE: Duration = Duration::from_millis(3);
/// How long they wait at most, whatever one takes: the one that is under way may wait for somebody itself.
const MOST_PATIENCE: Duration = Duration::from_millis(15);

/// A record, and who waits for an answer.
pub(super) struct Wanted {
    pub tenant: TenantId,
    pub record: NewRecord,
    /// What the audit log tells if it changes something.
    pub call: Option<Call>,
    pub answer: Answer,
}

type Answer = oneshot::Sender<Result<wire::ResolveRecordResponse, Error>>;

/// Where records wait.
pub struct Lanes {
    /// All of them, until it is known who is known.
    pub(super) arriving: Waiting,
    /// Those who must be decided about.
    pub(super) undecided: Waiting,
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            arriving: Waiting::new(KNOWN_WORKERS),
            undecided: Waiting::new(WORKERS),
        }
    }
}

/// Where records wait for the next transaction.
pub(super) struct Waiting {
    /// Transactions at the same time, at most.
    workers: usize,
    sender: mpsc::Sender<Wanted>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Wanted>>,
    /// Transactions under way.
    busy: AtomicUsize,
    /// There is company enough, or a transaction is through.
    news: Notify,
    /// What a transaction takes, in microseconds: the last ones count most.
    takes: AtomicU64,
}

impl Waiting {
    fn new(workers: usize) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        Self {
            workers,
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            busy: AtomicUsize::new(0),
            news: Notify::new(),
            takes: AtomicU64::new(micros(PATIENCE)),
        }
    }
}

/// How long records wait for company while so many transactions of so many are under way, of which one takes so long.
fn patience(takes: Duration, busy: usize, workers: usize) -> Duration {
    takes.mul_f64(busy.min(workers) as f64 / workers as f64)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Waiting {
    /// Whoever finds no place any more is told so.
    pub(super) fn add(&self, wanted: Wanted) {
        match self.sender.try_send(wanted) {
            Ok(()) => {}
            Err(TrySendError::Full(wanted)) => {
                let words = "too many records wait; try again in a moment";
                drop(wanted.answer.send(Err(Error::new(Kind::Exhausted, words))));
                return;
            }
            // Closed: see there.
            Err(TrySendError::Closed(_)) => return,
        }
        if self.sender.max_capacity() - self.sender.capacity() == COMPANY {
            self.news.notify_one();
        }
    }

    /// Nobody works any more: whoever waits, or comes, is told so, as their answer's sender is dropped. The server waits for them
    /// before it ends.
    pub(super) async fn close(&self) {
        let mut receiver = self.receiver.lock().await;
        receiver.close();
        while receiver.try_recv().is_ok() {}
    }

    /// The next records to work in together. What a transaction costs by itself is more than a record's own share: while
    /// others are under way, those who come gather until they are many, until all are through, or for a part of what one
    /// takes. The part grows with those under way: where there is little to do nobody waits long for company that does not
    /// come, and where there is much, large batches are what gets everybody through.
    pub(super) async fn next(&self, batch: &mut Vec<Wanted>) -> Underway<'_> {
        let mut receiver = self.receiver.lock().await;
        receiver.recv_many(batch, 1).await;
        let company = async {
            while self.busy.load(Ordering::Relaxed) > 0 && receiver.len() < COMPANY {
                self.news.notified().await;
            }
        };
        // A transaction that waits for somebody keeps nobody else waiting.
        let takes = Duration::from_micros(self.takes.load(Ordering::Relaxed)).min(MOST_PATIENCE);
        let patience = patience(takes, self.busy.load(Ordering::Relaxed), self.workers);
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
pub(super) struct Underway<'a> {
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

/// Who waits for the answers of a batch: whoever gets to know them first takes them along.
#[derive(Clone)]
pub(super) struct Callers(Arc<Mutex<Vec<Answer>>>);

impl Callers {
    pub(super) fn of(callers: Vec<Answer>) -> Self {
        Self(Arc::new(Mutex::new(callers)))
    }

    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same refusal to all.
    pub(super) fn refuse(&self, error: &Error) {
        self.answer(std::iter::repeat_with(|| {
            Err(Error::new(error.kind(), error.to_string()))
        }));
    }

    /// The first so many, and the others.
    pub(super) fn in_two(&self, first: usize) -> (Self, Self) {
        let mut callers = self.take();
        let others = callers.split_off(first.min(callers.len()));
        (Self::of(callers), Self::of(others))
    }

    pub(super) fn answer(
        &self,
        answers: impl IntoIterator<Item = Result<wire::ResolveRecordResponse, Error>>,
    ) {
        for (caller, answer) in self.take().into_iter().zip(answers) {
            // Who no longer waits needs no answer.
            drop(caller.send(answer));
        }
    }
}

/// Records of each tenant by themselves.
pub(super) fn by_tenant(batch: &mut Vec<Wanted>) -> Vec<(TenantId, Vec<Wanted>)> {
    let mut tenants: Vec<(TenantId, Vec<Wanted>)> = Vec::with_capacity(1);
    for wanted in batch.drain(..) {
        match tenants.iter_mut().find(|(tenant, _)| *tenant == wanted.tenant) {
            Some((_, theirs)) => theirs.push(wanted),
            None => tenants.push((wanted.tenant.clone(), vec![wanted])),
        }
    }
    tenants
}

#[cfg(test)]
mod tests {
    use trama_proto::ids::TenantId;
    use uuid::Uuid;

    use super::*;
    use crate::domain::said::Said;

    fn wanted() -> (
        Wanted,
        oneshot::Receiver<Result<wire::ResolveRecordResponse, Error>>,
    ) {
        let (answer, answered) = oneshot::channel();
        let record = NewRecord {
            id: Uuid::nil(),
            source: "crm".into(),
            handles: Vec::new(),
            said: Said::default(),
            fields: Vec::new(),
            recorded_at: None,
        };
        let tenant: TenantId = "acme".parse().expect("a tenant");
        let wanted = Wanted {
            tenant,
            record,
            call: None,
            answer,
        };
        (wanted, answered)
    }

    #[tokio::test]
    async fn whoever_waits_when_the_service_stops_is_told_so() {
        let waiting = Waiting::new(1);
        let ((before, heard_before), (after, heard_after)) = (wanted(), wanted());
        waiting.add(before);
        waiting.close().await;
        waiting.add(after);
        assert!(heard_before.await.is_err(), "nobody answers any more");
        assert!(heard_after.await.is_err(), "nor whoever comes after that");
    }

    #[tokio::test]
    async fn whoever_finds_no_place_is_told_so() {
        let waiting = Waiting::new(1);
        let mut heard = Vec::new();
        for _ in 0..=MOST_WAITING {
            let (wanted, answered) = wanted();
            waiting.add(wanted);
            heard.push(answered);
        }
        let last = heard.pop().expect("the last").await.expect("an answer");
        assert_eq!(last.map_err(|e| e.kind()), Err(Kind::Exhausted));
    }
}
