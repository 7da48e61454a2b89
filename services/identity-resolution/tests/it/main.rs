//! Against real PostgreSQL and NATS.

mod people;
mod model;
mod similar;
mod pains;
mod stream;
mod verification;
mod world;
mod consent;
mod import;
mod profile;
mod profile_world;
mod verification_methods;
