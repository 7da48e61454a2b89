//! Against real PostgreSQL and NATS.

mod audited;
mod concurrent;
mod consent;
mod crash;
mod documents;
mod erased;
mod handles;
mod hierarchy;
mod import;
mod keys;
mod later;
mod like_eval;
mod limits;
mod model;
mod never_twice;
mod pains;
mod people;
mod profile;
mod profile_world;
mod similar;
mod stream;
mod verification;
mod verification_methods;
mod world;
