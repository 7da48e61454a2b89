//! All SQL.

pub mod chat;
pub mod media;
pub mod privacy;
pub mod quarantine;
