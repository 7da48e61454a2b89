//! Configuration as resources: one immutable snapshot, swapped as a whole, and the secrets it names.

mod folder;
mod secrets;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;
use trama_proto::resources::{Document, Problem, Resources};

pub use folder::Folder;
pub use secrets::Secrets;

use crate::{
    Clock, Error, Kind,
    config::{KubernetesConfig, ResourcesConfig},
    lifecycle::Lifecycle,
};

/// Where documents come from: a folder, or a cluster's API server.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// All documents, or why they cannot be read.
    ///
    /// # Errors
    /// When the source cannot be read as a whole; then the last snapshot stays.
    fn read(&self) -> Result<Vec<Document>, Error>;

    /// Resolves when reading again may give something else.
    async fn changed(&self);

    /// Documents that were valid when this process, or the one before it, ran last. What has become invalid since then
    /// stays as it was.
    fn last_good(&self) -> Vec<Document> {
        Vec::new()
    }

    /// What is wrong with the documents that were read last, after every reading. A source that can tell their authors
    /// does.
    fn judged(&self, _problems: &[Problem]) {}
}

/// Opens a cluster as a source. A binary that links `trama-kubernetes` hands it in; the others read folders only.
pub type OpenCluster =
    fn(KubernetesConfig, Clock, Lifecycle) -> BoxFuture<'static, Result<Arc<dyn Source>, Error>>;

/// Where the configuration says that resources come from.
pub(crate) async fn source(
    config: &ResourcesConfig,
    cluster: Option<OpenCluster>,
    clock: &Clock,
    lifecycle: &Lifecycle,
) -> Result<Option<Arc<dyn Source>>, Error> {
    if !config.kubernetes.enabled {
        return Ok(config.dir.clone().map(|dir| {
            Arc::new(Folder {
                dir,
                variables: config.variables.clone(),
            }) as Arc<dyn Source>
        }));
    }
    let open = cluster.ok_or_else(|| {
        Error::new(
            Kind::Precondition,
            "resources.kubernetes is enabled, but this binary reads folders only".to_owned(),
        )
    })?;
    open(config.kubernetes.clone(), clock.clone(), lifecycle.clone())
        .await
        .map(Some)
}

/// The snapshot in force.
#[derive(Clone)]
pub struct ResourceStore {
    current: Arc<watch::Sender<Arc<Resources>>>,
}

impl ResourceStore {
    /// With documents from a source, watched from now on. What is invalid at the start is left out and reported.
    ///
    /// # Errors
    /// When the source cannot be read at all.
    pub fn start(source: Option<Arc<dyn Source>>, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let store = Self::fixed(Resources::default());
        let Some(source) = source else { return Ok(store) };
        let (last_good, _) = Resources::build(&source.last_good(), &Resources::default());
        store.current.send_replace(Arc::new(last_good));
        let mut seen = source.read()?;
        let mut problems = store.apply(&seen);
        source.judged(&problems);
        let (watched, stopping) = (store.clone(), lifecycle.stopping());
        lifecycle.spawn("resources", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = source.changed() => {}
                }
                match source.read() {
                    Ok(documents) => {
                        if documents != seen {
                            problems = watched.apply(&documents);
                            seen = documents;
                        }
                        source.judged(&problems);
                    }
                    Err(error) => {
                        metrics::counter!("trama_resources_unreadable_total").increment(1);
                        tracing::warn!(
                            detail = error.detail(),
                            "resources cannot be read; the last good ones stay"
                        );
                    }
                }
            }
        });
        Ok(store)
    }

    /// With fixed resources, for tests.
    pub fn fixed(resources: Resources) -> Self {
        Self {
            current: Arc::new(watch::Sender::new(Arc::new(resources))),
        }
    }

    /// Validates and swaps.
    pub fn apply(&self, documents: &[Document]) -> Vec<Problem> {
        let (next, problems) = Resources::build(documents, &self.snapshot());
        for problem in &problems {
            tracing::error!(
                origin = problem.origin,
                resource = problem.resource,
                problem = problem.message,
                "a resource is not as it should be"
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!("trama_resources_invalid").set(problems.len() as f64);
        self.current.send_replace(Arc::new(next));
        problems
    }

    /// The resources in force now. Hold it for the whole of a decision.
    pub fn snapshot(&self) -> Arc<Resources> {
        Arc::clone(&self.current.borrow())
    }

    /// The resources in force, for whoever waits for the next.
    pub fn watch(&self) -> watch::Receiver<Arc<Resources>> {
        self.current.subscribe()
    }
}
