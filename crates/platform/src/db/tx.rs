//! A transaction that knows its tenant, and carries what it will publish and when it wants to be woken.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use trama_proto::{
    audit::v1::{AuditEntry, AuditOutcome, AuditRecorded},
    events::Event,
    ids::TenantId,
};
use uuid::Uuid;

use super::Db;
use crate::{
    Error, Kind,
    audit::{self, Call},
    bus::{Outgoing, Stream, tenant_of},
    failpoint,
    sealing::{Column, Vault, ids_in},
    stage::Envelope,
    timers::TimerSpec,
};

/// A command that may come twice: who orders what, under which request id of theirs.
pub struct Command<'a, R> {
    tenant: &'a TenantId,
    subject: &'a str,
    method: &'static str,
    request_id: &'a str,
    request: &'a R,
}

impl<'a, R> Command<'a, R> {
    /// The request ids of two subjects have nothing to do with each other.
    pub const fn new(
        tenant: &'a TenantId,
        subject: &'a str,
        method: &'static str,
        request_id: &'a str,
        request: &'a R,
    ) -> Self {
        Self {
            tenant,
            subject,
            method,
            request_id,
            request,
        }
    }
}

/// A transaction with what it will publish and when it wants to be woken.
///
/// Dropped without [`Tx::commit`], nothing of it happened.
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    db: Db,
    now: DateTime<Utc>,
    outgoing: Vec<Outgoing>,
    timers: Vec<TimerSpec>,
    disarmed: Vec<(TenantId, &'static str, String)>,
    trace: Option<String>,
    /// For a call that says that it changes nothing.
    only_reads: bool,
    /// Whose changes these are.
    calls: Vec<Call>,
    after_commit: Vec<Box<dyn FnOnce() + Send>>,
}

/// What was committed and is still to be told: on the bus once this is through, or left to the sweeper.
pub type Publishing = futures::future::BoxFuture<'static, ()>;

impl Tx {
    pub(super) fn new(db: &Db, inner: Transaction<'static, Postgres>, trace: Option<String>) -> Self {
        Self {
            inner,
            db: db.clone(),
            now: db.shared.clock.now(),
            outgoing: Vec::new(),
            timers: Vec::new(),
            disarmed: Vec::new(),
            trace,
            only_reads: audit::only_reads(),
            calls: audit::current().into_iter().inspect(Call::begin_anew).collect(),
            after_commit: Vec::new(),
        }
    }

    /// The connection, for the service's store.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// Statements of this transaction are planned once for a connection, whatever their parameters: for statements that work
    /// on arrays by the key.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn plan_once(&mut self) -> Result<(), Error> {
        sqlx::query(super::PLAN_ONCE).execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Where it runs.
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// The keys of sealed texts.
    pub(crate) fn vault(&self) -> std::sync::Arc<Vault> {
        self.db.vault()
    }

    /// One moment for the whole transaction.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// A fresh id.
    pub fn new_id(&self) -> Uuid {
        self.db.shared.clock.new_id()
    }

    /// What is published from here on belongs to the trace of this message.
    pub fn follow(&mut self, cause: &Envelope) {
        self.trace.clone_from(&cause.trace);
    }

    /// The same for a trace that was kept, for what happens long after its message.
    pub fn follow_trace(&mut self, trace: Option<&str>) {
        self.trace = trace.map(str::to_owned);
    }

    /// Publishes an event with this transaction: it leaves after the commit, or never.
    pub fn publish<E: Event>(&mut self, tenant: &TenantId, key: &str, event: &E) -> Uuid {
        let id = self.new_id();
        self.publish_as(id, tenant, key, event);
        id
    }

    /// The same with an id derived from the content, so that every inbox knows a repeat.
    pub fn publish_as<E: Event>(&mut self, id: Uuid, tenant: &TenantId, key: &str, event: &E) {
        debug_assert!(
            !self.only_reads,
            "a method that declares NO_SIDE_EFFECTS publishes {}: it would leave no trail",
            E::NAME
        );
        let subject = self.db.shared.bus.subject(Stream::Events, E::NAME, tenant, key);
        let payload = event.encode_to_vec().into();
        self.outgoing.push(Outgoing {
            id,
            subject,
            payload,
            trace: self.trace.clone(),
        });
    }

    /// What this transaction changes is changed for these calls too, and the audit log says so: for work that was handed
    /// over to another task ([`audit::current`]).
    pub fn on_behalf_of(&mut self, calls: impl IntoIterator<Item = Call>) {
        self.calls.extend(calls);
    }

    /// Whether there is a call of whom the audit log is told: what it is told need not be put into words otherwise.
    pub fn is_for_a_call(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Tells the audit log what became of something. `before` and `after` are words of ours, states and numbers; never
    /// what a person wrote.
    pub fn changed(&self, object: (&str, &dyn std::fmt::Display), field: &str, before: &str, after: &str) {
        for call in &self.calls {
            call.changed(object, field, before, after);
        }
    }

    /// The calls that this transaction is the first to carry out, as one event for each tenant.
    fn tell_calls(&mut self) {
        let mut told: BTreeMap<TenantId, Vec<AuditEntry>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| !call.is_committed()) {
            let entry = call.entry(self.new_id(), self.now, AuditOutcome::Committed, tonic::Code::Ok);
            told.entry(call.principal().tenant.clone())
                .or_default()
                .push(entry);
        }
        for (tenant, entries) in told {
            let key = entries.first().map(|e| e.subject.clone()).unwrap_or_default();
            self.publish(&tenant, &key, &AuditRecorded { entries });
        }
    }

