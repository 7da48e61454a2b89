//! All SQL.

pub mod chat;
pub mod media;
pub mod quarantine;
