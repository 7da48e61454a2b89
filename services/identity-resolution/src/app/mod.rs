//! Use cases: load, decide, save, publish.

mod customers;
mod identify;
mod linking;
mod verifying;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
    domain::{customer::Customer, rules::Rules},
    error::{no_customer, overtaken},
    store::{self, Question},
};

pub use customers::{ContactQuestion, ProfileChange};
pub use identify::Received;
pub use linking::{Link, Merge};
pub use verifying::Requirement;

/// Who asks, for which tenant.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose data.
    pub tenant: TenantId,
    /// Agent, integrator or service.
    pub subject: AgentId,
}

/// The use cases and what they need.
pub struct App {
    db: Db,
    resources: ResourceStore,
    config: IdentityConfig,
    random: SystemRandom,
    rules: Mutex<Compiled>,
}

/// The rules of the resources in force, compiled tenant by tenant when first asked for.
#[derive(Default)]
struct Compiled {
    of: Arc<Resources>,
    tenants: HashMap<TenantId, Arc<Rules>>,
}

impl App {
    /// Wires the use cases.
    pub fn new(db: Db, resources: ResourceStore, config: IdentityConfig) -> Self {
        Self {
            db,
            resources,
            config,
            random: SystemRandom::new(),
            rules: Mutex::default(),
        }
    }

    /// A tenant's rules, as in force now. Hold them for the whole of a decision.
    pub fn rules(&self, tenant: &TenantId) -> Arc<Rules> {
        let snapshot = self.resources.snapshot();
        let mut compiled = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&compiled.of, &snapshot) {
            *compiled = Compiled {
                of: Arc::clone(&snapshot),
                tenants: HashMap::new(),
            };
        }
        let entry = compiled.tenants.entry(tenant.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(Rules::new(snapshot.tenant(tenant)))))
    }
}

/// A customer by their own id or an old one.
async fn read(tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<Customer, Error> {
    let now = tx.now();
    let question = Question {
        customers: vec![(tenant, id)],
        ..Question::default()
    };
    let mut worlds = store::load(tx.conn(), &question, now).await?;
    worlds
        .get_mut(tenant)
        .and_then(|world| world.take(id))
        .ok_or_else(|| no_customer(id))
}

/// The same, held alone until the transaction ends.
async fn read_alone(tx: &mut Tx, tenant: &TenantId, id: CustomerId) -> Result<Customer, Error> {
    for _ in 0..5 {
        let found = read(tx, tenant, id).await?.id;
        if store::lock(tx.conn(), &[(tenant, found)], true).await?.is_empty() {
            // Read again: it may have changed while we waited for the lock.
            let customer = read(tx, tenant, found).await?;
            if customer.id == found {
                return Ok(customer);
            }
        }
    }
    Err(overtaken())
}

/// Tells everybody what is now known of a customer.
fn publish_change(tx: &mut Tx, tenant: &TenantId, customer: &Customer, rules: &Rules, fields: &[&str]) {
    let event = CustomerChanged {
        customer: Some(customer.context(rules, tx.now(), false)),
        changed_fields: fields.iter().map(|f| (*f).to_owned()).collect(),
    };
    tx.publish(tenant, &customer.id.to_string(), &event);
}
