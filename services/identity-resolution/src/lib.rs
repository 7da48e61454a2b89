//! Who is this, how sure are we, and how do they want to be reached?
//!
//! **Owns** customers, their handles, merges, verifications, preferences and consents (schema `identity`).
//! **Serves** `trama.identity_resolution.v1.IdentityService`.
//! **Listens to** `interaction_received`.
//! **Publishes** `interaction_identified`, `customer_merged`, `customer_split`, `customer_changed`, and
//! `message_requested` for one-time codes.

mod api;
mod app;
mod config;
mod consumer;
mod domain;
mod error;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::identity_resolution::v1::identity_service_server::IdentityServiceServer;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
const NAME: &str = "identity-resolution";

/// The service, for its own binary and for `trama up`.
pub fn service() -> Arc<dyn Service> {
    Arc::new(IdentityResolution)
}

struct IdentityResolution;

#[async_trait]
impl Service for IdentityResolution {
    fn name(&self) -> &'static str {
        NAME
    }

    fn schema(&self) -> &'static str {
        "identity"
    }

    fn migrations(&self) -> &'static Migrator {
        &MIGRATIONS
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: config::IdentityConfig = context.config.section(NAME)?;
        let app = Arc::new(app::App::new(context.db, context.resources, config));
        let mut parts = Parts::default();
        parts
            .grpc
            .add_service(IdentityServiceServer::new(api::Api::new(Arc::clone(&app))));
        parts
            .stages
            .push(Stage::of_events(NAME, Arc::new(consumer::Consumer::new(app))));
        Ok(parts)
    }
}
