//! The doors: each verifies, journals, and only then answers.

pub mod chat;
pub mod smtp;
pub mod webhook;

use std::sync::Arc;

use trama_platform::{
    Clock, Error, Kind, Lifecycle,
    resources::{ResourceStore, Secrets},
};
use trama_proto::{
    ids::TenantId,
    resources::{ChannelSpec, SecretRef},
};

use crate::{
    app::{chat::Chat, journal::Journal},
    config::IngestConfig,
    error::no_such_channel,
};

/// What every door needs.
#[derive(Clone)]
pub struct Doors {
    /// Where deliveries go.
    pub journal: Journal,
    /// Chat conversations.
    pub chat: Chat,
    /// Channels.
    pub resources: ResourceStore,
    /// Their secrets.
    pub secrets: Secrets,
    /// Limits.
    pub config: Arc<IngestConfig>,
    /// Time.
    pub clock: Clock,
    /// Tasks and shutdown.
    pub lifecycle: Lifecycle,
}

impl Doors {
    /// A channel's secret. Strangers learn only that the channel is not ready; which secret is missing is for the log.
    fn secret(&self, tenant: &TenantId, secret: &SecretRef) -> Result<Arc<str>, Error> {
        self.secrets
            .get(tenant, secret)
            .map_err(|e| Error::new(Kind::Unavailable, "this channel is not set up yet").because(e))
    }

    /// A channel as a URL names it.
    fn channel(&self, tenant: &str, channel: &str) -> Result<(TenantId, Arc<ChannelSpec>), Error> {
        let tenant: TenantId = tenant.parse().map_err(|_| no_such_channel(channel))?;
        let snapshot = self.resources.snapshot();
        let spec = snapshot
            .tenant(&tenant)
            .and_then(|t| t.channels.get(channel))
            .cloned();
        spec.map(|spec| (tenant, spec))
            .ok_or_else(|| no_such_channel(channel))
    }
}
