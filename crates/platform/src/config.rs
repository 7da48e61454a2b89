//! Configuration: defaults < file < environment, validated before anything is bound.

mod limits;
mod objects;
mod sealing;
mod tls;

use std::{net::SocketAddr, path::PathBuf};

use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use limits::{LimitsConfig, Rate, Rates};
pub use objects::{ObjectsConfig, S3Config};
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

/// The bus.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// First word of every subject and stream name.
    pub prefix: String,
    /// Partitions of the streams. The same in all services; changing it needs drained streams.
    pub partitions: u32,
    /// Copies of each stream: 1 on a laptop, 3 in a cluster.
    pub replicas: usize,
    /// Days for which the journal and the events are kept.
    pub retention_days: u64,
    /// What a provider's 2xx promises; the start warns when a stream is weaker.
    pub durability: Durability,
    /// The server's monitoring address, such as `http://127.0.0.1:8222`: lets the start check `sync_interval`, which
    /// a client cannot see otherwise.
    pub monitor_url: Option<String>,
    /// A credentials file (JWT and seed, as nsc makes it) by which NATS lets us in, read again at every connection. Without
    /// one, a user and password or a token in `nats_url`, if there are any.
    pub creds_file: Option<PathBuf>,
    /// The same for a file with the seed of an nkey.
    pub nkey_file: Option<PathBuf>,
}

/// What a PubAck is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// One server that syncs every 100 ms: a power loss may take the last 100 ms.
    Interval,
    /// Three or more replicas: a power loss of one machine takes nothing.
    Replicated,
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

/// Where requests come in. Port 0 takes a free one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// gRPC, gRPC-Web and reflection.
    pub grpc: SocketAddr,
    /// Webhooks, chat and pages.
    pub http: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// TLS of the gRPC door; plain without, as in a mesh.
    pub grpc_tls: Option<ServerTls>,
    /// TLS of the HTTP door.
    pub http_tls: Option<ServerTls>,
    /// Networks of proxies whose `x-forwarded-for` is believed, such as `10.0.0.0/8`; nobody's without.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// Who may call.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Trusted issuers of JWTs.
    pub issuers: Vec<IssuerConfig>,
    /// File with hashed API keys (JSON).
    pub api_keys_file: Option<PathBuf>,
    /// API key with which this process calls other services.
    pub service_key: Option<String>,
}

/// A trusted issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// The key set: a file or an http(s) URL.
    pub jwks: String,
    /// Claim that names the tenant.
    #[serde(default = "tenant_claim")]
    pub tenant_claim: String,
}

fn tenant_claim() -> String {
    "tenant".into()
}

/// Where resources and secrets come from.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ResourcesConfig {
    /// Folder of YAML files, watched.
    pub dir: Option<PathBuf>,
    /// Values for `${NAME}` in them, before the environment's.
    pub variables: std::collections::BTreeMap<String, String>,
    /// Folder of secrets: `<namespace>/<name>/<key>`.
    pub secrets_dir: Option<PathBuf>,
    /// The cluster instead of a folder.
    pub kubernetes: KubernetesConfig,
}

/// Resources from a cluster's API server. A namespace is a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Read them from there.
    pub enabled: bool,
    /// Namespaces that are watched; none: our own.
    pub namespaces: Vec<String>,
    /// Watch every namespace there is. Needs rights in the whole cluster.
    pub all_namespaces: bool,
    /// Tenants of namespaces that are called otherwise.
    pub tenants: std::collections::BTreeMap<String, String>,
    /// Folder for the last good resources, with which we start when the API server is away.
    pub snapshot_dir: Option<PathBuf>,
    /// The Lease in our own namespace whose holder writes status.
    pub lease: String,
    /// Seconds to wait for the first lists before we start with the last good resources, or not at all.
    pub start_timeout_seconds: u64,
    /// Longest pause between two attempts to reach the API server, in seconds.
    pub max_backoff_seconds: u64,
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

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            prefix: "trama".into(),
            partitions: 2,
            replicas: 1,
            retention_days: 7,
            durability: Durability::Interval,
            monitor_url: None,
            creds_file: None,
            nkey_file: None,
        }
    }
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

impl Default for ListenConfig {
    fn default() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            grpc: any_port,
            http: any_port,
            admin: any_port,
            cors_origins: Vec::new(),
            grpc_tls: None,
            http_tls: None,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            namespaces: Vec::new(),
            all_namespaces: false,
            tenants: std::collections::BTreeMap::new(),
            snapshot_dir: None,
            lease: "trama-resources".into(),
            start_timeout_seconds: 20,
            max_backoff_seconds: 5,
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
        if self.bus.partitions == 0 || self.bus.partitions > 1024 {
            return fail("bus.partitions", "must be from 1 to 1024");
        }
        if self.bus.creds_file.is_some() && self.bus.nkey_file.is_some() {
            return fail("bus.creds_file", "excludes bus.nkey_file");
        }
        let prefix_ok = !self.bus.prefix.is_empty()
            && self
                .bus
                .prefix
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !prefix_ok {
            return fail("bus.prefix", "must be letters, digits, - and _");
        }
        if self.bus.durability == Durability::Replicated && self.bus.replicas < 3 {
            return fail("bus.durability", "`replicated` needs bus.replicas of 3 or more");
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
        if let Some((key, problem)) = self.sealing.problem() {
            return fail(key, problem);
        }
        self.resources.validate()?;
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return fail("telemetry.sample_ratio", "must be from 0 to 1");
        }
        Ok(())
    }

    fn first_problem(&self) -> Option<(&'static str, &'static str)> {
        let problems = [
            self.listen.problem(),
            self.remote_tls.problem(),
            self.objects.problem(),
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

impl ResourcesConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let cluster = &self.kubernetes;
        let problem = if !cluster.enabled {
            return Ok(());
        } else if self.dir.is_some() {
            "resources.dir is set as well: resources come from one place"
        } else if cluster.all_namespaces && !cluster.namespaces.is_empty() {
            "all_namespaces and namespaces exclude each other"
        } else if cluster
            .tenants
            .values()
            .any(|t| t.parse::<trama_proto::ids::TenantId>().is_err())
        {
            "tenants: a tenant is 1 to 63 of a-z, 0-9 and -"
        } else if cluster.lease.is_empty()
            || cluster.start_timeout_seconds == 0
            || cluster.max_backoff_seconds == 0
        {
            "lease, start_timeout_seconds and max_backoff_seconds must not be empty"
        } else {
            return Ok(());
        };
        Err(ConfigError::Invalid {
            key: "resources.kubernetes",
            problem: problem.to_owned(),
        })
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
