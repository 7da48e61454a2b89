//! One writer of status among all processes: the holder of a `coordination.k8s.io` Lease.
//!
//! As client-go does it: a lease is taken when its record has not changed for as long as it says it holds, by our own
//! watch; the clocks of two machines are never compared. The holder stops believing in its lease some seconds before
//! the others do.

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::{
    api::coordination::v1::{Lease as Record, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};

use crate::Pace;

/// Seconds after which the others may take an unrenewed lease.
const HOLDS_SECONDS: i32 = 15;

/// For how long after a renewal the holder acts on it.
const BELIEVED: TimeDelta = TimeDelta::seconds(10);

/// How often the holder renews and the others look.
pub(crate) const BEAT: TimeDelta = TimeDelta::seconds(4);

/// Our part in it.
pub(crate) struct Lease {
    api: Api<Record>,
    name: String,
    /// Who we are: no two processes are the same.
    identity: String,
    pace: Pace,
    /// The record as we saw it, and since when.
    seen: Option<(LeaseSpec, DateTime<Utc>)>,
    held_until: Option<DateTime<Utc>>,
    /// Why the last attempt failed, so that an outage is one warning, and what comes after it another.
    problem: Option<String>,
}

impl Lease {
    pub(crate) fn new(api: Api<Record>, name: &str, identity: String, pace: &Pace) -> Self {
        Self {
            api,
            name: name.to_owned(),
            identity,
            pace: pace.clone(),
            seen: None,
            held_until: None,
            problem: None,
        }
    }

    /// Whether we may write.
    pub(crate) fn is_held(&self, now: DateTime<Utc>) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Renews it, or takes it if it is free.
    pub(crate) async fn renew(&mut self, now: DateTime<Utc>) {
        let held_before = self.is_held(now);
        let renewed = tokio::time::timeout(self.pace.request_timeout, self.try_renew(now)).await;
        let problem = match renewed {
            Ok(Ok(won)) => {
                self.held_until = won.then(|| now + BELIEVED);
                None
            }
            // Whether we hold it is not known; it runs out by itself.
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer".to_owned()),
        };
        if let Some(problem) = problem.as_ref().filter(|_| problem != self.problem) {
            let lease = &self.name;
            tracing::warn!(
                lease,
                problem,
                "the lease cannot be had; while nobody has it, no status is written"
            );
        }
        self.problem = problem;
        let held = self.is_held(now);
        if held != held_before {
            let message = if held {
                "we write status now"
            } else {
                "others write status now"
            };
            tracing::info!(lease = self.name, identity = self.identity, "{message}");
        }
        metrics::gauge!("trama_resources_lease_held").set(f64::from(u8::from(held)));
    }

    /// Lets go of it, so that the others need not wait.
    pub(crate) async fn release(&mut self, now: DateTime<Utc>) {
        if !self.is_held(now) {
            return;
        }
        self.held_until = None;
        let released = async {
            let mut record = self.api.get(&self.name).await?;
            let spec = record.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = None;
            self.api
                .replace(&self.name, &PostParams::default(), &record)
                .await
                .map(|_| ())
        };
        match tokio::time::timeout(self.pace.request_timeout, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease was not released; it runs out by itself"),
            Err(_) => tracing::debug!("the lease was not released; it runs out by itself"),
        }
    }

    async fn try_renew(&mut self, now: DateTime<Utc>) -> kube::Result<bool> {
        let Some(mut record) = self.api.get_opt(&self.name).await? else {
            let record = Record {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.taken(&LeaseSpec::default(), now)),
            };
            return won(self.api.create(&PostParams::default(), &record).await);
        };
        let spec = record.spec.unwrap_or_default();
        if !self.is_free(&spec, now) {
            return Ok(false);
        }
        // With the version that we read: who comes second is refused.
        record.spec = Some(self.taken(&spec, now));
        won(self
            .api
            .replace(&self.name, &PostParams::default(), &record)
            .await)
    }

    fn is_free(&mut self, spec: &LeaseSpec, now: DateTime<Utc>) -> bool {
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), now));
                now
            }
        };
        let holds = TimeDelta::seconds(spec.lease_duration_seconds.unwrap_or(HOLDS_SECONDS).into());
        match spec.holder_identity.as_deref() {
            None | Some("") => true,
            Some(holder) => holder == self.identity || now >= since + holds,
        }
    }

    fn taken(&self, before: &LeaseSpec, now: DateTime<Utc>) -> LeaseSpec {
        let now =
            MicroTime(Timestamp::from_microsecond(now.timestamp_micros()).unwrap_or(Timestamp::UNIX_EPOCH));
        let ours_already = before.holder_identity.as_ref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(HOLDS_SECONDS),
            renew_time: Some(now.clone()),
            acquire_time: before.acquire_time.clone().filter(|_| ours_already).or(Some(now)),
            lease_transitions: Some(transitions + i32::from(!ours_already)),
            ..LeaseSpec::default()
        }
    }
}

/// Who was overtaken has not won, and that is no error.
fn won<T>(answer: kube::Result<T>) -> kube::Result<bool> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
