//! What this service refuses, and how the platform is to take it.

use trama_platform::{Error, Kind};
use trama_proto::ids::InvitationId;

use crate::domain::Rejected;

/// There is no such asking.
pub fn no_such_invitation(id: InvitationId) -> Error {
    Error::not_found("invitation", id)
}

/// A row that nobody but us can have written cannot be read.
pub fn broken_row(table: &str, row: impl std::fmt::Display) -> Error {
    Error::internal(format!("{table} {row} cannot be read"))
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        let kind = match rejected {
            Rejected::OutsideScale { .. } | Rejected::NoSuchQuestion => Kind::Invalid,
            Rejected::AlreadyAnswered => Kind::AlreadyExists,
            Rejected::NotAsked | Rejected::Over | Rejected::TooLate | Rejected::NotScheduled => {
                Kind::Precondition
            }
        };
        Error::new(kind, rejected.to_string())
    }
}
