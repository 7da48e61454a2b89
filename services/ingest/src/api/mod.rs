//! gRPC: requests are checked here and nowhere else.

mod chat;
mod ingest;
mod interaction;

pub use chat::ChatApi;
pub use ingest::IngestApi;
