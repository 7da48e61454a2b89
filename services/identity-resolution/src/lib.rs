//! Who is this, how sure are we, and how do they want to be reached?
//!
//! **Owns** customers, their handles, merges, verifications, preferences and consents, and the audit log of all services
//! (schema `identity`).
//! **Serves** `IdentityService`, `ReviewService`, `VerificationService`, `ProfileService`, `ImportService`,
//! `PrivacyService` and `AuditService` of `trama.identity_resolution.v1`, and a door for reports of documents' checks.
//! **Listens to** `interaction_received`, `handle_changed`, `privacy_done`, `audit_recorded`.
//! **Publishes** `interaction_identified`, `customer_merged`, `customer_split`, `customer_changed`, `privacy_requested`,
//! and `message_requested` for one-time codes.

mod api;
mod app;
mod config;
mod consumer;
mod domain;
mod error;
pub mod matching;
pub mod seeding;
mod store;
mod timers;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use trama_platform::{Context, Error, Parts, Service, bus::Stream, privacy::PrivacyKeys, stage::Stage};
use trama_proto::{
    audit::v1::AuditRecorded,
    events::Event as _,
    identity_resolution::v1::{
        audit_service_server::AuditServiceServer, identity_service_server::IdentityServiceServer,
        import_service_server::ImportServiceServer, privacy_service_server::PrivacyServiceServer,
        profile_service_server::ProfileServiceServer, review_service_server::ReviewServiceServer,
        verification_service_server::VerificationServiceServer,
    },
    ingest::v1::{HandleChanged, InteractionReceived},
    privacy::v1::PrivacyDone,
};

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
        let privacy = app::privacy::Privacy {
            keys: PrivacyKeys::new(&context.config.privacy),
            objects: context.objects.clone(),
        };
        let app = Arc::new(app::App::new(context.db, context.resources, config, privacy));
        let outside = app::hooks::Outside::new(context.outbound, context.secrets);
        let mut parts = Parts {
            http: api::documents::routes(Arc::clone(&app), outside.clone()),
            ..Parts::default()
        };
        parts
            .grpc
            .add_service(IdentityServiceServer::new(api::Api::new(Arc::clone(&app))))
            .add_service(ReviewServiceServer::new(api::review::Reviews::new(Arc::clone(
                &app,
            ))));
        parts
            .grpc
            .add_service(VerificationServiceServer::new(
                api::verification::VerificationApi::new(Arc::clone(&app), outside.clone()),
            ))
            .add_service(ProfileServiceServer::new(api::profile::ProfileApi::new(
                Arc::clone(&app),
            )))
            .add_service(
                ImportServiceServer::new(api::import::ImportApi::new(Arc::clone(&app)))
                    .max_decoding_message_size(2 * app::LARGEST_CHUNK),
            );
        parts
            .grpc
            .add_service(PrivacyServiceServer::new(api::privacy::PrivacyApi::new(
                Arc::clone(&app),
            )));
        parts.privacy = Some(Arc::new(app::privacy::Keeping(Arc::clone(&app))));
        parts.stages.push(Stage {
            name: "identity-privacy",
            stream: Stream::Events,
            events: vec![PrivacyDone::NAME.to_owned()],
            handler: Arc::new(consumer::Answers::new(Arc::clone(&app))),
        });
        parts
            .grpc
            .add_service(AuditServiceServer::new(api::audit::AuditApi::new(Arc::clone(
                &app,
            ))));
        parts.stages.push(Stage {
            name: "identity-audit",
            stream: Stream::Events,
            events: vec![AuditRecorded::NAME.to_owned()],
            handler: Arc::new(consumer::Keeper::new(Arc::clone(&app))),
        });
        let stopping = context.lifecycle.stopping();
        parts.tasks.push((
            "segments",
            Box::pin(Arc::clone(&app).watch_schemas(stopping.clone())),
        ));
        parts
            .tasks
            .push(("told-changes", Box::pin(Arc::clone(&app).tell(outside, stopping))));
        parts.stages.push(Stage {
            name: app::telling::STAGE,
            stream: Stream::Events,
            events: app::telling::EVENTS.map(str::to_owned).into(),
            handler: Arc::new(app::telling::Teller::new(Arc::clone(&app))),
        });
        for _ in 0..app::WORKERS {
            let stopping = context.lifecycle.stopping();
            let worker = Arc::clone(&app).resolve_waiting(stopping);
            parts.tasks.push(("records", Box::pin(worker)));
        }
        for _ in 0..app::KNOWN_WORKERS {
            let stopping = context.lifecycle.stopping();
            let worker = Arc::clone(&app).resolve_arriving(stopping);
            parts.tasks.push(("known-records", Box::pin(worker)));
        }
        parts.timers = Some(Arc::new(timers::Timers::new(Arc::clone(&app))));
        // Not `of_events`: what the other stage hears need not pass through the one that customers wait for.
        parts.stages.push(Stage {
            name: NAME,
            stream: Stream::Events,
            events: vec![
                InteractionReceived::NAME.to_owned(),
                HandleChanged::NAME.to_owned(),
            ],
            handler: Arc::new(consumer::Consumer::new(app)),
        });
        Ok(parts)
    }
}
