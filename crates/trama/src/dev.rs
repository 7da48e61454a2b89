//! Development credentials and secrets: made on this machine, kept under `.dev`, trusted by nobody else.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use trama_platform::{Config, Sockets, auth::DevIssuer};

use crate::commands::detail;

/// Trusts the development issuer of a folder, and takes the secrets in it; makes the one of privacy.
pub fn trust(config: &mut Config, dir: &Path) -> anyhow::Result<DevIssuer> {
    let (issuer, trusted) = DevIssuer::open(&dir.join("keys")).map_err(detail)?;
    config.auth.issuers.push(trusted);
    config
        .resources
        .secrets_dir
        .get_or_insert_with(|| dir.join("secrets"));
    if config.privacy.secret.is_empty() {
        config.privacy.secret = DevSecrets::of(dir, "platform").get("privacy", "secret")?;
    }
    Ok(issuer)
}

/// Secrets of a tenant on this machine.
pub struct DevSecrets {
    dir: PathBuf,
}

impl DevSecrets {
    /// In a folder, for a tenant.
    pub fn of(dev_dir: &Path, tenant: &str) -> Self {
        Self {
            dir: dev_dir.join("secrets").join(tenant),
        }
    }

    /// A secret; made of 24 random bytes the first time.
    pub fn get(&self, name: &str, key: &str) -> anyhow::Result<String> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let path = self.dir.join(name).join(key);
        if let Ok(found) = std::fs::read_to_string(&path) {
            return Ok(found);
        }
        std::fs::create_dir_all(self.dir.join(name)).with_context(|| self.dir.display().to_string())?;
        let mut random = [0_u8; 24];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
            .map_err(|_| anyhow::anyhow!("this machine has no randomness to give"))?;
        let value = hex::encode(random);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(value.as_bytes())?;
        Ok(value)
    }
}

/// The doors of this machine's loopback, and where mail shall come in.
///
/// The doors are bound here and not by the services, because channels and the provider stand-in are told the addresses
/// before the services start, and a port that is only found free is somebody else's a moment later. Nobody is told mail's
/// before ingest has bound it.
pub async fn listen(config: &mut Config, ports: Ports) -> anyhow::Result<(Sockets, SocketAddr)> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut listen_on = |[grpc, http, admin]: [u16; 3]| {
        config.listen.grpc = loopback(grpc);
        config.listen.http = loopback(http);
        config.listen.admin = loopback(admin);
        config.listen.clone()
    };
    let known = match ports {
        Ports::KnownIfFree => Sockets::bind(&listen_on([8080, 8081, 8082])).await.ok(),
        Ports::Any => None,
    };
    let sockets = match known {
        Some(sockets) => sockets,
        None => Sockets::bind(&listen_on([0; 3])).await.map_err(detail)?,
    };
    let smtp = match ports {
        Ports::KnownIfFree if TcpListener::bind(loopback(2525)).is_ok() => loopback(2525),
        _ => loopback(0),
    };
    Ok((sockets, smtp))
}

/// Which ports a process takes.
#[derive(Clone, Copy)]
pub enum Ports {
    /// Those of the documents; any if somebody has them. For people.
    KnownIfFree,
    /// Any. For runs beside each other.
    Any,
}
