//! Routing on real PostgreSQL and NATS.

mod audit;
mod desk;
mod figures;
mod handover;
mod held;
mod leader;
mod occupancy;
mod overflow;
mod queue;
mod rest;
mod sequences;
mod staffing;
mod supervise;
mod support;
mod wallboard;
