//! One reflector per kind and namespace.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    core::{ApiResource, DeserializeGuard},
    runtime::{
        WatchStreamExt as _,
        reflector::{self, Store},
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Map, Value};
use tokio::sync::watch;
use trama_platform::{Clock, Error, Kind, Lifecycle};
use trama_proto::resources::{API_VERSION, KINDS, KindName};

use crate::{Pace, backoff::Backoff, heard::Heard};

/// An object as far as a watch must understand it. One that is not even that (no spec, stored before the schema asked
/// for one) is kept apart by the guard; without it a single one would hide all others of its kind.
pub(crate) type Object = DeserializeGuard<kube::core::Object<Map<String, Value>, Value>>;

/// Seconds after which the server ends a watch and we begin another; five more and we take the line for dead.
const WATCH_SECONDS: u32 = 120;

/// A watch that has not failed for so long is taken for mended: a quiet one that goes on where it was cut does not say so.
const FAILS: TimeDelta = TimeDelta::minutes(1);

/// What is watched of one kind.
pub(crate) struct Watched {
    pub(crate) name: KindName,
    pub(crate) resource: ApiResource,
    store: Store<Object>,
}

/// All watches of this process.
pub(crate) struct Watches {
    all: Vec<Watched>,
    /// Watches that have not listed yet.
    pending: watch::Sender<usize>,
    touched: watch::Sender<u64>,
    last_error: Mutex<Option<String>>,
    /// Watches that fail, how, and when they did so last.
    failing: Mutex<BTreeMap<String, (u16, DateTime<Utc>)>>,
    clock: Clock,
}

impl Watches {
    /// Starts watching; no namespaces are all of them.
    pub(crate) fn start(
        client: &Client,
        namespaces: &[String],
        pace: &Pace,
        heard: &Heard,
        clock: &Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, Error> {
        let (group, version) = API_VERSION
            .split_once('/')
            .ok_or_else(|| Error::new(Kind::Internal, "apiVersion is group/version".to_owned()))?;
        metrics::counter!("trama_resources_watch_errors_total").increment(0);
        let mut all = Vec::new();
        let mut streams = Vec::new();
        for name in KINDS {
            let resource = ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: API_VERSION.to_owned(),
                kind: name.kind.to_owned(),
                plural: name.plural.to_owned(),
            };
            let apis: Vec<Api<Object>> = if namespaces.is_empty() {
                vec![Api::all_with(client.clone(), &resource)]
            } else {
                let of = |namespace: &String| Api::namespaced_with(client.clone(), namespace, &resource);
                namespaces.iter().map(of).collect()
            };
            for api in apis {
                heard.expect(api.resource_url());
                let writer = reflector::store::Writer::new(resource.clone());
                all.push(Watched {
                    name,
                    resource: resource.clone(),
                    store: writer.as_reader(),
                });
                streams.push((api, writer));
            }
        }
        let watches = Arc::new(Self {
            pending: watch::Sender::new(all.len()),
            touched: watch::Sender::new(0),
            last_error: Mutex::default(),
            failing: Mutex::default(),
            clock: clock.clone(),
            all,
        });
        for (api, writer) in streams {
            let (watches, stopping) = (Arc::clone(&watches), lifecycle.stopping());
            let backoff = Backoff::new(pace.first_backoff, pace.longest_backoff);
            lifecycle.spawn("resources-watch", async move {
                tokio::select! {
                    () = stopping.cancelled() => Ok(()),
                    ended = watches.follow(api, writer, backoff) => ended,
                }
            });
        }
        Ok(watches)
    }

    /// Whether every watch has listed: only then is what we hold whole.
    pub(crate) fn are_listed(&self) -> bool {
        *self.pending.borrow() == 0
    }

    /// Resolves when it is so.
    pub(crate) async fn listed(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    /// Counts changes.
    pub(crate) fn touched(&self) -> watch::Receiver<u64> {
        self.touched.subscribe()
    }

    /// All objects, each with what is known of its kind.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (&Watched, Arc<Object>)> {
        let of = |watched: &Watched| watched.store.state();
        self.all
            .iter()
            .flat_map(move |watched| of(watched).into_iter().map(move |object| (watched, object)))
    }

