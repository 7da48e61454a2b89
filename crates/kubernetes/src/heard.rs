//! When we last heard of each watch.
//!
//! A reflector tells of changes only; a quiet kind looks like a dead one. What the API server says in between
//! (bookmarks, ends of a watch) is seen below `kube`, at the bytes that arrive.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt as _, combinators::MapFrame};
use tower::{Layer, Service};
use trama_platform::Clock;

/// Times by path of what is watched.
#[derive(Clone)]
pub(crate) struct Heard {
    clock: Clock,
    at: Arc<Mutex<BTreeMap<String, DateTime<Utc>>>>,
}

impl Heard {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            at: Arc::default(),
        }
    }

    /// From now on this path counts.
    pub(crate) fn expect(&self, path: &str) {
        let now = self.clock.now();
        self.times().insert(path.to_owned(), now);
    }

    /// For how long the quietest watch has said nothing.
    pub(crate) fn age(&self) -> TimeDelta {
        let now = self.clock.now();
        let oldest = self.times().values().min().copied();
        oldest.map_or(TimeDelta::zero(), |at| now - at)
    }

    fn note(&self, path: &str) {
        let now = self.clock.now();
        if let Some(at) = self.times().get_mut(path) {
            *at = now;
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, DateTime<Utc>>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for Heard {
    type Service = Hearing<S>;

    fn layer(&self, inner: S) -> Hearing<S> {
        Hearing {
            inner,
            heard: self.clone(),
        }
    }
}

/// An HTTP client of which [`Heard`] learns.
pub(crate) struct Hearing<S> {
    inner: S,
    heard: Heard,
}

type Frame = http_body::Frame<Bytes>;
type NotedBody<B> = MapFrame<B, Box<dyn FnMut(Frame) -> Frame + Send>>;

impl<S, Q, B> Service<Request<Q>> for Hearing<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes>,
{
    type Response = Response<NotedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let heard = self.heard.clone();
        let response = self.inner.call(request);
        async move {
            let response = response.await?;
            let good = response.status().is_success();
            if good {
                heard.note(&path);
            }
            Ok(response.map(|body| {
                let note: Box<dyn FnMut(Frame) -> Frame + Send> = Box::new(move |frame| {
                    if good {
                        heard.note(&path);
                    }
                    frame
                });
                body.map_frame(note)
            }))
        }
        .boxed()
    }
}
