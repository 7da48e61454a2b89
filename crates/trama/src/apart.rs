//! The six services as six processes, each the binary that a cluster runs: for the proof that they really are apart.
//!
//! They share PostgreSQL and NATS, ask each other over gRPC with a service key and a certificate, and know nothing else
//! of one another.

mod certificates;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    task::{self, Poll},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::BoxFuture;
use tokio::process::{Child, Command};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::Service;
use trama_platform::{
    Clock, Config,
    auth::{ApiKey, write_private},
    client::channel_to,
    config::RemoteTls,
    is_ready,
};

use self::certificates::{Authority, Papers};
use crate::{
    commands::{detail, new_api_key},
    services,
};

/// Longest wait for a process to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Apart {
    processes: Vec<Process>,
    pub smtp: SocketAddr,
    /// Of the story, which is a client like others.
    papers: Papers,
    /// Of somebody who has nothing to do with us.
    forged: Papers,
    next: usize,
}

struct Process {
    name: &'static str,
    config: PathBuf,
    grpc: SocketAddr,
    admin: SocketAddr,
    child: Child,
}

/// A gRPC client's way to whoever has the method: `/trama.case.v1.CaseService/…` is case's.
#[derive(Clone)]
pub enum Ways {
    /// All services have one door.
    One(Channel),
    /// Each has its own, by package.
    Each(BTreeMap<String, Channel>),
}

impl Ways {
    /// To one process.
    pub async fn one(address: SocketAddr) -> anyhow::Result<Self> {
        let channel = Channel::from_shared(format!("http://{address}"))?;
        Ok(Self::One(channel.connect().await?))
    }
}

impl Service<http::Request<tonic::body::Body>> for Ways {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::One(channel) => channel.poll_ready(context),
            // Which one is known with the request only; a channel waits for its turn in the call as well.
            Self::Each(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        match self {
            Self::One(channel) => Box::pin(channel.call(request)),
            Self::Each(channels) => {
                let package = request.uri().path().split('.').nth(1).unwrap_or_default();
                let mut channel = channels
                    .get(package)
                    .or_else(|| channels.values().next())
                    .cloned()
                    .expect("six services have six channels");
                Box::pin(async move {
                    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                    channel.call(request).await
                })
            }
        }
    }
}

impl Apart {
    /// Makes the schemas, starts all six, waits until each is ready.
    pub async fn start(config: &Config, http: SocketAddr, dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("apart");
        std::fs::create_dir_all(&dir)?;
        let authority = Authority::make(&dir.join("tls"), "ca")?;
        let stranger = Authority::make(&dir.join("tls-of-others"), "ca")?;
        let names: Vec<_> = services::all().iter().map(|service| service.name()).collect();
        let ports = free(2 * names.len() + 2)?;
        let ([smtp, spare], doors) = ports.split_at(2) else {
            anyhow::bail!("no free ports");
        };
        let grpc = |at: usize| doors[2 * at];

        let mut common = config.clone();
        let (key, entry) = new_api_key(
            &Clock::system(),
            "acme",
            "trama",
            &["customer.read", "chat.post"],
            24,
        )?;
        let entry = ApiKey {
            service: true,
            ..entry
        };
        let keys = dir.join("api-keys.json");
        write_private(&keys, serde_json::to_string(&[entry])?.as_bytes())?;
        common.auth.api_keys_file = Some(keys);
        common.auth.service_key = Some(key);
        common.services.insert(
            "ingest".into(),
            serde_json::json!({"smtp_listen": smtp.to_string()}),
        );

        let mut processes = Vec::new();
        for (at, name) in names.iter().copied().enumerate() {
            let mut own = common.clone();
            own.listen.grpc = grpc(at);
            own.listen.admin = doors[2 * at + 1];
            let papers = authority.vouch_for(&format!("trama-{name}"))?;
            own.listen.grpc_tls = Some(papers.at_the_door());
            own.remote_tls = papers.for_calls();
            // Only ingest has a web door; the others' is never knocked at.
            own.listen.http = if name == "ingest" {
                http
            } else {
                SocketAddr::new(spare.ip(), 0)
            };
            own.remotes = names
                .iter()
                .enumerate()
                .filter(|(_, other)| **other != name)
                .map(|(at, other)| ((*other).to_owned(), format!("https://{}", grpc(at))))
                .collect();
            let file = dir.join(format!("{name}.toml"));
            // Passwords are in it.
            write_private(&file, own.to_toml()?.as_bytes())?;
            if at == 0 {
                migrate(&file).await?;
            }
            processes.push(Process {
                name,
                child: launch(name, &file)?,
                config: file,
                grpc: own.listen.grpc,
                admin: own.listen.admin,
            });
        }
        let mut apart = Self {
            processes,
            smtp: *smtp,
            papers: authority.vouch_for("story")?,
            forged: stranger.vouch_for("story")?,
            next: 0,
        };
        for process in &mut apart.processes {
            process.ready().await?;
        }
        Ok(apart)
    }

