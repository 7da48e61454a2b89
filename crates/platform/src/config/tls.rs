//! Certificates and keys, all as files in PEM. They are read again when they change.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ListenConfig;

/// TLS of a door.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTls {
    /// Our certificate, with those that lead to its root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who calls must have a certificate of one of these CAs (mTLS).
    pub client_ca: Option<PathBuf>,
    /// Who has none may call all the same; one of another CA is still refused.
    pub client_optional: bool,
}

/// TLS towards other services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteTls {
    /// CAs of their certificates.
    pub ca: Option<PathBuf>,
    /// Our certificate, for those who ask for one.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl ListenConfig {
    /// Which key is wrong, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let doors = [
            ("listen.grpc_tls", &self.grpc_tls),
            ("listen.http_tls", &self.http_tls),
        ];
        doors.into_iter().find_map(|(door, tls)| {
            let tls = tls.as_ref()?;
            let half = tls.cert.as_os_str().is_empty() || tls.key.as_os_str().is_empty();
            let words = "cert and key must both be files";
            if half {
                return Some((door, words));
            }
            (tls.client_optional && tls.client_ca.is_none())
                .then_some((door, "client_optional means nothing without client_ca"))
        })
    }
}

impl RemoteTls {
    /// Which key is wrong, and why.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        (self.cert.is_some() != self.key.is_some())
            .then_some(("remote_tls", "cert and key must both be files, or none of them"))
    }
}
