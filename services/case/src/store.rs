//! All SQL. Sets in, sets out: a batch costs the same few round trips as a single message.

pub mod aliases;
pub mod articles;
pub mod cases;
pub mod expectations;
pub mod journey;
pub mod privacy;
pub mod timeline;