    /// What went wrong last, for whoever waits in vain.
    pub(crate) fn last_error(&self) -> Option<String> {
        let last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    async fn follow(
        &self,
        api: Api<Object>,
        writer: reflector::store::Writer<Object>,
        mut backoff: Backoff,
    ) -> Result<(), Error> {
        let path = api.resource_url().to_owned();
        let config = watcher::Config::default().timeout(WATCH_SECONDS);
        let events = watcher(api, config)
            // Who set which field when is half of an object and nothing to us.
            .modify(|object| object.managed_fields_mut().clear())
            .reflect(writer);
        let mut events = pin!(events);
        let mut listed = false;
        while let Some(event) = events.next().await {
            match event {
                // Says that a list is tried, and what is on its pages; the store swaps when all of it is there.
                Ok(Event::Init | Event::InitApply(_)) => {}
                Ok(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                    if backoff.succeeded() && self.answered(&path) {
                        tracing::info!("the API server answers again");
                    }
                    if !listed {
                        listed = true;
                        self.pending.send_modify(|pending| *pending -= 1);
                    }
                    self.touched.send_modify(|count| *count += 1);
                }
                Err(error) => {
                    metrics::counter!("trama_resources_watch_errors_total").increment(1);
                    let pause = backoff.after_failure(random(&self.clock));
                    self.failed(&path, &error);
                    tokio::time::sleep(pause).await;
                }
            }
        }
        Err(Error::new(Kind::Internal, format!("the watch of {path} ended")))
    }

    /// A warning when there is something new to say. An outage is one, whatever the number of watches, and so is that we
    /// are not known; what follows an outage may be worse and is another; that changes were missed and all is listed again
    /// is none.
    fn failed(&self, path: &str, error: &watcher::Error) {
        let text = format!("{path}: {}", hint(error));
        let (code, now) = (code(error), self.clock.now());
        // What is about one kind and namespace, and what is about the server.
        let (reason, is_own) = match code {
            401 => (401, false),
            403 | 404 => (code, true),
            _ => (0, false),
        };
        let is_news = code != 410 && {
            let mut failing = self.failing();
            failing.retain(|_, (_, at)| now - *at < FAILS);
            let known =
                |(of, (why, _)): (&String, &(u16, DateTime<Utc>))| *why == reason && (!is_own || of == path);
            let is_known = failing.iter().any(known);
            failing.insert(path.to_owned(), (reason, now));
            !is_known
        };
        if is_news {
            tracing::warn!(problem = text, "a watch failed; the resources in force stay");
        } else {
            tracing::debug!(problem = text, "a watch failed again");
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Whether it was the last that failed.
    fn answered(&self, path: &str) -> bool {
        let mut failing = self.failing();
        failing.remove(path).is_some() && failing.is_empty()
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<String, (u16, DateTime<Utc>)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Where an object comes from: `acme/queues/care`.
    pub(crate) fn origin(&self, object: &Object) -> String {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        format!("{namespace}/{}/{}", self.name.plural, object.name_any())
    }
}

/// From 0 to 1, of the random end of a fresh id.
fn random(clock: &Clock) -> f64 {
    let [.., a, b, c, d] = clock.new_id().into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// What the API server answered; 0 when it did not.
fn code(error: &watcher::Error) -> u16 {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        WatchError(status) => status.code,
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.code,
        _ => 0,
    }
}

/// An error in words, with the fix where we know it.
fn hint(error: &watcher::Error) -> String {
    match code(error) {
        401 => "we are not known there: is the token of the ServiceAccount mounted?".to_owned(),
        403 => "we may not list and watch it: see the Roles of the chart".to_owned(),
        404 => "the kind is not known there: install or upgrade the chart trama-crds".to_owned(),
        _ => format!("{error}: {}", sources(error)),
    }
}

fn sources(error: &dyn std::error::Error) -> String {
    let below = std::iter::successors(error.source(), |e| e.source());
    below.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
