//! A replica: what a process does with the source.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::DateTime;
use trama_kubernetes::{Cluster, Pace};
use trama_platform::{
    Clock, Error, Lifecycle,
    config::KubernetesConfig,
    resources::{ResourceStore, Source},
};
use trama_proto::resources::{QueueSpec, Resources};

use crate::{PATIENCE, api_server::ApiServer};

pub struct Replica {
    pub cluster: Arc<Cluster>,
    pub resources: ResourceStore,
    pub lifecycle: Lifecycle,
}

/// How a replica is started.
#[derive(Clone)]
pub struct Setup {
    pub name: &'static str,
    pub clock: Clock,
    pub config: KubernetesConfig,
    pub pace: Pace,
}

pub fn clock() -> Clock {
    Clock::manual(DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000))
}

/// A folder that does not exist yet.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("trama-kubernetes-{}", Clock::system().new_id()))
}

impl Setup {
    pub fn new(name: &'static str, clock: &Clock) -> Self {
        let config = KubernetesConfig {
            enabled: true,
            namespaces: vec!["acme".into()],
            ..KubernetesConfig::default()
        };
        let pace = Pace {
            settle: Duration::from_millis(1),
            first_backoff: Duration::from_millis(1),
            longest_backoff: Duration::from_millis(5),
            start_timeout: PATIENCE,
            request_timeout: PATIENCE,
        };
        Self {
            name,
            clock: clock.clone(),
            config,
            pace,
        }
    }

    pub async fn start(&self, api: &ApiServer) -> Result<Replica, Error> {
        trama_platform::install_crypto();
        let lifecycle = Lifecycle::default();
        let mut way = kube::Config::new(
            format!("http://{}", api.address)
                .parse()
                .expect("an address is a URL"),
        );
        way.default_namespace = "contact".into();
        way.headers.push((
            "x-replica".parse().expect("a header"),
            self.name.parse().expect("a value"),
        ));
        let cluster = Cluster::connect(way, &self.config, &self.pace, self.clock.clone(), &lifecycle).await;
        let cluster = Arc::new(cluster.inspect_err(|_| lifecycle.stop())?);
        let resources = ResourceStore::start(Some(Arc::clone(&cluster) as Arc<dyn Source>), &lifecycle)?;
        Ok(Replica {
            cluster,
            resources,
            lifecycle,
        })
    }
}

impl Replica {
    /// Waits until the resources in force are so.
    pub async fn until(&self, what: &str, holds: impl Fn(&Resources) -> bool) {
        let mut resources = self.resources.watch();
        let waited = tokio::time::timeout(PATIENCE, resources.wait_for(|now| holds(now)));
        assert!(
            waited.await.is_ok_and(|seen| seen.is_ok()),
            "in vain: {what}\n{:#?}",
            self.resources.snapshot()
        );
    }

    pub async fn stop(self) {
        self.lifecycle.stop();
        assert!(self.lifecycle.finished(PATIENCE).await);
        assert!(!self.lifecycle.failed());
    }
}

/// The queues of acme with their targets, such as `care 60`.
pub fn queues(resources: &Resources) -> Vec<String> {
    let tenant = "acme".parse().expect("a tenant");
    let queues = resources
        .tenant(&tenant)
        .map(|t| t.queues.clone())
        .unwrap_or_default();
    let target = |(name, queue): (&String, &Arc<QueueSpec>)| {
        let spec = serde_json::to_value(&**queue).expect("specs are JSON");
        format!("{name} {}", spec["serviceLevel"]["targetSeconds"])
    };
    queues.iter().map(target).collect()
}

/// The spec of a queue.
pub fn queue(seconds: i64) -> serde_json::Value {
    serde_json::json!({"serviceLevel": {"targetSeconds": seconds, "goal": 0.8}})
}
