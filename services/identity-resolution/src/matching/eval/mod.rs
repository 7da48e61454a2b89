//! Trying the engine on a set of records with known truth, by the engine that serves whoever no handle names.

pub mod mapping;
pub mod metrics;
pub mod pairs;
pub mod records;
pub mod report;
pub mod run;

pub use mapping::Mapping;
pub use records::ReadError;
