//! The service on real PostgreSQL and NATS.

mod asking;
mod splits;
mod world;
