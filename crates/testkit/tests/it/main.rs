//! The runtime on real servers, with a service of the test's own.
//!
//! These tests live beside the testkit, which depends on the platform: the platform itself cannot depend on both.

mod auth;
mod counter;
mod limits;
mod objects;
mod stage;
mod timers;
