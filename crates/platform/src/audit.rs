//! Who changed what, from where. Every gRPC call passes here ([`Trail`]), and every transaction that it opens knows it
//! ([`current`]): what is committed carries its entry in the same commit, as one more row of the outbox. No service does
//! anything for it, so none can forget it.
//!
//! A call that succeeds without a transaction of its own, and one that may not be made, is told right afterwards
//! ([`recorder`]). See `docs/adr/0021-audit.md`.

mod recorder;
mod tee;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tonic::Code;
use trama_proto::{
    audit::v1::{AuditChange, AuditEntry, AuditObject, AuditOutcome, CredentialKind},
    mutations::{self, Mutation},
    time::to_wire,
};
use uuid::Uuid;

use crate::{Clock, Principal, auth::CredentialSort, origin::Origins};

pub(crate) use recorder::Recorder;
pub use tee::Tee;

tokio::task_local! {
    /// What the call of this task is; none when it says that it changes nothing.
    static CALL: Option<Call>;
}

/// The call that this task works for, when it changes something. Whoever hands work of a call to another task takes it
/// along: [`crate::Tx::on_behalf_of`].
pub fn current() -> Option<Call> {
    CALL.try_with(Clone::clone).ok().flatten()
}

/// Whether this task works for a call that says that it changes nothing.
pub(crate) fn only_reads() -> bool {
    CALL.try_with(Option::is_none).unwrap_or(false)
}

/// A call that changes something.
#[derive(Clone)]
pub struct Call(Arc<Inner>);

struct Inner {
    id: Uuid,
    method: &'static Mutation,
    principal: Principal,
    trace_id: String,
    /// The request as it came, in the frame that gRPC puts around it.
    request: Kept,
    answer: Mutex<Option<Vec<u8>>>,
    changes: Mutex<Vec<AuditChange>>,
    committed: AtomicBool,
    changes_nothing: AtomicBool,
}

/// Pieces of a body that passed by.
type Kept = Arc<Mutex<Vec<Bytes>>>;

/// Most bytes of a request that are kept while it is worked in; of a larger one only is told that it came.
const LARGEST: usize = 16 * 1024 * 1024;

impl Call {
    fn new(id: Uuid, method: &'static Mutation, principal: Principal) -> Self {
        let trace = crate::telemetry::current_trace().unwrap_or_default();
        Self(Arc::new(Inner {
            id,
            method,
            principal,
            trace_id: trace.split('-').nth(1).unwrap_or_default().to_owned(),
            request: Kept::default(),
            answer: Mutex::default(),
            changes: Mutex::default(),
            committed: AtomicBool::new(false),
            changes_nothing: AtomicBool::new(false),
        }))
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// What is answered, as far as the transaction knows it: things that came into being have their ids there.
    pub(crate) fn answered(&self, answer: Vec<u8>) {
        *lock(&self.0.answer) = Some(answer);
    }

    /// Nothing happens this time: the answer is one that was given before, or all that is said was known. A change that a
    /// transaction commits for the call is told all the same.
    pub fn changes_nothing(&self) {
        self.0.changes_nothing.store(true, Ordering::Release);
    }

    /// Its transaction is through.
    pub(crate) fn committed(&self) {
        self.0.committed.store(true, Ordering::Release);
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.0.committed.load(Ordering::Acquire)
    }

    /// What became of something. `before` and `after` are words of ours, states and numbers; never what a person wrote.
    pub fn changed(
        &self,
        (kind, id): (&str, &dyn std::fmt::Display),
        field: &str,
        before: &str,
        after: &str,
    ) {
        if before == after {
            return;
        }
        lock(&self.0.changes).push(AuditChange {
            object: Some(AuditObject {
                kind: kind.to_owned(),
                id: id.to_string(),
            }),
            field: field.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        });
    }

    /// Forgets what a transaction that was not committed said.
    pub fn begin_anew(&self) {
        lock(&self.0.changes).clear();
    }

    /// What is told of it.
    pub(crate) fn entry(&self, id: Uuid, at: DateTime<Utc>, outcome: AuditOutcome, code: Code) -> AuditEntry {
        let request = message(&lock(&self.0.request));
        let answer = lock(&self.0.answer);
        let told = self.0.method.tell(request.as_deref(), answer.as_deref());
        let mut entry = start(self.0.method.path, &self.0.principal, (id, at), outcome);
        entry.call_id = self.0.id.to_string();
        entry.code = code as i32;
        entry.objects = told.objects;
        entry.fields = told.fields;
        entry.changes = lock(&self.0.changes).clone();
        entry.trace_id.clone_from(&self.0.trace_id);
        entry
    }
}

fn start(
    method: &str,
    principal: &Principal,
    (id, at): (Uuid, DateTime<Utc>),
    outcome: AuditOutcome,
) -> AuditEntry {
    let credential = match principal.credential.sort {
        CredentialSort::Token => CredentialKind::Token,
        CredentialSort::ApiKey => CredentialKind::ApiKey,
        CredentialSort::Service => CredentialKind::Service,
        CredentialSort::Internal => CredentialKind::Internal,
    };
    AuditEntry {
        entry_id: id.to_string(),
        at: Some(to_wire(at)),
        subject: principal.subject.clone(),
        credential: credential.into(),
        credential_id: principal.credential.id.clone(),
        origin: principal.origin.clone(),
        method: method.to_owned(),
        outcome: outcome.into(),
        ..AuditEntry::default()
    }
}

/// The message in the frame of a unary request; none when it is compressed or incomplete.
fn message(pieces: &[Bytes]) -> Option<Vec<u8>> {
    let whole = pieces.concat();
    let (frame, content) = whole.split_at_checked(5)?;
    let length = usize::try_from(u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]])).ok()?;
    (frame[0] == 0).then(|| content.get(..length).map(<[u8]>::to_vec))?
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where calls leave their trail.
#[derive(Clone)]
pub struct Trail {
    recorder: Recorder,
    origins: Origins,
    clock: Clock,
}

