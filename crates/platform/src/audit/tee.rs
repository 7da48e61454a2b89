//! A body that keeps what passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Call, Kept, LARGEST, lock};

/// The body of a request; of a call that changes something, its pieces are remembered. They are not copied.
pub struct Tee<B> {
    inner: B,
    kept: Option<Kept>,
    size: usize,
}

impl<B> Tee<B> {
    pub(crate) fn new(inner: B, call: Option<&Call>) -> Self {
        Self {
            inner,
            kept: call.map(|call| call.0.request.clone()),
            size: 0,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tee<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let (Some(kept), Some(Ok(frame))) = (&self.kept, &frame)
            && let Some(data) = frame.data_ref()
        {
            let size = self.size + data.len();
            let mut kept = lock(kept);
            if size <= LARGEST {
                kept.push(data.clone());
            } else {
                kept.clear();
            }
            drop(kept);
            self.size = size;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
