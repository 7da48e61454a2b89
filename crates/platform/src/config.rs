//! Configuration: defaults < file < environment, validated before anything is bound.

mod bus;
mod doors;
mod limits;
mod objects;
mod resources;
mod sealing;
mod tls;

use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use bus::{BusConfig, Durability};
pub use doors::{AuthConfig, IssuerConfig, ListenConfig};
pub use limits::{LimitsConfig, Rate, Rates};
pub use objects::{ObjectsConfig, S3Config};
pub use resources::{KubernetesConfig, ResourcesConfig};
pub use sealing::SealingConfig;
pub use tls::{RemoteTls, ServerTls};

/// Everything that is configured about a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// PostgreSQL, as `postgres://user:password@host:port/database`.
    pub database_url: String,
    /// NATS, as `nats://host:port`.
    pub nats_url: String,
    /// The bus.
    pub bus: BusConfig,
    /// Connections to PostgreSQL.
    pub database: DatabaseConfig,
    /// The stage loop.
    pub stage: StageConfig,
    /// Where requests come in.
    pub listen: ListenConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// How much they may call.
    pub limits: LimitsConfig,
    /// Where resources and secrets come from.
    pub resources: ResourcesConfig,
    /// Where attachments go.
    pub objects: ObjectsConfig,
    /// Exports and erasures.
    pub privacy: PrivacyConfig,
    /// Texts that are encrypted in the database.
    pub sealing: SealingConfig,
    /// Calls to the outside.
    pub outbound: OutboundConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// Other services, by name, when they are not in this process: `http://host:port`, or `https://host:port`.
    pub remotes: std::collections::BTreeMap<String, String>,
    /// TLS towards those that are `https://`.
    pub remote_tls: RemoteTls,
    /// Seconds between "not ready" and closing the doors, so that load balancers notice.
    pub drain_seconds: u64,
    /// Seconds for which the start waits for PostgreSQL, NATS and a schema that is new enough, before it gives up.
    pub start_wait_seconds: u64,
    /// Each service's own section.
    pub services: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Connections to PostgreSQL, per service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// For requests.
    pub api_connections: u32,
    /// For stages, timers and sweeping.
    pub system_connections: u32,
    /// Longest wait for a connection, in milliseconds.
    pub acquire_timeout_ms: u64,
}

/// The stage loop.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageConfig {
    /// Most messages in one transaction.
    pub batch: usize,
    /// Deliveries before a message is put aside.
    pub max_attempts: i64,
    /// Base of the back-off between deliveries, in milliseconds.
    pub backoff_ms: u64,
    /// Seconds after which an unpublished outbox row is taken for left behind.
    pub sweep_after_seconds: u64,
    /// Days for which the inbox remembers; longer than the streams keep.
    pub inbox_days: u64,
}

/// Exports and erasures.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Secret of at least 32 characters, the same for all services and kept for good: addresses of erased people are
    /// remembered by hashes made with it, and reports are signed by a key made from it. Nobody can be erased without one.
    pub secret: String,
}

/// Calls to the outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Private addresses that may be called all the same, such as `127.0.0.1`.
    pub allow_addresses: Vec<std::net::IpAddr>,
    /// Longest wait for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Largest body that is read, in bytes.
    pub max_body_bytes: usize,
}