impl Trail {
    pub(crate) fn new(recorder: Recorder, origins: Origins, clock: Clock) -> Self {
        Self {
            recorder,
            origins,
            clock,
        }
    }

    /// Where calls come from.
    pub(crate) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The call, when the method changes something.
    pub(crate) fn follow(&self, path: &str, principal: &Principal) -> Option<Call> {
        let method = mutations::mutation(path)?;
        Some(Call::new(self.clock.new_id(), method, principal.clone()))
    }

    /// Somebody who is known may not do that.
    pub(crate) fn denied(&self, path: &str, principal: &Principal) {
        if let Some(call) = self.follow(path, principal) {
            self.recorder
                .try_tell(self.told(&call, AuditOutcome::Denied, Code::PermissionDenied));
        }
    }

    /// Carries out a call, and tells what its transactions have not told.
    pub(crate) async fn through<R, E>(
        &self,
        call: Option<Call>,
        work: impl Future<Output = Result<http::Response<R>, E>>,
    ) -> Result<http::Response<R>, E> {
        let Some(call) = call else {
            return CALL.scope(None, work).await;
        };
        let response = CALL.scope(Some(call.clone()), work).await?;
        // A refusal has its status in the headers; a success in the trailers, which are not here yet.
        let code = response
            .headers()
            .get("grpc-status")
            .map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        let outcome = match (code, call.is_committed()) {
            (Code::Ok, true) => return Ok(response),
            (Code::Ok, false) if call.0.changes_nothing.load(Ordering::Acquire) => return Ok(response),
            (Code::Ok, false) => AuditOutcome::Succeeded,
            (_, true) => AuditOutcome::Refused,
            (Code::PermissionDenied, false) => AuditOutcome::Denied,
            (_, false) => return Ok(response),
        };
        let told = self.told(&call, outcome, code);
        if outcome == AuditOutcome::Denied {
            self.recorder.try_tell(told);
        } else {
            self.recorder.tell(told).await;
        }
        Ok(response)
    }

    fn told(&self, call: &Call, outcome: AuditOutcome, code: Code) -> recorder::Told {
        let (id, now) = (self.clock.new_id(), self.clock.now());
        (
            call.0.principal.tenant.clone(),
            call.entry(id, now, outcome, code),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_request_is_found_in_its_pieces() {
        let pieces = [&b"\0\0\0"[..], b"\0\x03a", b"bc"].map(Bytes::from_static);
        assert_eq!(message(&pieces).as_deref(), Some(&b"abc"[..]));
        assert_eq!(message(&pieces[..2]), None);
        assert_eq!(message(&[]), None);
        assert_eq!(message(&[Bytes::from_static(b"\x01\0\0\0\0")]), None);
    }
}
