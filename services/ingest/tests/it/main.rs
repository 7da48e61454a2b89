//! The doors on real PostgreSQL and NATS.

mod api;
mod chat;
mod limits;
mod mail;
mod media;
mod starttls;
mod support;
mod webhook;
