//! One batch: together if it goes, one by one if one of them is bad.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use tokio_util::sync::CancellationToken;
use trama_proto::{
    ids::TenantId,
    privacy::v1::PrivacyRequested,
    subjects::{SubjectPaths, paths_of},
};
use uuid::Uuid;

use super::{DeadLetters, Envelope, Loop, put_back};
use crate::{
    Error,
    bus::{ID_HEADER, Outgoing, Stream, TRACE_HEADER},
    db::Tx,
    error::Verdict,
    privacy,
    telemetry::message_span,
};

/// What a batch left to do after its commit.
pub(super) struct Done {
    pub outgoing: Vec<Outgoing>,
    pub finished: Vec<Message>,
}

impl Loop {
    pub(super) async fn work(&self, messages: Vec<Message>, stopping: &CancellationToken) -> Done {
        let started = std::time::Instant::now();
        let mut done = Done {
            outgoing: Vec::new(),
            finished: Vec::new(),
        };
        let mut good = Vec::with_capacity(messages.len());
        for message in messages {
            match envelope(&message) {
                Ok(envelope) => good.push((envelope, message)),
                Err(error) => self.set_aside(message, &error, &mut done).await,
            }
        }
        let size = good.len();
        if !good.is_empty() {
            let (mut envelopes, messages): (Vec<_>, Vec<_>) = good.into_iter().unzip();
            // One span per message, open until its batch is committed; it links into the trace it came with.
            let mut spans = Vec::new();
            for envelope in &mut envelopes {
                if let Some((span, trace)) =
                    message_span(self.stage.name, &envelope.name, envelope.trace.as_deref())
                {
                    envelope.trace = trace;
                    spans.push(span);
                }
            }
            match self.together(&envelopes, &messages, stopping).await {
                Ok(outgoing) => {
                    done.outgoing = outgoing;
                    done.finished.extend(messages);
                }
                Err(error) if envelopes.len() == 1 => {
                    for (envelope, message) in envelopes.iter().zip(messages) {
                        self.refused(envelope, message, &error, &mut done).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        stage = self.stage.name,
                        detail = error.detail(),
                        "a batch failed; going one by one"
                    );
                    self.one_by_one(envelopes, messages, stopping, &mut done).await;
                }
            }
        }
        metrics::counter!("trama_stage_messages_total", "stage" => self.stage.name).increment(size as u64);
        metrics::histogram!("trama_stage_batch_seconds", "stage" => self.stage.name)
            .record(started.elapsed().as_secs_f64());
        done
    }

    /// One transaction for all. While a dependency is away the messages are held, not given back.
    async fn together(
        &self,
        envelopes: &[Envelope],
        messages: &[Message],
        stopping: &CancellationToken,
    ) -> Result<Vec<Outgoing>, Error> {
        let mut pause = Duration::from_millis(self.config.backoff_ms);
        loop {
            match self.transact(envelopes).await {
                Err(error) if error.kind().verdict() == Verdict::WaitAndRetry => {
                    tracing::warn!(
                        stage = self.stage.name,
                        detail = error.detail(),
                        "a dependency is away; holding the batch"
                    );
                    for message in messages {
                        let _ = message.ack_with(AckKind::Progress).await;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        // Whoever starts next gets them again.
                        () = stopping.cancelled() => return Err(error),
                    }
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
                other => return other,
            }
        }
    }

    async fn transact(&self, envelopes: &[Envelope]) -> Result<Vec<Outgoing>, Error> {
        let mut tx = self.db.system_tx().await?;
        let (new, void) = self.sift(&mut tx, envelopes).await?;
        if new.len() == envelopes.len() && void.is_empty() {
            self.handle(&mut tx, envelopes).await?;
        } else {
            let mut seen = HashSet::new();
            let fresh: Vec<Envelope> = envelopes
                .iter()
                .filter(|e| new.contains(&e.id) && !void.contains(&e.id) && seen.insert(e.id))
                .cloned()
                .collect();
            let dropped = envelopes.len() - new.len();
            metrics::counter!("trama_stage_duplicates_total", "stage" => self.stage.name)
                .increment(dropped as u64);
            metrics::counter!("trama_stage_forgotten_total", "stage" => self.stage.name)
                .increment(void.len() as u64);
            if !fresh.is_empty() {
                self.handle(&mut tx, &fresh).await?;
            }
        }
        tx.commit_only().await
    }

    /// Notes the messages in the inbox. Which are new, and which are about nobody but people who were erased?
    async fn sift(
        &self,
        tx: &mut Tx,
        envelopes: &[Envelope],
    ) -> Result<(HashSet<Uuid>, HashSet<Uuid>), Error> {
        let ids: Vec<Uuid> = envelopes.iter().map(|e| e.id).collect();
        let named: Vec<(&Envelope, &SubjectPaths, Vec<Uuid>)> = envelopes
            .iter()
            .filter_map(|e| paths_of(&e.name).map(|paths| (e, paths, paths.ids(&e.payload))))
            .filter(|_| self.stage.stream == Stream::Events)
            .collect();
        let (tenants, subjects): (Vec<&str>, Vec<Uuid>) = named
            .iter()
            .flat_map(|(e, _, ids)| ids.iter().map(|id| (e.tenant.as_str(), *id)))
            .unzip();
        let rows: Vec<(Uuid, Option<String>)> = sqlx::query_as(
            "WITH new AS (INSERT INTO inbox (consumer, message_id) SELECT $1, unnest($2::uuid[])
                 ON CONFLICT DO NOTHING RETURNING message_id)
             SELECT message_id, NULL::text FROM new
             UNION ALL
             SELECT s.subject_id, s.tenant FROM unnest($3::text[], $4::uuid[]) AS s (tenant, subject_id)
             CROSS JOIN LATERAL (SELECT 1 FROM forgotten
                 WHERE tenant = s.tenant AND subject_id = s.subject_id) AS f",
        )
        .bind(self.stage.name)
        .bind(&ids)
        .bind(&tenants)
        .bind(&subjects)
        .fetch_all(tx.conn())
        .await?;
        let mut new = HashSet::with_capacity(rows.len());
        let mut forgotten: HashSet<(String, Uuid)> = HashSet::new();
        for (id, tenant) in rows {
            match tenant {
                None => drop(new.insert(id)),
                Some(tenant) => drop(forgotten.insert((tenant, id))),
            }
        }
        let void = named
            .iter()
            .filter(|(e, paths, ids)| {
                !forgotten.is_empty()
                    && paths.is_void(ids, |id| forgotten.contains(&(e.tenant.to_string(), *id)))
            })
            .map(|(e, ..)| e.id)
            .collect();
        Ok((new, void))
    }