/// Logs, traces and metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OTLP collector over gRPC; no traces are sent without one.
    pub otlp_endpoint: Option<String>,
    /// Share of traces that are kept, 0 to 1.
    pub sample_ratio: f64,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of RUST_LOG.
    pub log_filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            api_connections: 8,
            system_connections: 6,
            acquire_timeout_ms: 5_000,
        }
    }
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            batch: 256,
            max_attempts: 5,
            backoff_ms: 200,
            sweep_after_seconds: 5,
            inbox_days: 10,
        }
    }
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            allow_addresses: Vec::new(),
            timeout_ms: 10_000,
            max_body_bytes: 100 * 1024 * 1024,
        }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: 1.0,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or variable cannot be read as what it should be.
    #[error("configuration: {0}")]
    Unreadable(Box<figment::Error>),
    /// A value makes no sense.
    #[error("configuration: {key}: {problem}")]
    Invalid {
        /// Which key.
        key: &'static str,
        /// What is wrong, and the fix.
        problem: String,
    },
    /// A service's own section makes no sense.
    #[error("configuration: services.{service}: {problem}")]
    Section {
        /// Which service.
        service: String,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Defaults < file < environment (`TRAMA_LISTEN__GRPC=0.0.0.0:8080`).
    ///
    /// # Errors
    /// Says which key is wrong and where it was set.
    pub fn load(file: Option<&std::path::Path>) -> Result<Self, ConfigError> {
        let known: Vec<String> = match serde_json::to_value(Self::default()) {
            Ok(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        // Other TRAMA_ variables belong to other tools.
        let env = Env::prefixed("TRAMA_")
            .filter(move |key| {
                key.as_str()
                    .split("__")
                    .next()
                    .is_some_and(|k| known.iter().any(|n| n.eq_ignore_ascii_case(k)))
            })
            .split("__");
        let config: Self = figment
            .merge(env)
            .extract()
            .map_err(|e| ConfigError::Unreadable(Box::new(e)))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// Names the key and the fix.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fail = |key, problem: &str| {
            Err(ConfigError::Invalid {
                key,
                problem: problem.to_owned(),
            })
        };
        if !self.database_url.starts_with("postgres") {
            return fail(
                "database_url",
                "must be postgres://…; set TRAMA_DATABASE_URL, or start with `make run`",
            );
        }
        if self.nats_url.is_empty() {
            return fail(
                "nats_url",
                "must be nats://…; set TRAMA_NATS_URL, or start with `make run`",
            );
        }
        if let Some(problem) = self.limits.problem() {
            return fail("limits", problem);
        }
        if let Some((key, problem)) = self.first_problem() {
            return fail(key, problem);
        }
        if self.stage.batch == 0 || self.stage.max_attempts < 1 {
            return fail("stage", "batch and max_attempts must be at least 1");
        }
        if self.stage.inbox_days <= self.bus.retention_days {
            return fail(
                "stage.inbox_days",
                "must be longer than bus.retention_days, or a late redelivery counts twice",
            );
        }
        if !self.privacy.secret.is_empty() && self.privacy.secret.len() < 32 {
            return fail("privacy.secret", "must have at least 32 characters, or be empty");
        }
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return fail("telemetry.sample_ratio", "must be from 0 to 1");
        }
        Ok(())
    }

    fn first_problem(&self) -> Option<(&'static str, &'static str)> {
        let problems = [
            self.bus.problem(),
            self.listen.problem(),
            self.remote_tls.problem(),
            self.objects.problem(),
            self.sealing.problem(),
            self.resources.problem(),
        ];
        problems.into_iter().flatten().next()
    }

    /// A service's own section; defaults when there is none.
    ///
    /// # Errors
    /// Names the service and the key.
    pub fn section<T: DeserializeOwned + Default>(&self, service: &str) -> Result<T, ConfigError> {
        match self.services.get(service) {
            None => Ok(T::default()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|e| ConfigError::Section {
                service: service.to_owned(),
                problem: e.to_string(),
            }),
        }
    }

    /// The configuration as a file for another process. Holds credentials.
    ///
    /// # Errors
    /// When a section cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }

    /// The configuration with credentials blacked out, for `--dump-config`.
    pub fn dump(&self) -> String {
        let mut shown = self.clone();
        for url in [&mut shown.database_url, &mut shown.nats_url] {
            if let Ok(mut parsed) = url::Url::parse(url)
                && parsed.password().is_some()
                && parsed.set_password(Some("***")).is_ok()
            {
                *url = parsed.to_string();
            }
        }
        shown.auth.service_key = shown.auth.service_key.map(|_| "***".into());
        if !shown.privacy.secret.is_empty() {
            shown.privacy.secret = "***".into();
        }
        shown.to_toml().unwrap_or_else(|e| format!("# {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config {
            database_url: "postgres://a:hunter2@b/c".into(),
            nats_url: "nats://d".into(),
            ..Config::default()
        }
    }

    #[test]
    fn a_dump_shows_no_password() {
        let mut config = good();
        config.privacy.secret = "correct horse battery staple again".into();
        let dump = config.dump();
        assert!(dump.contains("***"), "{dump}");
        assert!(!dump.contains("hunter2") && !dump.contains("horse"), "{dump}");
    }

    #[test]
    fn resources_come_from_one_place() {
        let mut config = good();
        config.resources.kubernetes.enabled = true;
        assert!(config.validate().is_ok());
        config.resources.dir = Some("examples".into());
        assert!(config.validate().is_err());
    }

    #[test]
    fn the_inbox_must_outlive_the_streams() {
        let mut config = good();
        config.stage.inbox_days = config.bus.retention_days;
        assert!(config.validate().is_err());
        assert!(good().validate().is_ok());
    }
}
