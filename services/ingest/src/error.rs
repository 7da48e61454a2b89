//! Errors of the doors; `trama_platform::Error` says the rest.

use trama_platform::{Error, Kind};

/// Why a webhook was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The request carries no signature at all.
    #[error("the request carries no signature")]
    Missing,
    /// It carries one, and it is not the right one.
    #[error("the signature is not right")]
    Wrong,
}

impl From<Forged> for Error {
    fn from(forged: Forged) -> Self {
        let kind = match forged {
            Forged::Missing => Kind::Unauthenticated,
            Forged::Wrong => Kind::Denied,
        };
        Error::new(kind, forged.to_string())
    }
}

/// There is no such channel, or it is of another kind: both look alike from outside.
pub fn no_such_channel(channel: &str) -> Error {
    let shown: String = channel.chars().take(63).collect();
    Error::not_found("channel", shown)
}