    /// Hands the messages to the service, and requests of privacy to its holder, all in their order.
    async fn handle(&self, tx: &mut Tx, envelopes: &[Envelope]) -> Result<(), Error> {
        let Some(holder) = &self.holder else {
            return self.stage.handler.handle(tx, envelopes).await;
        };
        for run in envelopes.chunk_by(|a, b| a.is::<PrivacyRequested>() == b.is::<PrivacyRequested>()) {
            if !run[0].is::<PrivacyRequested>() {
                self.stage.handler.handle(tx, run).await?;
                continue;
            }
            for envelope in run {
                tx.follow(envelope);
                privacy::take_in(tx, holder, &envelope.tenant, &envelope.decode()?).await?;
            }
        }
        Ok(())
    }

    async fn one_by_one(
        &self,
        envelopes: Vec<Envelope>,
        messages: Vec<Message>,
        stopping: &CancellationToken,
        done: &mut Done,
    ) {
        for (envelope, message) in envelopes.into_iter().zip(messages) {
            let single = std::slice::from_ref(&envelope);
            match self
                .together(single, std::slice::from_ref(&message), stopping)
                .await
            {
                Ok(outgoing) => {
                    done.outgoing.extend(outgoing);
                    done.finished.push(message);
                }
                Err(error) => self.refused(&envelope, message, &error, done).await,
            }
        }
    }

    async fn refused(&self, envelope: &Envelope, message: Message, error: &Error, done: &mut Done) {
        if error.kind().verdict() == Verdict::WaitAndRetry {
            // Stopped while its dependency was away: not its fault, and not an attempt.
            put_back(&message, Duration::ZERO).await;
            return;
        }
        let attempts = message.info().map_or(1, |i| i.delivered);
        let hopeless = error.kind().verdict() == Verdict::DeadLetter || attempts >= self.config.max_attempts;
        if hopeless {
            tracing::error!(
                stage = self.stage.name, event = envelope.name, id = %envelope.id, attempts, detail = error.detail(),
                "a message goes to the dead letters"
            );
            self.set_aside(message, error, done).await;
        } else {
            metrics::counter!("trama_stage_retries_total", "stage" => self.stage.name).increment(1);
            let exponent = u32::try_from(attempts.clamp(1, 10) - 1).unwrap_or(0);
            put_back(
                &message,
                Duration::from_millis(self.config.backoff_ms) * 2_u32.pow(exponent),
            )
            .await;
        }
    }

    async fn set_aside(&self, message: Message, error: &Error, done: &mut Done) {
        match DeadLetters::new(self.bus.clone())
            .add(self.stage.name, &message, error)
            .await
        {
            Ok(()) => done.finished.push(message),
            Err(failure) => {
                tracing::warn!(
                    stage = self.stage.name,
                    detail = failure.detail(),
                    "cannot reach the dead letters; trying again"
                );
                put_back(&message, Duration::from_secs(1)).await;
            }
        }
    }
}

/// Reads subject and headers: `<prefix>.<stream>.<name>.<tenant>.<partition>`.
pub(super) fn envelope(message: &Message) -> Result<Envelope, Error> {
    let subject = message.subject.as_str();
    let mut words = subject.rsplit('.');
    let (_partition, tenant, name) = (words.next(), words.next(), words.next());
    let (Some(tenant), Some(name)) = (tenant, name) else {
        return Err(Error::invalid("subject", "has too few words"));
    };
    let tenant: TenantId = tenant.parse()?;
    let headers = message.headers.as_ref();
    let header = |name: &str| headers.and_then(|h| h.get(name)).map(|v| v.as_str());
    let id = header(ID_HEADER)
        .or_else(|| {
            headers
                .and_then(|h| h.get(async_nats::header::NATS_MESSAGE_ID))
                .map(|v| v.as_str())
        })
        .and_then(|id| Uuid::try_parse(id).ok())
        .ok_or_else(|| Error::invalid("Nats-Msg-Id", "must be a UUID"))?;
    Ok(Envelope {
        id,
        name: name.to_owned(),
        tenant,
        payload: message.payload.clone(),
        trace: header(TRACE_HEADER).map(str::to_owned),
        subject: subject.to_owned(),
    })
}
