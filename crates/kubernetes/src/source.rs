//! The reflectors as a source of documents.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use chrono::TimeDelta;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use trama_platform::{Clock, Error, Kind, Lifecycle, config::KubernetesConfig, resources::Source};
use trama_proto::resources::{API_VERSION, Document, Problem};

use crate::{
    Pace, client,
    heard::Heard,
    keeper::{Keeper, Verdicts},
    lease::Lease,
    snapshot,
    status::Verdict,
    watch::{Object, Watched, Watches},
};

/// A cluster as a source of resources.
pub struct Cluster {
    watches: Arc<Watches>,
    heard: Heard,
    /// Tenants of namespaces that are called otherwise.
    tenants: BTreeMap<String, String>,
    /// What was on disk when we started.
    remembered: Vec<Document>,
    memory: Mutex<Memory>,
    touched: tokio::sync::Mutex<watch::Receiver<u64>>,
    verdicts: watch::Sender<Verdicts>,
    /// Nothing as long as nothing was judged.
    good: watch::Sender<Option<Vec<Document>>>,
    pace: Pace,
}

/// Between a reading and its judgement.
#[derive(Default)]
struct Memory {
    /// What was read last, with the generation of each. None: the last good resources are in force.
    read: Option<Vec<(Document, Option<i64>)>>,
    /// The last valid version of each, by origin.
    good: BTreeMap<String, Value>,
}

impl Cluster {
    /// Watches, and waits for the first lists. Without them it starts with the last good resources.
    ///
    /// # Errors
    /// When the API server does not answer and there are no last good resources either.
    pub async fn connect(
        api: kube::Config,
        config: &KubernetesConfig,
        pace: &Pace,
        clock: Clock,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let own_namespace = api.default_namespace.clone();
        let namespaces = match (config.all_namespaces, config.namespaces.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec![own_namespace.clone()],
            (false, false) => config.namespaces.clone(),
        };
        let heard = Heard::new(clock.clone());
        let client = client::connect(api, pace, &heard)?;
        let watches = Watches::start(&client, &namespaces, pace, &heard, &clock, lifecycle)?;
        let touched = watches.touched();

        let remembered = config.snapshot_dir.as_deref().and_then(snapshot::load);
        if tokio::time::timeout(pace.start_timeout, watches.listed())
            .await
            .is_err()
        {
            let problem = watches.last_error().unwrap_or_else(|| "no answer".to_owned());
            if remembered.is_none() {
                return Err(Error::new(
                    Kind::Unavailable,
                    format!(
                        "no resources: the API server has not listed them, and no last good ones are kept: {problem}"
                    ),
                ));
            }
            tracing::warn!(
                problem,
                "the API server has not listed the resources; starting with the last good ones"
            );
        }
        let remembered = remembered.unwrap_or_default();
        let good = remembered
            .iter()
            .map(|d| (d.origin.clone(), d.content.clone()))
            .collect();
        let cluster = Self {
            heard: heard.clone(),
            tenants: config.tenants.clone(),
            memory: Mutex::new(Memory { read: None, good }),
            remembered,
            touched: tokio::sync::Mutex::new(touched),
            verdicts: watch::Sender::default(),
            good: watch::Sender::default(),
            watches: Arc::clone(&watches),
            pace: pace.clone(),
        };
        if let Some(dir) = &config.snapshot_dir {
            snapshot::keep(dir.clone(), cluster.good.subscribe(), lifecycle);
        }
        let leases = Api::namespaced(client.clone(), &own_namespace);
        Keeper {
            lease: Lease::new(leases, &config.lease, identity(&clock), pace),
            verdicts: cluster.verdicts.subscribe(),
            client,
            watches,
            heard,
            clock,
            pace: pace.clone(),
        }
        .start(lifecycle);
        Ok(cluster)
    }

    /// For how long the quietest watch has said nothing.
    pub fn watch_age(&self) -> TimeDelta {
        self.heard.age()
    }

    fn document(&self, watched: &Watched, object: &Object) -> Document {
        let namespace = object.meta().namespace.clone().unwrap_or_default();
        let tenant = self.tenants.get(&namespace).unwrap_or(&namespace);
        // Without a spec it is refused in the words that a folder's would be.
        let spec = object
            .0
            .as_ref()
            .map_or(Value::Null, |o| Value::Object(o.spec.clone()));
        Document {
            origin: watched.origin(object),
            content: json!({
                "apiVersion": API_VERSION,
                "kind": watched.name.kind,
                "metadata": {"name": object.name_any(), "namespace": tenant},
                "spec": spec,
            }),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for Cluster {
    fn read(&self) -> Result<Vec<Document>, Error> {
        let listed = self.watches.are_listed();
        metrics::gauge!("trama_resources_from_snapshot").set(f64::from(u8::from(!listed)));
        if !listed {
            return Ok(self.remembered.clone());
        }
        let mut read: Vec<_> = self
            .watches
            .objects()
            .map(|(watched, object)| (self.document(watched, &object), object.meta().generation))
            .collect();
        // Stores have no order, and what has not changed must look so.
        read.sort_by(|(one, _), (other, _)| one.origin.cmp(&other.origin));
        let documents = read.iter().map(|(document, _)| document.clone()).collect();
        self.memory().read = Some(read);
        Ok(documents)
    }

    async fn changed(&self) {
        let mut touched = self.touched.lock().await;
        if touched.changed().await.is_err() {
            // The watches live as long as we do.
            return std::future::pending().await;
        }
        tokio::time::sleep(self.pace.settle).await;
        touched.mark_unchanged();
    }

    fn last_good(&self) -> Vec<Document> {
        self.remembered.clone()
    }

    fn judged(&self, problems: &[Problem]) {
        let mut memory = self.memory();
        let Memory {
            read: Some(read),
            good,
        } = &mut *memory
        else {
            return;
        };
        let mut verdicts: BTreeMap<String, Verdict> = read
            .iter()
            .map(|(document, generation)| {
                let verdict = Verdict {
                    generation: *generation,
                    problems: Vec::new(),
                };
                (document.origin.clone(), verdict)
            })
            .collect();
        for problem in problems {
            if let Some(verdict) = verdicts.get_mut(&problem.origin) {
                verdict.problems.push(problem.clone());
            }
        }
        let in_force = |(document, _): &(Document, Option<i64>)| {
            let verdict = verdicts.get(&document.origin)?;
            let content = if verdict.is_accepted() {
                document.content.clone()
            } else if verdict.last_good_stays() {
                good.get(&document.origin)?.clone()
            } else {
                return None;
            };
            Some((document.origin.clone(), content))
        };
        let next = read.iter().filter_map(in_force).collect();
        *good = next;
        let documents: Vec<_> = good
            .iter()
            .map(|(origin, content)| Document {
                origin: origin.clone(),
                content: content.clone(),
            })
            .collect();
        drop(memory);
        self.good.send_if_modified(|last| replace(last, Some(documents)));
        self.verdicts
            .send_if_modified(|last| replace(last, Arc::new(verdicts)));
    }
}

/// Whether it was another one.
fn replace<T: PartialEq>(last: &mut T, next: T) -> bool {
    let differs = *last != next;
    *last = next;
    differs
}

/// Who holds the lease, in words that one can look for: the pod, and which life of it.
fn identity(clock: &Clock) -> String {
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "trama".to_owned());
    format!("{pod}_{}", clock.new_id())
}
