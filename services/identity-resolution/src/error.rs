//! What can go wrong here, in words that callers can act on.

use trama_platform::{Error, Kind};
use trama_proto::ids::{ChallengeId, CustomerId, MergeId};

/// No such customer.
pub fn no_customer(id: CustomerId) -> Error {
    Error::not_found("customer", id)
}

/// No such merge.
pub fn no_merge(id: MergeId) -> Error {
    Error::not_found("merge", id)
}

/// No such challenge.
pub fn no_challenge(id: ChallengeId) -> Error {
    Error::not_found("challenge", id)
}

/// The thing is not in a state that allows this.
pub fn refused(words: impl Into<String>) -> Error {
    Error::new(Kind::Precondition, words)
}

/// Another transaction wrote the same handles; the caller's next try sees them.
pub fn overtaken() -> Error {
    Error::new(Kind::Conflict, "the customer changed meanwhile; try again")
}

/// A row that breaks a promise of the schema.
pub fn broken_row(table: &str, key: impl std::fmt::Display) -> Error {
    Error::internal(format!("{table}: row {key} cannot be read"))
}
