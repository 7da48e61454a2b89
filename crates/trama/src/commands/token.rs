//! `trama token`

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use trama_platform::{
    Clock,
    auth::{ApiKey, DevIssuer, DevToken},
};

use super::detail;

/// Print a development credential.
#[derive(Args)]
pub struct Token {
    /// Whose data it opens.
    #[arg(long, default_value = "acme")]
    tenant: String,
    /// Who holds it: an agent's id, an integrator's name.
    #[arg(long, default_value = "developer")]
    subject: String,
    /// What it allows, separated by spaces; `case.*` allows all that begins so, `*` everything.
    #[arg(long, default_value = "*")]
    scopes: String,
    /// For how long, in hours.
    #[arg(long, default_value_t = 12)]
    hours: i64,
    /// Make an API key instead of a token: prints the key, and the entry for `auth.api_keys_file`.
    #[arg(long)]
    api_key: bool,
    /// Folder of the development keys; `trama up --dev-dir` trusts them.
    #[arg(long, default_value = ".dev")]
    dev_dir: PathBuf,
}

impl Token {
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let clock = Clock::system();
        if self.api_key {
            let scopes: Vec<_> = self.scopes.split_whitespace().collect();
            let (key, entry) = new_api_key(&clock, &self.tenant, &self.subject, &scopes, self.hours)?;
            println!("{key}");
            eprintln!("{}", serde_json::to_string_pretty(&entry)?);
            return Ok(ExitCode::SUCCESS);
        }
        let (issuer, _) = DevIssuer::open(&self.dev_dir.join("keys")).map_err(detail)?;
        let token = DevToken {
            tenant: &self.tenant,
            subject: &self.subject,
            scopes: &self.scopes,
            valid_seconds: self.hours * 3600,
        };
        println!("{}", issuer.token(&clock, &token).map_err(detail)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// A key of 32 random bytes, and its entry for `auth.api_keys_file`.
pub fn new_api_key(
    clock: &Clock,
    tenant: &str,
    subject: &str,
    scopes: &[&str],
    hours: i64,
) -> anyhow::Result<(String, ApiKey)> {
    let mut random = [0_u8; 36];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| anyhow::anyhow!("this machine has no randomness to give"))?;
    let (id, secret) = (hex::encode(&random[..4]), hex::encode(&random[4..]));
    let entry = ApiKey {
        id: id.clone(),
        hash: ApiKey::hash_of(&secret),
        tenant: tenant.parse()?,
        subject: subject.to_owned(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        expires_at: Some(clock.now() + chrono::Duration::hours(hours)),
        service: false,
    };
    Ok((format!("trama_{id}_{secret}"), entry))
}
