//! Trying the engine on a set of records with known truth: exactly the code that serves.

pub mod mapping;
pub mod metrics;
pub mod pairs;
pub mod records;
pub mod report;
pub mod run;

pub use mapping::Mapping;
pub use records::ReadError;
