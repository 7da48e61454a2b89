//! Mail in, by SMTP or LMTP: one listener, the greeting of the client says which.

mod session;

use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use trama_platform::{Error, tls::Certificates};

use super::Doors;

/// The pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the process stops.
///
/// # Errors
/// When there is no certificate where one is configured; every later failure concerns one connection.
pub async fn serve(doors: Doors, listener: TcpListener) -> Result<(), Error> {
    let tls = match &doors.config.smtp_tls {
        Some(tls) => Some(Certificates::open(tls, "smtp", &doors.lifecycle)?),
        None => None,
    };
    let connections = Arc::new(Semaphore::new(doors.config.smtp_connections));
    let draining = doors.lifecycle.draining();
    loop {
        let accepted = tokio::select! {
            () = draining.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&connections).try_acquire_owned() {
                Ok(permit) => {
                    let session = session::Session::new(doors.clone(), tls.clone());
                    let stopping = doors.lifecycle.stopping();
                    doors.lifecycle.spawn("smtp-session", async move {
                        let _permit = permit;
                        tokio::select! {
                            () = stopping.cancelled() => {}
                            ended = session.run(stream) => if let Err(error) = ended {
                                tracing::debug!(%error, "a mail connection broke off");
                            }
                        }
                        Ok(())
                    });
                }
                Err(_) => {
                    metrics::counter!("trama_ingest_smtp_connections_total", "outcome" => "overloaded")
                        .increment(1);
                    doors.lifecycle.spawn("smtp-refusal", turn_away(stream));
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a mail connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn turn_away(mut stream: TcpStream) -> Result<(), Error> {
    let answer = stream.write_all(b"421 4.3.2 too many connections, come back later\r\n");
    // Whoever is gone already does not need it.
    let _ = tokio::time::timeout(Duration::from_secs(5), answer).await;
    Ok(())
}