    /// Runs once the commit is through, on this process only: for waking whoever looks at what was written. A crash
    /// in between loses it, so whoever is woken must also look by themselves now and then.
    pub fn after_commit(&mut self, wake: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(wake));
    }

    /// Once the commit is through, requests of privacy are there to be answered.
    pub(crate) fn wake_privacy(&mut self) {
        let db = self.db.clone();
        self.after_commit(move || db.privacy_work().notify_one());
    }

    /// Wants to be woken at `due_at`. The same kind and key replaces an earlier one.
    pub fn arm(&mut self, timer: TimerSpec) {
        self.disarmed
            .retain(|(t, k, key)| !(*t == timer.tenant && *k == timer.kind && *key == timer.key));
        self.timers
            .retain(|t| !(t.tenant == timer.tenant && t.kind == timer.kind && t.key == timer.key));
        self.timers.push(timer);
    }

    /// No longer wants to be woken.
    pub fn disarm(&mut self, tenant: &TenantId, kind: &'static str, key: impl Into<String>) {
        let key = key.into();
        self.timers
            .retain(|t| !(t.tenant == *tenant && t.kind == kind && t.key == key));
        self.disarmed.push((tenant.clone(), kind, key));
    }

    /// The answer that a command with this request id got before, if there was one. An id belongs to who used it, the
    /// principal's subject: two callers of a tenant may both count from 1.
    ///
    /// # Errors
    /// When the same request id came with another content.
    pub async fn replay<R: prost::Message + Default>(
        &mut self,
        command: &Command<'_, impl prost::Message>,
    ) -> Result<Option<R>, Error> {
        let Command {
            tenant,
            subject,
            method,
            request_id,
            request,
        } = *command;
        if request_id.is_empty() {
            return Ok(None);
        }
        if request_id.len() > 255 {
            return Err(Error::invalid("request_id", "at most 255 characters"));
        }
        // The lock makes a concurrent repeat wait for the first one's answer.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', $1, $2, $3, $4), 11))")
            .bind(tenant.as_str())
            .bind(subject)
            .bind(method)
            .bind(request_id)
            .execute(&mut *self.inner)
            .await?;
        let row: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT fingerprint, response FROM requests
             WHERE tenant = $1 AND subject = $2 AND method = $3 AND request_id = $4",
        )
        .bind(tenant.as_str())
        .bind(subject)
        .bind(method)
        .bind(request_id)
        .fetch_optional(&mut *self.inner)
        .await?;
        match row {
            None => Ok(None),
            Some((seen, _)) if seen != fingerprint(request) => Err(Error::new(
                Kind::Conflict,
                "request_id was used before with another content; take a new one",
            )),
            Some((_, mut response)) => {
                let row = format!("{subject}/{method}/{request_id}");
                self.open(RESPONSE, [(tenant.as_str(), row, &mut response)])
                    .await?;
                for call in &self.calls {
                    call.changes_nothing();
                }
                Ok(Some(R::decode(response.as_slice())?))
            }
        }
    }

    /// Remembers the answer of a command for [`Tx::replay`].
    ///
    /// # Errors
    /// When the database is away.
    pub async fn remember(
        &mut self,
        command: &Command<'_, impl prost::Message>,
        response: &impl prost::Message,
    ) -> Result<(), Error> {
        let Command {
            tenant,
            subject,
            method,
            request_id,
            request,
        } = *command;
        let mut response = response.encode_to_vec();
        for call in &self.calls {
            call.answered(response.clone());
        }
        if request_id.is_empty() {
            return Ok(());
        }
        // Once it is sealed, nothing else tells whom it is about.
        let about = if self.vault().wants(tenant.as_str()) {
            ids_in(&response)
        } else {
            Vec::new()
        };
        let row = format!("{subject}/{method}/{request_id}");
        self.seal(RESPONSE, [(tenant.as_str(), row)], [&mut response])
            .await?;
        sqlx::query(
            "INSERT INTO requests (tenant, subject, method, request_id, fingerprint, response, about)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(tenant.as_str())
        .bind(subject)
        .bind(method)
        .bind(request_id)
        .bind(fingerprint(request))
        .bind(response)
        .bind(about)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Commits, then publishes from memory.
    ///
    /// # Errors
    /// When the commit fails; then nothing happened.
    pub async fn commit(self) -> Result<(), Error> {
        let db = self.db.clone();
        let outgoing = self.commit_only().await?;
        db.publish_committed(outgoing).await;
        Ok(())
    }

    /// Commits, and leaves publishing to whoever has something else to do meanwhile.
    ///
    /// # Errors
    /// When the commit fails; then nothing happened.
    pub async fn commit_ahead(self) -> Result<Publishing, Error> {
        let db = self.db.clone();
        let outgoing = self.commit_only().await?;
        Ok(Box::pin(async move { db.publish_committed(outgoing).await }))
    }

    /// Commits and hands out what is to be published; the stage loop overlaps that with its next batch.
    pub(crate) async fn commit_only(mut self) -> Result<Vec<Outgoing>, Error> {
        self.tell_calls();
        let published = self.db.take_published();
        let result = self.write_runtime_rows(&published).await;
        let result = match result {
            Ok(()) => self.inner.commit().await.map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.db.give_back_published(published);
            return Err(error);
        }
        failpoint::hit("tx.committed");
        // Before anybody is woken: who is answered looks whether it is told.
        for call in &self.calls {
            call.committed();
        }
        if let Some(first) = self.timers.iter().map(|t| t.due_at).min() {
            self.db.timer_armed_for(first);
        }
        for wake in self.after_commit {
            wake();
        }
        Ok(self.outgoing)
    }

    /// What waits in the outbox says the same as the tables of the services. None when nothing is sealed at all.
    async fn sealed_payloads(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        if !self.vault().is_sealing() {
            return Ok(None);
        }
        let mut payloads: Vec<Vec<u8>> = self.outgoing.iter().map(|o| o.payload.to_vec()).collect();
        let places: Vec<(String, Uuid)> = self
            .outgoing
            .iter()
            .map(|o| (tenant_of(&o.subject).to_owned(), o.id))
            .collect();
        let places = places.iter().map(|(tenant, id)| (tenant.as_str(), *id));
        self.seal(PAYLOAD, places, &mut payloads).await?;
        Ok(Some(payloads))
    }

    async fn write_runtime_rows(&mut self, published: &[Uuid]) -> Result<(), Error> {
        if !self.outgoing.is_empty() || !published.is_empty() {
            let sealed = self.sealed_payloads().await?;
            let payloads: Vec<&[u8]> = match &sealed {
                Some(sealed) => sealed.iter().map(Vec::as_slice).collect(),
                None => self.outgoing.iter().map(|o| o.payload.as_ref()).collect(),
            };
            let ids: Vec<Uuid> = self.outgoing.iter().map(|o| o.id).collect();
            let subjects: Vec<&str> = self.outgoing.iter().map(|o| o.subject.as_str()).collect();
            let traces: Vec<Option<&str>> = self.outgoing.iter().map(|o| o.trace.as_deref()).collect();
            sqlx::query(
                "WITH gone AS (DELETE FROM outbox WHERE id = ANY($5))
                 INSERT INTO outbox (id, subject, payload, headers)
                 SELECT id, subject, payload, CASE WHEN trace IS NULL THEN '{}' ELSE jsonb_build_object('traceparent', trace) END
                 FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[]) AS row (id, subject, payload, trace)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(ids)
            .bind(subjects)
            .bind(payloads)
            .bind(traces)
            .bind(published)
            .execute(&mut *self.inner)
            .await?;
        }
        if !self.disarmed.is_empty() {
            let (tenants, rest): (Vec<_>, Vec<_>) = self
                .disarmed
                .iter()
                .map(|(t, k, key)| (t.as_str(), (*k, key.as_str())))
                .unzip();
            let (kinds, keys): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
            sqlx::query(
                "DELETE FROM timers USING unnest($1::text[], $2::text[], $3::text[]) AS gone (tenant, kind, key)
                 WHERE timers.tenant = gone.tenant AND timers.kind = gone.kind AND timers.key = gone.key",
            )
            .bind(tenants)
            .bind(kinds)
            .bind(keys)
            .execute(&mut *self.inner)
            .await?;
        }
        if !self.timers.is_empty() {
            let tenants: Vec<&str> = self.timers.iter().map(|t| t.tenant.as_str()).collect();
            let kinds: Vec<&str> = self.timers.iter().map(|t| t.kind).collect();
            let keys: Vec<&str> = self.timers.iter().map(|t| t.key.as_str()).collect();
            let dues: Vec<DateTime<Utc>> = self.timers.iter().map(|t| t.due_at).collect();
            let payloads: Vec<&serde_json::Value> = self.timers.iter().map(|t| &t.payload).collect();
            sqlx::query(
                "INSERT INTO timers (tenant, kind, key, due_at, payload)
                 SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::jsonb[])
                 ON CONFLICT (tenant, kind, key) DO UPDATE
                 SET due_at = excluded.due_at, payload = excluded.payload, attempts = 0",
            )
            .bind(tenants)
            .bind(kinds)
            .bind(keys)
            .bind(dues)
            .bind(payloads)
            .execute(&mut *self.inner)
            .await?;
        }
        Ok(())
    }
}

/// Answers that are remembered.
pub(crate) const RESPONSE: Column = Column::bytes(
    "requests",
    "response",
    &[("subject", "text"), ("method", "text"), ("request_id", "text")],
);
/// Events that are on their way.
pub(crate) const PAYLOAD: Column = Column::bytes("outbox", "payload", &[("id", "uuid")]);

fn fingerprint(request: &impl prost::Message) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(request.encode_to_vec()).to_vec()
}
