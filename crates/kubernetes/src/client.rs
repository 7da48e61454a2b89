//! The way to the API server.

use std::time::Duration;

use kube::{Client, client::ClientBuilder};
use trama_platform::{Error, Kind, config::KubernetesConfig};

use crate::heard::Heard;

/// How fast we try, wait and give up.
#[derive(Debug, Clone)]
pub struct Pace {
    /// What is applied together comes by several watches: so long we wait for the others before we read.
    pub settle: Duration,
    /// Pause after the first failure.
    pub first_backoff: Duration,
    /// Longest pause.
    pub longest_backoff: Duration,
    /// Longest wait for the first lists.
    pub start_timeout: Duration,
    /// Longest wait for an answer, watches aside.
    pub request_timeout: Duration,
}

impl Pace {
    /// As configured.
    pub const fn new(config: &KubernetesConfig) -> Self {
        Self {
            settle: Duration::from_millis(100),
            first_backoff: Duration::from_millis(200),
            longest_backoff: Duration::from_secs(config.max_backoff_seconds),
            start_timeout: Duration::from_secs(config.start_timeout_seconds),
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// A client whose answers are noted.
pub(crate) fn connect(mut api: kube::Config, pace: &Pace, heard: &Heard) -> Result<Client, Error> {
    // Retries are ours: kube's own would add their pauses to the cap.
    api.default_retry = false;
    api.connect_timeout = Some(pace.request_timeout);
    let builder = ClientBuilder::try_from(api).map_err(|error| {
        Error::new(
            Kind::Precondition,
            format!("no client for the API server: {error}"),
        )
    })?;
    Ok(builder.with_layer(heard).build())
}
