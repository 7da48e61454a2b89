//! Where requests come in, and from whom.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::ServerTls;

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
