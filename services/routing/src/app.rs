//! Use cases: load, decide, save, publish.

mod agents;
mod callback;
mod change;
mod commands;
pub mod figures;
mod fit;
mod handover;
mod occupancy;
mod overflow;
mod privacy;
mod requests;
mod signals;
pub mod staffing;
mod supervise;
mod timers;
mod told;
mod wallboard;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use prost::Message;
use trama_platform::{Context, Db, Error, Kind, Tx, resources::ResourceStore};
use trama_proto::ids::{AgentId, TenantId};

pub use agents::PresenceWish;
pub use change::{Change, Overflowing};
pub use commands::{Commands, Order};
pub use handover::{Passing, Where};
pub(crate) use overflow::{Looked, asks};
pub use privacy::Holding;
pub use requests::Incoming;
pub use signals::Signals;
pub use supervise::Requeue;
pub use wallboard::{Shown, Wallboards};

use crate::{config::Config, desk::Hub, dispatcher::Leaders, domain::Rules, store};

/// Delayed work: an offer lapses.
pub(crate) const OFFER_EXPIRY: &str = "offer-expiry";
/// Delayed work: an agent who did not respond may be asked again.
pub(crate) const AGENT_RETURN: &str = "agent-return";
/// Delayed work: an agent's line has been gone for too long.
pub(crate) const DESK_GRACE: &str = "desk-grace";
/// Delayed work: what an agent left behind goes to somebody else.
pub(crate) const LEFT_BEHIND: &str = "left-behind";
/// Delayed work: a wrap-up ends by itself.
pub(crate) const WRAP_UP: &str = "wrap-up";
/// Delayed work: a conversation in which nobody says anything comes to rest.
pub(crate) const PARK: &str = "park";

/// How often a transaction that lost a race is tried.
const ATTEMPTS: u32 = 5;

/// The use cases of routing.
#[derive(Clone)]
pub struct Routing {
    pub(crate) db: Db,
    pub(crate) resources: ResourceStore,
    pub(crate) hub: Arc<Hub>,
    pub(crate) leaders: Arc<Leaders>,
    pub(crate) signals: Signals,
    pub(crate) config: Config,
    /// Tenants that are known to have a lease.
    led: Arc<Mutex<HashSet<TenantId>>>,
}

impl Routing {
    /// Over what the platform gives.
    pub fn new(
        context: &Context,
        hub: Arc<Hub>,
        leaders: Arc<Leaders>,
        signals: Signals,
        config: Config,
    ) -> Self {
        Self {
            db: context.db.clone(),
            resources: context.resources.clone(),
            hub,
            leaders,
            signals,
            config,
            led: Arc::default(),
        }
    }

    /// The rules of a tenant's matching.
    pub(crate) fn rules(&self, tenant: &TenantId) -> Rules {
        Rules::of(self.resources.snapshot().tenant(tenant))
    }

    /// Makes sure that somebody leads a tenant that has something to match.
    async fn led(&self, tx: &mut Tx, tenant: &TenantId) -> Result<(), Error> {
        let known = |set: &Mutex<HashSet<TenantId>>| {
            set.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(tenant)
        };
        if known(&self.led) {
            return Ok(());
        }
        store::ensure_lease(tx.conn(), tenant).await?;
        let (led, leaders, tenant) = (Arc::clone(&self.led), Arc::clone(&self.leaders), tenant.clone());
        tx.after_commit(move || {
            led.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant);
            leaders.look_for_work();
        });
        Ok(())
    }
}

/// A command as it came: who orders it, under which request id.
pub struct Ordered<'a, Q> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Who: the subject of the credential.
    pub subject: &'a str,
    /// Name of the method.
    pub method: &'static str,
    /// Id given by the caller.
    pub request_id: &'a str,
    /// The request.
    pub request: &'a Q,
}

impl<Q: Message> Ordered<'_, Q> {
    fn command(&self) -> trama_platform::Command<'_, Q> {
        trama_platform::Command::new(
            self.tenant,
            self.subject,
            self.method,
            self.request_id,
            self.request,
        )
    }
}

/// Runs a command once: a repeat gets the first answer. A transaction that lost a race is tried again, because the caller
/// can do nothing about that.
///
/// A macro, because a future that borrows what an async closure captures cannot be shown to be `Send` (rust#110338).
macro_rules! once {
    ($routing:expr, $ordered:expr, |$tx:ident| $body:block) => {{
        let mut attempt = 1;
        loop {
            let result = async {
                let mut opened = $routing.db.tx($ordered.tenant).await?;
                if let Some(answer) = opened.replay(&$ordered.command()).await? {
                    return Ok(answer);
                }
                let $tx = &mut opened;
                let answered: Result<_, trama_platform::Error> = async { $body }.await;
                let answer = answered?;
                opened.remember(&$ordered.command(), &answer).await?;
                opened.commit().await?;
                Ok(answer)
            };
            match result.await {
                Err(error) if $crate::app::lost_race(&error) && attempt < $crate::app::ATTEMPTS => {
                    attempt += 1
                }
                result => break result,
            }
        }
    }};
}
use once;

/// A deadlock, or somebody was faster in the database; our own refusals carry no source.
fn lost_race(error: &Error) -> bool {
    error.kind() == Kind::Conflict && std::error::Error::source(error).is_some()
}

pub(super) async fn get_agent(
    tx: &mut Tx,
    tenant: &TenantId,
    agent: &AgentId,
) -> Result<crate::domain::Agent, Error> {
    store::find_agent(tx.conn(), tenant, agent)
        .await?
        .ok_or_else(|| crate::error::unknown_agent(agent))
}
