//! Routing on real PostgreSQL and NATS.

mod desk;
mod figures;
mod handover;
mod leader;
mod queue;
mod rest;
mod staffing;
mod supervise;
mod support;
