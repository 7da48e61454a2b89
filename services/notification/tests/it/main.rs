//! The service on real PostgreSQL and NATS, against the provider stand-in.

mod identity;
mod receipts;
mod sending;
mod splits;
mod world;
