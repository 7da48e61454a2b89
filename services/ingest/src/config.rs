//! The section `services.ingest`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use trama_platform::{Error, config::ServerTls};

/// What is configured about the doors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// Where mail comes in, SMTP and LMTP alike. Port 0 takes a free one, which the log names.
    pub smtp_listen: SocketAddr,
    /// The name by which the mail door greets.
    pub smtp_hostname: String,
    /// Certificate and key of the mail door, which offers STARTTLS with them.
    pub smtp_tls: Option<ServerTls>,
    /// Mail connections at the same time; one more is told to come back later.
    pub smtp_connections: usize,
    /// Seconds without a word after which a mail connection is closed.
    pub smtp_idle_seconds: u64,
    /// Largest mail in bytes.
    pub max_mail_bytes: usize,
    /// Largest webhook body in bytes.
    pub max_body_bytes: usize,
    /// Seconds within which a webhook body must have arrived.
    pub body_seconds: u64,
    /// Webhooks of one channel that may wait for the journal at the same time.
    pub in_flight_per_channel: usize,
    /// Seconds without a word, pongs included, after which a chat connection is closed.
    pub chat_idle_seconds: u64,
    /// Seconds between pings on a chat connection.
    pub chat_ping_seconds: u64,
    /// Chat connections at the same time.
    pub chat_connections: usize,
    /// Largest frame a chat client may send, in bytes.
    pub chat_frame_bytes: usize,
    /// Lines a chat client may send in ten seconds.
    pub chat_lines_per_ten_seconds: u32,
    /// Files that are fetched from providers at the same time.
    pub media_concurrency: usize,
    /// Tries to fetch a file before the interaction goes on without it.
    pub media_attempts: i32,
    /// Largest file that is fetched, in bytes.
    pub max_media_bytes: usize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            smtp_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            smtp_hostname: "localhost".into(),
            smtp_tls: None,
            smtp_connections: 200,
            smtp_idle_seconds: 300,
            max_mail_bytes: 25 * 1024 * 1024,
            max_body_bytes: 3 * 1024 * 1024,
            body_seconds: 10,
            in_flight_per_channel: 1024,
            chat_idle_seconds: 70,
            chat_ping_seconds: 25,
            chat_connections: 10_000,
            chat_frame_bytes: 16 * 1024,
            chat_lines_per_ten_seconds: 30,
            media_concurrency: 16,
            media_attempts: 8,
            max_media_bytes: 100 * 1024 * 1024,
        }
    }
}

impl IngestConfig {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Names the field.
    pub fn validate(&self) -> Result<(), Error> {
        let positive = [
            ("smtp_connections", self.smtp_connections),
            ("max_mail_bytes", self.max_mail_bytes),
            ("max_body_bytes", self.max_body_bytes),
            ("in_flight_per_channel", self.in_flight_per_channel),
            ("chat_connections", self.chat_connections),
            ("chat_frame_bytes", self.chat_frame_bytes),
            ("media_concurrency", self.media_concurrency),
            ("max_media_bytes", self.max_media_bytes),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(Error::invalid(
                    format!("services.ingest.{field}"),
                    "must be positive",
                ));
            }
        }
        if self.chat_ping_seconds == 0 || self.chat_idle_seconds <= self.chat_ping_seconds {
            return Err(Error::invalid(
                "services.ingest.chat_idle_seconds",
                "must be larger than chat_ping_seconds, which is positive",
            ));
        }
        if self.smtp_hostname.is_empty()
            || !self
                .smtp_hostname
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        {
            return Err(Error::invalid(
                "services.ingest.smtp_hostname",
                "must be a host name",
            ));
        }
        if self.media_attempts < 1 {
            return Err(Error::invalid(
                "services.ingest.media_attempts",
                "must be positive",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_nonsense_is_named() {
        assert!(IngestConfig::default().validate().is_ok());
        let bad = IngestConfig {
            media_concurrency: 0,
            ..IngestConfig::default()
        };
        assert!(
            bad.validate()
                .is_err_and(|e| e.to_string().contains("media_concurrency"))
        );
        assert!(serde_json::from_str::<IngestConfig>(r#"{"smtp_port": 25}"#).is_err());
    }
}
