//! The platform's error says it all; here are the ones that this service raises.

use trama_platform::{Error, Kind};
use trama_proto::ids::MessageId;

/// There is no such message.
pub fn no_such_message(id: MessageId) -> Error {
    Error::not_found("message", id)
}

/// A row that nobody but us can have written cannot be read.
pub fn broken_row(table: &str, row: impl std::fmt::Display) -> Error {
    Error::internal(format!("{table} {row} cannot be read"))
}

/// A setting that cannot work.
pub fn bad_setting(problem: &str) -> Error {
    Error::new(Kind::Precondition, format!("services.notification: {problem}"))
}
