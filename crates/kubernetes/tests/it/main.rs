//! The source on a real socket, against a double of the API server.

mod api_server;
mod harness;
mod reading;
mod starting;
mod telling;

use std::time::Duration;

/// How long a test waits for what must happen before it says that it did not.
const PATIENCE: Duration = Duration::from_secs(20);
