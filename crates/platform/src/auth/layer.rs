//! The one place where a gRPC call is let in: credential → principal → scope of the method from the descriptors.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use super::Authenticator;
use crate::{Error, Kind};

/// Methods that need no credential: whether we live, and what we speak.
const OPEN: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// Lets calls in.
#[derive(Clone)]
pub struct AuthLayer {
    authenticator: Authenticator,
    scopes: Arc<HashMap<String, String>>,
}

impl AuthLayer {
    /// With the scopes of the contract.
    pub fn new(authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            scopes: Arc::new(trama_proto::method_scopes()),
        }
    }

    fn check<B>(&self, request: &mut http::Request<B>) -> Result<(), Error> {
        let path = request.uri().path();
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Ok(());
        }
        let principal = self.authenticator.authenticate(request.headers())?;
        let Some(scope) = self.scopes.get(path) else {
            return Err(Error::new(
                Kind::Denied,
                "this method declares no scope and cannot be called",
            ));
        };
        if !principal.may(scope) {
            return Err(Error::new(Kind::Denied, format!("scope `{scope}` is needed")));
        }
        request.extensions_mut().insert(principal);
        Ok(())
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
    S: Service<http::Request<B>, Response = http::Response<R>> + Send + 'static,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        match self.layer.check(&mut request) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(error) => {
                metrics::counter!("trama_rpc_refused_total").increment(1);
                tracing::debug!(path, reason = %error, "call refused");
                let response = tonic::Status::from(error).into_http::<R>();
                Box::pin(async move { Ok(response) })
            }
        }
    }
}
