//! A span and the RED figures (rate, errors, duration) for every call that comes in.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tower::{Layer, Service};
use tracing::Instrument as _;

use super::follow;
use crate::bus::TRACE_HEADER;

/// Sees calls.
#[derive(Clone, Copy)]
pub(crate) struct SeeLayer;

/// See [`SeeLayer`].
#[derive(Clone)]
pub(crate) struct SeeService<S>(S);

impl<S> Layer<S> for SeeLayer {
    type Service = SeeService<S>;

    fn layer(&self, inner: S) -> SeeService<S> {
        SeeService(inner)
    }
}

impl<S, B, R> Service<http::Request<B>> for SeeService<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        // Only paths of the contract become labels: what strangers send must not.
        let method = METHODS.with_path(request.uri().path());
        let span = tracing::info_span!("rpc", otel.name = method, otel.kind = "server");
        follow(
            &span,
            request.headers().get(TRACE_HEADER).and_then(|t| t.to_str().ok()),
        );
        let began = Instant::now();
        let call = self.0.call(request).instrument(span);
        Box::pin(async move {
            let response = call.await?;
            // A refusal has its status in the headers; a success in the trailers, which are not here yet.
            let code = response
                .headers()
                .get("grpc-status")
                .and_then(|c| c.to_str().ok())
                .map_or("0", known_code);
            metrics::counter!("trama_rpc_calls_total", "method" => method, "code" => code).increment(1);
            metrics::histogram!("trama_rpc_seconds", "method" => method)
                .record(began.elapsed().as_secs_f64());
            Ok(response)
        })
    }
}

fn known_code(code: &str) -> &'static str {
    const CODES: [&str; 17] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
    ];
    CODES.iter().find(|known| **known == code).copied().unwrap_or("2")
}

struct Methods(std::sync::LazyLock<std::collections::HashSet<&'static str>>);

/// Paths of the contract, leaked once so that they can be labels.
static METHODS: Methods = Methods(std::sync::LazyLock::new(|| {
    trama_proto::method_scopes()
        .into_keys()
        .map(|path| &*path.leak())
        .collect()
}));

impl Methods {
    fn with_path(&self, path: &str) -> &'static str {
        self.0.get(path).copied().unwrap_or("other")
    }
}

/// The same for HTTP doors, by the route that matched.
pub(crate) async fn see_http(
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> axum::response::Response {
    let route = request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map_or_else(|| "other".to_owned(), |m| m.as_str().to_owned());
    let span = tracing::info_span!("http", otel.name = %route, otel.kind = "server");
    let began = Instant::now();
    let response = next.run(request).instrument(span).await;
    let status = response.status().as_u16() / 100;
    let class = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"]
        .get(usize::from(status))
        .copied()
        .unwrap_or("other");
    metrics::counter!("trama_http_requests_total", "route" => route.clone(), "status" => class).increment(1);
    metrics::histogram!("trama_http_seconds", "route" => route).record(began.elapsed().as_secs_f64());
    response
}
