//! TLS of the doors and towards other services. Certificates come from files and are read again when they change, so
//! that whoever rotates them (cert-manager) need not restart anything: a handshake takes what holds at its moment.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};

use crate::{
    Error, Kind,
    config::{RemoteTls, ServerTls},
    lifecycle::Lifecycle,
};

/// How often the files are looked at.
const REFRESH: Duration = Duration::from_secs(10);
/// Longest time for a handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Something that is made of files, as they are now.
pub(crate) struct Live<T> {
    files: Vec<std::path::PathBuf>,
    make: Box<dyn Fn() -> Result<T, Error> + Send + Sync>,
    now: ArcSwap<(Vec<Vec<u8>>, Arc<T>)>,
}

impl<T: Send + Sync + 'static> Live<T> {
    fn open(
        files: Vec<std::path::PathBuf>,
        make: impl Fn() -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        let content = read(&files)?;
        let made = Arc::new(make()?);
        Ok(Arc::new(Self {
            files,
            make: Box::new(make),
            now: ArcSwap::from_pointee((content, made)),
        }))
    }

    /// What holds now.
    fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.load().1)
    }

    /// Looks at the files. Returns whether they have changed; when they make no sense, what was stays.
    fn look(&self) -> Result<bool, Error> {
        let content = read(&self.files)?;
        if content == self.now.load().0 {
            return Ok(false);
        }
        let made = Arc::new((self.make)()?);
        self.now.store(Arc::new((content, made)));
        Ok(true)
    }

    /// Keeps looking.
    pub(crate) fn watch(self: &Arc<Self>, what: &'static str, lifecycle: &Lifecycle) {
        let (this, stopping) = (Arc::clone(self), lifecycle.stopping());
        lifecycle.spawn("tls", async move {
            loop {
                tokio::select! {
                    () = stopping.cancelled() => return Ok(()),
                    () = tokio::time::sleep(REFRESH) => {}
                }
                let outcome = match this.look() {
                    Ok(false) => continue,
                    Ok(true) => {
                        tracing::info!(what, "certificates were read again");
                        "read"
                    }
                    Err(error) => {
                        tracing::warn!(
                            what,
                            detail = error.detail(),
                            "certificates cannot be read; the last good ones stay"
                        );
                        "failed"
                    }
                };
                metrics::counter!("trama_tls_reloads_total", "what" => what, "outcome" => outcome)
                    .increment(1);
            }
        });
    }
}

fn read(files: &[std::path::PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    files
        .iter()
        .map(|file| std::fs::read(file).map_err(|e| bad(file, &e)))
        .collect()
}

fn bad(file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Precondition, format!("{}: {why}", file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e| bad(file, &e))?;
    if found.is_empty() {
        return Err(bad(file, &"no certificate in it"));
    }
    Ok(found)
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| bad(file, &e))
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| bad(file, &e))?;
    }
    Ok(Arc::new(roots))
}

/// The side of a door.
pub(crate) type Server = Live<ServerConfig>;

impl Server {
    /// Reads certificate, key and the CA of clients; `alpn` is what is spoken behind the door.
    pub(crate) fn of(tls: &ServerTls, alpn: &'static [&'static [u8]]) -> Result<Arc<Self>, Error> {
        let files = [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()];
        let files = files.into_iter().flatten().cloned().collect();
        let tls = tls.clone();
        Self::open(files, move || {
            let builder = ServerConfig::builder();
            let builder = match &tls.client_ca {
                None => builder.with_no_client_auth(),
                Some(file) => {
                    let verifier = WebPkiClientVerifier::builder(roots(file)?);
                    let verifier = if tls.client_optional {
                        verifier.allow_unauthenticated()
                    } else {
                        verifier
                    };
                    builder.with_client_cert_verifier(verifier.build().map_err(|e| bad(file, &e))?)
                }
            };
            let mut config = builder
                .with_single_cert(certificates(&tls.cert)?, key(&tls.key)?)
                .map_err(|e| bad(&tls.cert, &e))?;
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok(config)
        })
    }

    /// For one handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.now())
    }
}

/// Certificates of a door that a service opens by itself.
#[derive(Clone)]
pub struct Certificates(Arc<Server>);

impl Certificates {
    /// Reads them, and keeps looking whether they have changed.
    ///
    /// # Errors
    /// Names the file that makes no sense.
    pub fn open(tls: &ServerTls, what: &'static str, lifecycle: &Lifecycle) -> Result<Self, Error> {
        let server = Server::of(tls, &[])?;
        server.watch(what, lifecycle);
        Ok(Self(server))
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// When the other side does not want to, or takes too long.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        tokio::time::timeout(HANDSHAKE, self.0.acceptor().accept(stream)).await?
    }
}

/// The side of who calls another service.
pub(crate) type Client = Live<ClientConfig>;

impl Client {
    /// Reads the CA of services, and our own certificate and key for those who ask for them.
    pub(crate) fn of(tls: &RemoteTls) -> Result<Arc<Self>, Error> {
        let Some(ca) = tls.ca.clone() else {
            return Err(Error::new(
                Kind::Precondition,
                "remote_tls.ca must be set where remotes are https://…",
            ));
        };
        let files = [Some(&ca), tls.cert.as_ref(), tls.key.as_ref()];
        let files = files.into_iter().flatten().cloned().collect();
        let tls = tls.clone();
        Self::open(files, move || {
            let builder = ClientConfig::builder().with_root_certificates(roots(&ca)?);
            let mut config = match (&tls.cert, &tls.key) {
                (Some(cert), Some(file)) => builder
                    .with_client_auth_cert(certificates(cert)?, key(file)?)
                    .map_err(|e| bad(cert, &e))?,
                _ => builder.with_no_client_auth(),
            };
            config.alpn_protocols = vec![b"h2".to_vec()];
            Ok(config)
        })
    }

    /// For one handshake.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.now())
    }
}

#[cfg(test)]
mod tests;
