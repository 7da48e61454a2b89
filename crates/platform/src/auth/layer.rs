//! The one place where a gRPC call is let in: credential → principal → scope of the method from the descriptors.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use super::{Authenticator, Principal};
use crate::{
    Error, Kind,
    audit::{Tee, Trail},
    limits::Limits,
};

/// Methods that need no credential: whether we live, and what we speak.
const OPEN: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// Lets calls in.
#[derive(Clone)]
pub struct AuthLayer {
    authenticator: Authenticator,
    trail: Trail,
    limits: Limits,
    scopes: Arc<HashMap<String, String>>,
}

impl AuthLayer {
    /// With the scopes of the contract.
    pub fn new(authenticator: Authenticator, trail: Trail, limits: Limits) -> Self {
        Self {
            authenticator,
            trail,
            limits,
            scopes: Arc::new(trama_proto::method_scopes()),
        }
    }

    /// Who calls; nobody in particular where no credential is needed.
    fn check<B>(&self, request: &http::Request<B>) -> Result<Option<Principal>, Error> {
        let path = request.uri().path();
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Ok(None);
        }
        let mut principal = self.authenticator.authenticate(request.headers())?;
        let peer = request
            .extensions()
            .get::<TcpConnectInfo>()
            .and_then(TcpConnectInfo::remote_addr);
        if let Some(origin) = self.trail.origins().of(request.headers(), peer.map(|p| p.ip())) {
            principal.origin = origin.to_string();
        }
        let Some(scope) = self.scopes.get(path) else {
            return Err(Error::new(
                Kind::Denied,
                "this method declares no scope and cannot be called",
            ));
        };
        if !principal.may(scope) {
            self.trail.denied(path, &principal);
            return Err(Error::new(Kind::Denied, format!("scope `{scope}` is needed")));
        }
        self.limits.call(&principal)?;
        Ok(Some(principal))
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`AuthLayer`].
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S, B, R> Service<http::Request<B>> for AuthService<S>
where
    S: Service<http::Request<Tee<B>>, Response = http::Response<R>> + Send + 'static,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        match self.layer.check(&request) {
            Ok(principal) => {
                let trail = self.layer.trail.clone();
                let call = principal.as_ref().and_then(|p| trail.follow(&path, p));
                let mut request = request.map(|body| Tee::new(body, call.as_ref()));
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
                let work = self.inner.call(request);
                Box::pin(async move { trail.through(call, work).await })
            }
            Err(error) => {
                let reason = match error.kind() {
                    Kind::Denied => "denied",
                    Kind::Exhausted => "limited",
                    _ => "unauthenticated",
                };
                metrics::counter!("trama_rpc_refused_total", "reason" => reason).increment(1);
                tracing::debug!(path, reason = %error, "call refused");
                let response = tonic::Status::from(error).into_http::<R>();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}
