//! What can go wrong here that `trama_platform::Error` does not know by itself.

use trama_platform::{Error, Kind};
use trama_proto::ids::CaseId;

/// A transition that the state of a case does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It was resolved before.
    #[error("the case is resolved")]
    Resolved,
    /// It lives on in another case.
    #[error("the case was merged into {0}: use that one")]
    Merged(CaseId),
    /// Only a merged case can be taken apart again.
    #[error("the case is not merged")]
    NotMerged,
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Error::new(Kind::Precondition, rejected.to_string())
    }
}

/// No such case, for this tenant.
pub fn no_case(id: CaseId) -> Error {
    Error::new(Kind::NotFound, format!("there is no case {id}"))
}

/// The case changed since the caller read it.
pub fn case_changed(id: CaseId) -> Error {
    Error::new(
        Kind::Conflict,
        format!("case {id} changed since; read it again and decide again"),
    )
}

/// A row that breaks its own rules.
pub fn broken_row(table: &str, row: impl std::fmt::Display, problem: &str) -> Error {
    Error::internal(format!("row {row} of {table}: {problem}"))
}
