//! A listening socket, with TLS or without.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::tls;

/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 512;

/// Takes connections. One that is slow at its handshake holds up nobody.
pub(crate) struct Door {
    listener: TcpListener,
    tls: Option<Arc<tls::Server>>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<(Conn, SocketAddr)>>>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, tls: Option<Arc<tls::Server>>) -> Self {
        Self {
            listener,
            tls,
            handshakes: FuturesUnordered::new(),
        }
    }

    /// The next connection that is ready to speak.
    pub(crate) async fn next(&mut self) -> (Conn, SocketAddr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.next() => {
                    if let Some(ready) = done {
                        return ready;
                    }
                }
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => {
                    let (stream, peer) = match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            // Out of descriptors, most likely: others will be closed.
                            tracing::warn!(%error, "a connection cannot be taken");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    };
                    // It fails on a connection that is gone already, which will be noticed.
                    let _ = stream.set_nodelay(true);
                    match &self.tls {
                        None => return (Conn(Io::Plain(stream), peer), peer),
                        Some(tls) => self.handshakes.push(Box::pin(shake_hands(tls.acceptor(), stream, peer))),
                    }
                }
            }
        }
    }

    /// The connections, one after the other.
    pub(crate) fn connections(self) -> impl futures::Stream<Item = io::Result<Conn>> {
        futures::stream::unfold(self, |mut door| async move {
            let (conn, _) = door.next().await;
            Some((Ok(conn), door))
        })
    }
}

async fn shake_hands(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Conn, SocketAddr)> {
    let why = match tokio::time::timeout(tls::HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some((Conn(Io::Tls(Box::new(stream)), peer), peer)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "too slow".to_owned(),
    };
    metrics::counter!("trama_tls_handshakes_failed_total").increment(1);
    tracing::debug!(why, "a handshake failed");
    None
}

/// A connection.
pub(crate) struct Conn(Io, SocketAddr);

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Conn {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(self.1),
        }
    }
}

macro_rules! on {
    ($conn:expr, $stream:ident => $body:expr) => {
        match &mut $conn.get_mut().0 {
            Io::Plain($stream) => {
                let $stream = Pin::new($stream);
                $body
            }
            Io::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $body
            }
        }
    };
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

impl axum::serve::Listener for Door {
    type Io = Conn;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Conn, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
