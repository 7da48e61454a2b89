//! Questions to other services: the same client whether they are in this process or far away.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tonic::{body::Body, metadata::MetadataValue, transport::Channel};
use tower::{Service, ServiceExt as _};
use trama_proto::ids::TenantId;

use crate::{
    Error,
    auth::{AuthLayer, Authenticator},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How services reach each other.
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    remotes: BTreeMap<String, String>,
    service_key: Option<String>,
    authenticator: Authenticator,
    local: OnceLock<axum::Router>,
}

/// What generated clients are built over.
#[derive(Clone)]
pub struct ServiceChannel(Target);

#[derive(Clone)]
enum Target {
    Local(Clients),
    Remote(Channel),
}

impl Clients {
    pub(crate) fn new(
        remotes: BTreeMap<String, String>,
        service_key: Option<String>,
        authenticator: Authenticator,
    ) -> Self {
        Self(Arc::new(Inner {
            remotes,
            service_key,
            authenticator,
            local: OnceLock::new(),
        }))
    }

    /// The services of this process, once they are built.
    pub(crate) fn set_local(&self, router: axum::Router) {
        let _ = self
            .0
            .local
            .set(router.layer(AuthLayer::new(self.0.authenticator.clone())));
    }

    /// A channel to a service.
    ///
    /// # Errors
    /// When its configured address is no URL.
    pub fn channel(&self, service: &str) -> Result<ServiceChannel, Error> {
        match self.0.remotes.get(service) {
            None => Ok(ServiceChannel(Target::Local(self.clone()))),
            Some(address) => {
                let endpoint = Channel::from_shared(address.clone())
                    .map_err(|e| Error::invalid(format!("remotes.{service}"), e.to_string()))?
                    .connect_timeout(std::time::Duration::from_secs(3))
                    .timeout(std::time::Duration::from_secs(10));
                Ok(ServiceChannel(Target::Remote(endpoint.connect_lazy())))
            }
        }
    }

    /// A request on behalf of a tenant, with this process's own credential and the current trace.
    pub fn request<T>(&self, tenant: &TenantId, service: &str, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let token = if self.0.remotes.contains_key(service) {
            self.0.service_key.as_deref().unwrap_or_default()
        } else {
            self.0.authenticator.internal_token()
        };
        let metadata = request.metadata_mut();
        if let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) {
            metadata.insert("authorization", value);
        }
        if let Ok(value) = MetadataValue::try_from(tenant.as_str()) {
            metadata.insert("trama-tenant", value);
        }
        if let Some(value) = crate::telemetry::current_trace().and_then(|t| MetadataValue::try_from(t).ok()) {
            metadata.insert(crate::bus::TRACE_HEADER, value);
        }
        request
    }
}

impl Service<http::Request<Body>> for ServiceChannel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<http::Response<Body>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.0 {
            Target::Local(_) => Poll::Ready(Ok(())),
            Target::Remote(channel) => channel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match &mut self.0 {
            Target::Local(clients) => {
                let router = clients.0.local.get().cloned();
                Box::pin(async move {
                    let router = router.ok_or("the services of this process are not built yet")?;
                    let response = router.oneshot(request.map(axum::body::Body::new)).await?;
                    Ok(response.map(Body::new))
                })
            }
            Target::Remote(channel) => {
                let call = channel.call(request);
                Box::pin(async move { Ok(call.await?) })
            }
        }
    }
}