    /// The ways to all of them.
    pub fn ways(&self) -> anyhow::Result<Ways> {
        let tls = self.papers.for_calls();
        let of = |process: &Process| {
            let package = process.name.replace('-', "_");
            Ok((package, process.channel(&tls)?))
        };
        Ok(Ways::Each(
            self.processes.iter().map(of).collect::<anyhow::Result<_>>()?,
        ))
    }

    /// Tries every door with a certificate of ours, without one, with one of another CA, and without TLS: only the first
    /// may get in. Returns how many doors that are.
    ///
    /// # Errors
    /// Names the door that let somebody in, or us not.
    pub async fn try_doors(&self) -> anyhow::Result<usize> {
        for process in &self.processes {
            let name = process.name;
            ask(process.channel(&self.papers.for_calls())?)
                .await
                .with_context(|| format!("{name} refuses a certificate of its CA"))?;
            let plain = Channel::from_shared(format!("http://{}", process.grpc))?.connect_lazy();
            let strangers = [
                ("without a certificate", process.channel(&self.papers.without())?),
                (
                    "with a certificate of another CA",
                    process.channel(&self.forged.shown_to(&self.papers))?,
                ),
                ("without TLS", plain),
            ];
            for (how, channel) in strangers {
                anyhow::ensure!(ask(channel).await.is_err(), "{name} lets somebody in {how}");
            }
        }
        Ok(self.processes.len())
    }

    /// Kills the next one that may be killed, as a crash would, and starts it again. Returns its name.
    pub async fn crash_next(&mut self, spared: &[&str]) -> anyhow::Result<&'static str> {
        let count = self.processes.len();
        let at = (self.next..self.next + count)
            .map(|at| at % count)
            .find(|at| !spared.contains(&self.processes[*at].name))
            .context("all are spared")?;
        self.next = at + 1;
        let process = &mut self.processes[at];
        process.child.kill().await?;
        process.child = launch(process.name, &process.config)?;
        process.ready().await?;
        Ok(process.name)
    }

    /// Asks all to end; whether each did, and in order.
    pub async fn stop(mut self) -> anyhow::Result<bool> {
        for process in &self.processes {
            if let Some(pid) = process.child.id() {
                Command::new("kill").arg(pid.to_string()).status().await?;
            }
        }
        let mut clean = true;
        for process in &mut self.processes {
            let ended = tokio::time::timeout(PATIENCE, process.child.wait()).await;
            let ended: Option<ExitStatus> = ended.ok().transpose()?;
            if !ended.is_some_and(|status| status.success()) {
                eprintln!(
                    "{} ended with {ended:?}; see {}",
                    process.name,
                    log(&process.config).display()
                );
                clean = false;
            }
        }
        Ok(clean)
    }
}

impl Process {
    fn channel(&self, tls: &RemoteTls) -> anyhow::Result<Channel> {
        channel_to(&format!("https://{}", self.grpc), tls).map_err(detail)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    anyhow::bail!(
                        "{} ended at once with {status}; see {}",
                        self.name,
                        log(&self.config).display()
                    );
                }
                if is_ready(self.admin).await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.with_context(|| {
            format!(
                "{} was not ready in time; see {}",
                self.name,
                log(&self.config).display()
            )
        })?
    }
}

/// Asks for the health behind a door, which needs no credential.
async fn ask(channel: Channel) -> anyhow::Result<()> {
    HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await?;
    Ok(())
}

/// One that is free now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    free(1)?.pop().context("no free port")
}

/// Addresses of the loopback that are free now. Another program could be faster than ours; then the start says so.
fn free(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<_, _>>()?)
}

/// The binaries lie where we do.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(
        path.exists(),
        "{} is missing: cargo build --workspace --bins",
        path.display()
    );
    Ok(path)
}

async fn migrate(config: &Path) -> anyhow::Result<()> {
    let done = command(&binary("trama")?, config).arg("migrate").output().await?;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn launch(name: &str, config: &Path) -> anyhow::Result<Child> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log(config))?;
    command(&binary(&format!("trama-{name}"))?, config)
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("trama-{name}"))
}

/// With the file as its only configuration: what is in our environment is about our own process.
fn command(binary: &Path, config: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRAMA_") {
            command.env_remove(name);
        }
    }
    command.env("TRAMA_CONFIG", config).stdin(Stdio::null());
    command
}

fn log(config: &Path) -> PathBuf {
    config.with_extension("log")
}
