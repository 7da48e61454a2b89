//! What a service is as a program: its words, its exit codes, and the question whether it is ready.
//!
//! Exit codes: 0 ended as told, 1 died or could not start, 64 wrong words, 78 wrong configuration.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    config::Config,
    lifecycle::terminated,
    resources::OpenCluster,
    service::{Options, Service, start},
    telemetry::Telemetry,
};

/// Longest wait for an answer of the admin door.
const PATIENCE: Duration = Duration::from_secs(2);

/// `main` of a service binary: configuration, telemetry, run until SIGTERM, exit code.
pub fn main(service: Arc<dyn Service>, cluster: OpenCluster) -> ExitCode {
    let name = service.name();
    let mut arguments = std::env::args().skip(1);
    let mut file = std::env::var_os("TRAMA_CONFIG").map(PathBuf::from);
    let (mut dump, mut check) = (false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                println!("trama-{name} {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            "--dump-config" => dump = true,
            "healthcheck" => check = true,
            "--config" => file = arguments.next().map(PathBuf::from),
            "--help" | "-h" => {
                println!(
                    "trama-{name} [healthcheck] [--config FILE] [--dump-config] [--version]\n\nhealthcheck asks the one that runs here whether it is ready.\nEverything else is configuration: file < TRAMA_ environment."
                );
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("trama-{name}: unknown argument {other}; see --help");
                return ExitCode::from(64);
            }
        }
    }
    let config = match Config::load(file.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("trama-{name}: {error}");
            return ExitCode::from(78);
        }
    };
    if dump {
        println!("{}", config.dump());
        return ExitCode::SUCCESS;
    }
    if check {
        return match block_on(is_ready(config.listen.admin)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("trama-{name}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    block_on(async move {
        let telemetry = match Telemetry::init(&config.telemetry, name) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("trama-{name}: {error}");
                return ExitCode::from(78);
            }
        };
        let options = Options {
            cluster: Some(cluster),
            ..Options::default()
        };
        let code = until_terminated(&[service], config, options).await;
        telemetry.shutdown();
        code
    })
}

/// Asks a process of this machine whether it is ready: for images without a shell, where nothing else could ask.
///
/// # Errors
/// Says what it answered, or that nobody did.
pub async fn is_ready(admin: SocketAddr) -> io::Result<()> {
    timeout(PATIENCE, ask_whether_ready(admin)).await?
}

async fn ask_whether_ready(admin: SocketAddr) -> io::Result<()> {
    if admin.port() == 0 {
        return Err(io::Error::other(
            "listen.admin names no port; say --config as the one that runs was told",
        ));
    }
    let host = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut stream = TcpStream::connect((host, admin.port())).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(io::Error::other(format!("not ready: {}", body.trim())))
    }
}

/// Runs services until SIGTERM or until a task dies.
pub async fn until_terminated(services: &[Arc<dyn Service>], config: Config, options: Options) -> ExitCode {
    // The first process of a container has no default: what nobody listens to is not heard.
    let started = tokio::select! {
        started = start(services, config, options) => started,
        () = terminated() => return ExitCode::SUCCESS,
    };
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            tracing::error!(detail = error.detail(), "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let a = running.addresses;
    tracing::info!(grpc = %a.grpc, http = %a.http, admin = %a.admin, "listening");
    let lifecycle = running.lifecycle.clone();
    tokio::select! {
        () = terminated() => tracing::info!("draining"),
        () = async { lifecycle.stopping().cancelled().await } => {}
    }
    let in_time = running.stop().await;
    if lifecycle.failed() || !in_time {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs a future on a runtime of the platform's making.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made on any machine that runs us")
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    /// What comes of asking one who answers this, at an address of this machine.
    fn asked(host: Ipv4Addr, answer: &str) -> io::Result<()> {
        let door = TcpListener::bind("127.0.0.1:0")?;
        let port = door.local_addr()?.port();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = door.accept().unwrap();
                let mut question = [0; 512];
                let _ = stream.read(&mut question).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            block_on(is_ready(SocketAddr::from((host, port))))
        })
    }

    #[test]
    fn only_who_says_so_is_ready() {
        let ready = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert!(asked(Ipv4Addr::LOCALHOST, ready).is_ok());
        let draining = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\ndraining";
        let error = asked(Ipv4Addr::LOCALHOST, draining).unwrap_err();
        assert_eq!(error.to_string(), "not ready: draining");
    }

    #[test]
    fn a_door_that_listens_everywhere_is_asked_on_this_machine() {
        assert!(asked(Ipv4Addr::UNSPECIFIED, "HTTP/1.1 200 OK\r\n\r\nok").is_ok());
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(block_on(is_ready(address)).is_err());
        assert!(block_on(is_ready(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).is_err());
    }
}
