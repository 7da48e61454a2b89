//! Who is who: pure decisions, no clock, no database.

pub mod challenge;
pub mod contact;
pub mod customer;
pub mod handle;
pub mod merge;
pub mod resolution;
pub mod rules;
