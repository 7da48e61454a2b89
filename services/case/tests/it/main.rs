//! The case service on real PostgreSQL and NATS.

mod api;
mod assistant;
mod audited;
mod brands;
mod intake;
mod knowledge;
mod merges;
mod outcomes;
mod story;
mod surveys;
mod work;
