//! Use cases.

pub mod chat;
pub mod journal;
pub mod media;
pub mod privacy;
pub mod quarantine;
