//! Resources from a cluster: the second [`Source`] beside the folder.
//!
//! One reflector per kind and namespace holds what the API server says ([`watch`]); all of them together are read as
//! one list of documents, validated by the same code as a folder's, and swapped as one snapshot. What was valid is kept
//! on disk ([`snapshot`]), so that a container that restarts while the API server is away serves on. One process of all
//! ([`lease`]) tells the authors what became of their resources ([`status`], [`keeper`]).
//!
//! See `docs/adr/0019-resources-from-the-cluster.md`.

mod backoff;
mod client;
mod heard;
mod keeper;
mod lease;
mod snapshot;
mod source;
mod status;
mod watch;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use trama_platform::{Clock, Error, Kind, Lifecycle, config::KubernetesConfig, resources::Source};

pub use client::Pace;
pub use source::Cluster;

/// Opens the cluster that we run in, or that the kubeconfig names. For `trama_platform::Options::cluster`.
pub fn open(
    config: KubernetesConfig,
    clock: Clock,
    lifecycle: Lifecycle,
) -> BoxFuture<'static, Result<Arc<dyn Source>, Error>> {
    async move {
        let api = kube::Config::infer().await.map_err(|error| {
            Error::new(
                Kind::Precondition,
                format!("resources.kubernetes is enabled, but there is no way to an API server: {error}"),
            )
        })?;
        let pace = Pace::new(&config);
        let cluster = Cluster::connect(api, &config, &pace, clock, &lifecycle).await?;
        Ok(Arc::new(cluster) as Arc<dyn Source>)
    }
    .boxed()
}
