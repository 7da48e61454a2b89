//! Development credentials and secrets: made on this machine, kept under `.dev`, trusted by nobody else.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use trama_platform::{Config, auth::DevIssuer};

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

/// An address on loopback: the wanted port if it is free, else any.
pub fn free_address(wanted: u16) -> anyhow::Result<SocketAddr> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listener = TcpListener::bind((loopback, wanted)).or_else(|_| TcpListener::bind((loopback, 0)))?;
    Ok(listener.local_addr()?)
}
