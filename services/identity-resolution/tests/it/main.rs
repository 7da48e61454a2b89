//! Against real PostgreSQL and NATS.

mod consent;
mod crash;
mod handles;
mod import;
mod later;
mod model;
mod pains;
mod people;
mod profile;
mod profile_world;
mod similar;
mod stream;
mod verification;
mod verification_methods;
mod world;
