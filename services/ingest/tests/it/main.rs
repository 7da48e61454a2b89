//! The doors on real PostgreSQL and NATS.

mod api;
mod chat;
mod mail;
mod media;
mod support;
mod webhook;
