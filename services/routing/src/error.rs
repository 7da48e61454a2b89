//! How this service says no. The kind decides code, status and what becomes of a message.

use std::fmt;

use trama_platform::{Error, Kind};
use trama_proto::ids::{AgentId, OfferId, WorkItemId};

use crate::domain::Rejected;

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Error::new(Kind::Precondition, rejected.to_string())
    }
}

/// The caller is not an agent of this tenant.
pub(crate) fn unknown_agent(agent: &AgentId) -> Error {
    Error::new(
        Kind::NotFound,
        format!("agent {agent} does not exist; create it with UpsertAgent"),
    )
}

/// There is no such offer.
pub(crate) fn unknown_offer(offer: OfferId) -> Error {
    Error::not_found("offer", offer)
}

/// There is no such item.
pub(crate) fn unknown_item(item: WorkItemId) -> Error {
    Error::not_found("work item", item)
}

/// Somebody else changed what we were about to change.
pub(crate) fn lost_race(what: &str) -> Error {
    Error::new(
        Kind::Conflict,
        format!("somebody else was faster: {what} changed; read again and decide again"),
    )
}

/// A row that cannot be: table, key and what is wrong, for the log only.
pub(crate) fn broken_row(table: &str, key: impl fmt::Display, what: &str) -> Error {
    Error::internal(format!("routing.{table} {key}: {what}"))
}
