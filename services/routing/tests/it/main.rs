//! Routing on real PostgreSQL and NATS.

mod desk;
mod figures;
mod queue;
mod support;
