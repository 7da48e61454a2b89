//! Tells authors what became of their resources, as long as we hold the lease.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trama_platform::{Clock, Error, Lifecycle};

use crate::{
    Pace,
    heard::Heard,
    lease::{BEAT, Lease},
    status::{Status, Verdict},
    watch::{Object, Watched, Watches},
};

/// One for all replicas, so that the next holder of the lease continues what the last one began.
const FIELD_MANAGER: &str = "trama";

/// What was found, by origin.
pub(crate) type Verdicts = Arc<BTreeMap<String, Verdict>>;

pub(crate) struct Keeper {
    pub(crate) client: Client,
    pub(crate) watches: Arc<Watches>,
    pub(crate) heard: Heard,
    pub(crate) lease: Lease,
    pub(crate) verdicts: watch::Receiver<Verdicts>,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
}

/// The version of an object that we have written to, and what.
struct Written {
    version: Option<String>,
    status: Option<Status>,
}

enum Outcome {
    Written,
    /// Somebody else was faster; the watch brings what it is now.
    Conflict,
    Failed(String),
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Failed(_) => "failed",
        }
    }
}

impl Keeper {
    pub(crate) fn start(self, lifecycle: &Lifecycle) {
        for outcome in ["written", "conflict", "failed"] {
            count(outcome, 0);
        }
        lifecycle.spawn("resources-status", self.run(lifecycle.stopping()));
    }

    async fn run(mut self, stopping: CancellationToken) -> Result<(), Error> {
        let mut touched = self.watches.touched();
        let mut written = BTreeMap::new();
        let mut beat_at = self.clock.now();
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.clock.sleep_until(beat_at) => {
                    let now = self.clock.now();
                    beat_at = now + BEAT;
                    self.lease.renew(now).await;
                }
                Ok(()) = self.verdicts.changed() => {}
                Ok(()) = touched.changed() => {}
            }
            metrics::gauge!("trama_resources_watch_age_seconds").set(self.heard.age().as_seconds_f64());
            tokio::select! {
                () = stopping.cancelled() => break,
                () = self.write(&mut written, beat_at) => {}
            }
        }
        self.lease.release(self.clock.now()).await;
        Ok(())
    }

    /// Writes every status that is not what it should be, until the lease wants to be renewed.
    async fn write(&mut self, written: &mut BTreeMap<String, Written>, until: DateTime<Utc>) {
        let verdicts = Arc::clone(&self.verdicts.borrow_and_update());
        written.retain(|origin, _| verdicts.contains_key(origin));
        let mut failures: Vec<String> = Vec::new();
        for (watched, object) in self.watches.objects() {
            let now = self.clock.now();
            if now >= until || !self.lease.is_held(now) {
                break;
            }
            let origin = watched.origin(&object);
            let Some(verdict) = verdicts.get(&origin) else {
                continue;
            };
            // A newer generation is read soon; then there is a newer verdict.
            if verdict.generation != object.meta().generation {
                continue;
            }
            let before = written.get(&origin);
            let version = object.resource_version();
            if before.is_some_and(|w| w.version == version) {
                continue;
            }
            // Of an object that cannot be read we know only what we wrote.
            let shown = shown(&object).or_else(|| before.and_then(|w| w.status.clone()));
            let status = verdict.status(shown.as_ref(), now);
            if Some(&status) == shown.as_ref() {
                continue;
            }
            let outcome = self.patch(watched, &object, &status).await;
            count(outcome.name(), 1);
            let status = match outcome {
                Outcome::Written => Some(status),
                Outcome::Conflict => shown,
                Outcome::Failed(problem) => {
                    failures.push(format!("{origin}: {problem}"));
                    continue;
                }
            };
            written.insert(origin, Written { version, status });
        }
        if let Some(last) = failures.last() {
            tracing::warn!(
                failures = failures.len(),
                last,
                "statuses were not written; trying again"
            );
        }
    }

    async fn patch(&self, watched: &Watched, object: &Object, status: &Status) -> Outcome {
        let name = object.name_any();
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &watched.resource);
        let patch = Patch::Apply(json!({
            "apiVersion": watched.resource.api_version,
            "kind": watched.resource.kind,
            // With the version that was judged: what has changed since then is judged first.
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": object.resource_version()},
            "status": status,
        }));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patched = api.patch_status(&name, &parameters, &patch);
        match tokio::time::timeout(self.pace.request_timeout, patched).await {
            Ok(Ok(_)) => Outcome::Written,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Outcome::Conflict,
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed("no answer".into()),
        }
    }
}

fn shown(object: &Object) -> Option<Status> {
    let status = object.0.as_ref().ok()?.status.clone()?;
    // One that we do not understand is written anew.
    serde_json::from_value(status).ok()
}

fn count(outcome: &'static str, by: u64) {
    metrics::counter!("trama_resources_status_writes_total", "outcome" => outcome).increment(by);
}
