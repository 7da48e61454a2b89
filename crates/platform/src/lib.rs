//! The runtime of Trama. It knows no domain word: it moves messages, keeps promises and opens doors.
//!
//! A service implements [`Service`], is given a [`Context`] and hands back [`Parts`]: gRPC services, HTTP routes,
//! [`stage`]s, timers. [`start`] runs one service or all of them; there is no second wiring.
//!
//! The promise: *nothing lost, nothing doubled*. State, inbox, outbox and timers change in one transaction
//! ([`db::Tx`]); what was committed is published, what was published twice is worked in once.

pub mod audit;
pub mod auth;
mod binary;
pub mod bus;
pub mod client;
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod failpoint;
mod leases;
pub mod lifecycle;
pub mod limits;
pub mod objects;
mod origin;
pub mod outbound;
mod outbox;
pub mod page;
mod patience;
pub mod privacy;
pub mod resources;
pub mod sealing;
mod server;
mod service;
pub mod stage;
mod statistics;
pub mod telemetry;
pub mod timers;
pub mod tls;

pub use auth::Principal;
pub use binary::{block_on, is_ready, main, until_terminated};
pub use client::{Clients, ServiceChannel};
pub use clock::Clock;
pub use config::Config;
pub use db::{Command, Db, Publishing, Single, Tx};
pub use error::{Error, Kind, Violation};
pub use lifecycle::Lifecycle;
pub use origin::Origins;
pub use patience::Patience;
pub use server::{Addresses, Sockets};
pub use service::{Context, Options, Parts, Quiet, Running, Service, Task, install_crypto, principal, start};
