//! Against real PostgreSQL and NATS.

mod ages;
mod audited;
mod consent;
mod contradiction;
mod crash;
mod documents;
mod erased;
mod handles;
mod hierarchy;
mod import;
mod keys;
mod later;
mod limits;
mod model;
mod never_twice;
mod pains;
mod people;
mod profile;
mod profile_world;
mod similar;
mod standing;
mod stream;
mod verification;
mod verification_methods;
mod withdrawn;
mod world;
