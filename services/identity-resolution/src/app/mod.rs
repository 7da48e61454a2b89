//! Use cases: load, decide, save, publish.

mod auditing;
mod consenting;
mod customers;
mod explaining;
mod exporting;
mod handling;
mod hierarchy;
pub mod hooks;
mod identify;
mod importing;
mod linking;
mod observing;
mod parting;
pub mod privacy;
mod profiles;
mod records;
mod reevaluating;
mod regrouping;
mod relating;
mod resolving;
mod reviewing;
mod similarity;
mod splitting;
pub mod telling;
mod verification;
mod verifying;
mod waking;
mod withdrawing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ring::rand::SystemRandom;
use trama_platform::{Db, Error, Tx, resources::ResourceStore};
use trama_proto::{
    identity_resolution::v1::CustomerChanged,
    ids::{AgentId, CustomerId, TenantId},
    resources::Resources,
};

use crate::{
    config::IdentityConfig,
    domain::{customer::Customer, handle::HandleKey, profile::Schema, rules::Rules},
    error::{no_customer, overtaken},
    store::{self, Question},
};

pub use consenting::{Consenting, Proof};
pub use customers::{ContactQuestion, ProfileChange};
pub use exporting::Export;
pub use identify::Received;
pub use importing::LARGEST_CHUNK;
pub use linking::{Link, Merge};
pub use observing::REEVALUATE;
pub use profiles::{Granting, Statement, Wanted};
pub use records::NewRecord;
pub use reevaluating::ROUND;
pub use relating::Together;
pub use resolving::{KNOWN_WORKERS, WORKERS};
pub use verification::{Asked, Check};
pub use verifying::Requirement;

/// Who asks, for which tenant.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose data.
    pub tenant: TenantId,
    /// Agent, integrator or service.
    pub subject: AgentId,
    /// From where; empty when nobody has called at all.
    pub origin: String,
}

/// The use cases and what they need.
pub struct App {
    db: Db,
    resources: ResourceStore,
    config: IdentityConfig,
    random: SystemRandom,
    compiled: Mutex<Compiled>,
    waiting: resolving::Lanes,
    armed: observing::Armed,
    privacy: privacy::Privacy,
}

/// The resources in force, compiled tenant by tenant when first asked for.
#[derive(Default)]
struct Compiled {
    of: Arc<Resources>,
    rules: HashMap<TenantId, Arc<Rules>>,
    schemas: HashMap<TenantId, Arc<Schema>>,
}

impl App {
    /// Wires the use cases.
    pub fn new(db: Db, resources: ResourceStore, config: IdentityConfig, privacy: privacy::Privacy) -> Self {
        Self {
            db,
            resources,
            config,
            random: SystemRandom::new(),
            compiled: Mutex::default(),
            waiting: resolving::Lanes::default(),
            armed: observing::Armed::default(),
            privacy,
        }
    }

    /// The moment, for checking requests.
    pub fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.db.clock().now()
    }

    /// A tenant's rules, as in force now. Hold them for the whole of a decision.
    pub fn rules(&self, tenant: &TenantId) -> Arc<Rules> {
        let mut compiled = self.compiled();
        let Compiled { of, rules, .. } = &mut *compiled;
        let entry = rules.entry(tenant.clone());
        Arc::clone(entry.or_insert_with(|| {
            let (rules, problem) = Rules::checked(of.tenant(tenant));
            if let Some(problem) = problem {
                tracing::error!(%tenant, %problem, "a matching policy is not wholly in force");
            }
            Arc::new(rules)
        }))
    }

    /// The fields that a tenant keeps of its customers, as in force now.
    pub fn schema(&self, tenant: &TenantId) -> Arc<Schema> {
        let mut compiled = self.compiled();
        let Compiled { of, schemas, .. } = &mut *compiled;
        let entry = schemas.entry(tenant.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(Schema::new(of.tenant(tenant)))))
    }

    fn compiled(&self) -> MutexGuard<'_, Compiled> {
        let snapshot = self.resources.snapshot();
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&compiled.of, &snapshot) {
            *compiled = Compiled {
                of: snapshot,
                ..Compiled::default()
            };
        }
        compiled
    }
}

impl App {
    /// A customer by their own id or an old one.
    async fn read(&self, tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<Customer, Error> {
        let now = tx.now();
        let question = Question {
            customers: vec![(tenant, id)],
            ..Question::default()
        };
        let mut worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        worlds
            .get_mut(tenant)
            .and_then(|world| world.take(id))
            .ok_or_else(|| no_customer(id))
    }

    /// The same, held alone until the transaction ends.
    async fn read_alone(&self, tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<Customer, Error> {
        for _ in 0..5 {
            let found = self.read(tx, tenant, id).await?.id;
            if store::hold_alone(tx.conn(), tenant, &[found], &[id]).await? {
                // Read again: they may have changed while we waited for the lock.
                return self.read(tx, tenant, id).await;
            }
        }
        Err(overtaken())
    }

    /// Both, held alone until the transaction ends.
    async fn read_both_alone(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        (one, other): (CustomerId, CustomerId),
    ) -> Result<(Customer, Customer), Error> {
        for _ in 0..5 {
            let a = self.read(tx, tenant, one).await?.id;
            let b = self.read(tx, tenant, other).await?.id;
            if store::hold_alone(tx.conn(), tenant, &[a, b], &[one, other]).await? {
                return Ok((
                    self.read(tx, tenant, one).await?,
                    self.read(tx, tenant, other).await?,
                ));
            }
        }
        Err(overtaken())
    }

    /// All of them, as the customers they are by now, held alone until the transaction ends. Whoever was erased is missing.
    async fn read_all_alone(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        ids: impl Iterator<Item = &CustomerId> + Clone,
    ) -> Result<Vec<Customer>, Error> {
        for _ in 0..5 {
            let found = store::roots(tx.conn(), tenant, ids.clone().copied()).await?;
            let found: Vec<CustomerId> = found.into_iter().collect();
            let wanted: Vec<CustomerId> = ids.clone().copied().collect();
            if store::hold_alone(tx.conn(), tenant, &found, &wanted).await? {
                return self.roots(tx, tenant, ids).await;
            }
        }
        Err(overtaken())
    }

    /// Who holds a handle.
    async fn owner(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        key: &HandleKey,
    ) -> Result<Option<Customer>, Error> {
        let now = tx.now();
        let question = Question {
            handles: vec![(tenant, key)],
            ..Question::default()
        };
        let worlds = store::load(tx.conn(), &question, &|t| self.rules(t), now).await?;
        Ok(worlds.get(tenant).and_then(|w| w.owner(key)).cloned())
    }
}

/// Tells everybody what is now known of a customer.
fn publish_change(tx: &mut Tx, tenant: &TenantId, customer: &Customer, rules: &Rules, fields: &[&str]) {
    let event = CustomerChanged {
        customer: Some(customer.context(rules, tx.now(), false)),
        changed_fields: fields.iter().map(|f| (*f).to_owned()).collect(),
        ..CustomerChanged::default()
    };
    tx.publish(tenant, &customer.id.to_string(), &event);
}
