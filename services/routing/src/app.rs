//! Use cases: load, decide, save, publish.

mod change;
mod desk;
mod requests;
mod supervise;
mod timers;

use std::sync::Arc;

use trama_platform::{Context, Db, resources::ResourceStore};

pub use change::Change;
pub use desk::{Command, Outcome};
pub use requests::Incoming;

use crate::{config::Config, desk::Hub};

/// Delayed work: an offer lapses.
pub(crate) const OFFER_EXPIRY: &str = "offer-expiry";
/// Delayed work: an agent who did not respond may be asked again.
pub(crate) const AGENT_RETURN: &str = "agent-return";
/// Delayed work: an agent's line has been gone for too long.
pub(crate) const DESK_GRACE: &str = "desk-grace";
/// Delayed work, due at once: after the commit, tell the desk that work in hand has changed.
pub(crate) const DESK_HINT: &str = "desk-hint";
/// Delayed work, due at once: more work waits for free agents than one transaction hands out.
pub(crate) const REMATCH: &str = "rematch";

/// The use cases of routing.
#[derive(Clone)]
pub struct Routing {
    pub(crate) db: Db,
    pub(crate) resources: ResourceStore,
    pub(crate) hub: Arc<Hub>,
    pub(crate) config: Config,
}

impl Routing {
    /// Over what the platform gives.
    pub fn new(context: &Context, hub: Arc<Hub>, config: Config) -> Self {
        Self {
            db: context.db.clone(),
            resources: context.resources.clone(),
            hub,
            config,
        }
    }
}
