//! Against real PostgreSQL and NATS.

mod people;
mod stream;
mod verification;
mod world;
