//! Who is who: pure decisions, no clock, no database.

pub mod arrivals;
pub mod challenge;
pub mod consent;
pub mod contact;
pub mod customer;
pub mod document;
pub mod handle;
pub mod here;
pub mod ids;
pub mod import;
pub mod merge;
pub mod profile;
pub mod proof;
pub mod resolution;
pub mod rules;
pub mod said;
pub mod signing;
pub mod standing;
pub mod survivorship;
