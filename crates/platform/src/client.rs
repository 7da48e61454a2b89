//! Questions to other services: the same client whether they are in this process or far away.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::{
    body::Body,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tower::{Service, ServiceExt as _};
use trama_proto::ids::TenantId;

use crate::{
    Error, Kind,
    audit::Trail,
    auth::{AuthLayer, Authenticator},
    config::{Config, RemoteTls},
    lifecycle::Lifecycle,
    limits::Limits,
    tls,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How services reach each other.
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    remotes: BTreeMap<String, String>,
    tls: Option<Arc<tls::Client>>,
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
        config: &Config,
        authenticator: Authenticator,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Error> {
        let secure = config
            .remotes
            .values()
            .any(|address| address.starts_with("https://"));
        let tls = secure.then(|| tls::Client::of(&config.remote_tls)).transpose()?;
        if let Some(client) = &tls {
            client.watch("remotes", lifecycle);
        }
        Ok(Self(Arc::new(Inner {
            remotes: config.remotes.clone(),
            tls,
            service_key: config.auth.service_key.clone(),
            authenticator,
            local: OnceLock::new(),
        })))
    }

    /// The services of this process, once they are built.
    pub(crate) fn set_local(&self, router: axum::Router, trail: Trail, limits: Limits) {
        let _ = self
            .0
            .local
            .set(router.layer(AuthLayer::new(self.0.authenticator.clone(), trail, limits)));
    }

    /// A channel to a service.
    ///
    /// # Errors
    /// When its configured address is no URL.
    pub fn channel(&self, service: &str) -> Result<ServiceChannel, Error> {
        match self.0.remotes.get(service) {
            None => Ok(ServiceChannel(Target::Local(self.clone()))),
            Some(address) => {
                let bad = |e: Error| Error::invalid(format!("remotes.{service}"), e.to_string());
                let channel = match &self.0.tls {
                    Some(tls) if address.starts_with("https://") => {
                        secure_channel(address, Arc::clone(tls)).map_err(bad)?
                    }
                    _ => endpoint(address).map_err(bad)?.connect_lazy(),
                };
                Ok(ServiceChannel(Target::Remote(channel)))
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

/// A channel to somebody's gRPC door for a client that is no service: with TLS where the address says `https://`.
///
/// # Errors
/// When the address is no URL, or a file makes no sense.
pub fn channel_to(address: &str, tls: &RemoteTls) -> Result<Channel, Error> {
    if address.starts_with("https://") {
        secure_channel(address, tls::Client::of(tls)?)
    } else {
        Ok(endpoint(address)?.connect_lazy())
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint =
        Channel::from_shared(address.to_owned()).map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
    Ok(endpoint
        .connect_timeout(std::time::Duration::from_secs(3))
        .timeout(std::time::Duration::from_secs(10)))
}

/// A channel over a connector of our own, which shakes hands with the certificates of the moment; tonic's would keep the
/// first ones.
pub(crate) fn secure_channel(address: &str, tls: Arc<tls::Client>) -> Result<Channel, Error> {
    let origin: http::Uri = address
        .parse()
        .map_err(|_| Error::new(Kind::Invalid, "is no URL"))?;
    let plain = address.replacen("https://", "http://", 1);
    Ok(endpoint(&plain)?
        .origin(origin)
        .connect_with_connector_lazy(secure(tls)))
}

/// Connects and shakes hands.
fn secure(
    tls: Arc<tls::Client>,
) -> impl Service<http::Uri, Response = Secured, Error = std::io::Error, Future = Connecting> + Send + 'static
{
    tower::service_fn(move |uri: http::Uri| -> Connecting {
        let connector = tls.connector();
        Box::pin(async move {
            let refused = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, why.to_owned());
            let host = uri.host().ok_or_else(|| refused("no host"))?;
            let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let stream = TcpStream::connect((bare.as_str(), uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(bare).map_err(|_| refused("no name for a certificate"))?;
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    })
}

type Secured = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
type Connecting = BoxFuture<'static, Result<Secured, std::io::Error>>;

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
