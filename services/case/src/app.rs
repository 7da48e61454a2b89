//! Use cases: load, decide, save, publish.

mod batch;
mod commands;
mod hear;
mod merge;
mod privacy;
mod reading;
mod report;
mod snapshot;
mod split;
mod told;
mod work;
mod workspace;

use std::sync::Arc;

use trama_platform::{Db, resources::ResourceStore};

use crate::{config::Config, understanding::Models};

pub use commands::{Reply, not_found, parse_article_version};
pub use privacy::Holding;

/// The use cases of this service.
pub struct App {
    db: Db,
    resources: ResourceStore,
    models: Arc<Models>,
    config: Config,
}

impl App {
    /// With a database and the resources in force; learns the tenants' intents.
    pub fn new(db: Db, resources: ResourceStore, config: Config) -> Self {
        let models = Arc::new(Models::new(config.sure()));
        models.warm(&resources.snapshot());
        Self {
            db,
            resources,
            models,
            config,
        }
    }
}
