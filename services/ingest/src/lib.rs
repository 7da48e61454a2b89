//! The doors of the platform. Answers a provider only when what it sent is on disk; everything else comes after.
//!
//! - **Owns** the schema `ingest`: deliveries in quarantine, interactions that wait for files, chat conversations.
//! - **Serves** gRPC `IngestService` and `ChatService`; HTTP `/webhooks/{tenant}/{channel}` (WhatsApp Cloud API,
//!   Twilio voice and messages) and `/chat/{tenant}/{channel}` (WebSocket); SMTP and LMTP.
//! - **Listens to** the journal `INGRESS`, which its own doors write, and `privacy_requested`.
//! - **Publishes** `InteractionReceived`, `HandleChanged` and `ReceiptReceived`.
//!
//! The way of a record: door → [`app::journal`] → [`consumer`] → [`channels`] → event, by way of [`app::media`] when
//! files are still with the provider.

pub mod api;
pub mod app;
pub mod channels;
pub mod config;
pub mod consumer;
pub mod domain;
pub mod doors;
pub mod error;
pub mod store;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use trama_platform::{Context, Error, Kind, Parts, Service, bus::Stream, privacy::PrivacyKeys, stage::Stage};
use trama_proto::ingest::v1::{
    chat_service_server::ChatServiceServer, ingest_service_server::IngestServiceServer,
};

use crate::{
    api::{ChatApi, IngestApi},
    app::{chat::Chat, journal::Journal, media, quarantine::Quarantine},
    config::IngestConfig,
    consumer::Normaliser,
    doors::Doors,
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The service.
#[derive(Default)]
pub struct Ingest {
    smtp_address: OnceLock<SocketAddr>,
}

/// The service, for a process that runs it.
pub fn service() -> Arc<dyn Service> {
    Arc::new(Ingest::default())
}

impl Ingest {
    /// Where mail comes in, once the service is built: the port that was found when the configured one is 0.
    pub fn smtp_address(&self) -> Option<SocketAddr> {
        self.smtp_address.get().copied()
    }
}

#[async_trait::async_trait]
impl Service for Ingest {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn schema(&self) -> &'static str {
        "ingest"
    }

    fn migrations(&self) -> &'static Migrator {
        &MIGRATIONS
    }

    fn sealed(&self) -> &'static [trama_platform::sealing::Column] {
        store::privacy::SEALED
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: IngestConfig = context.config.section("ingest")?;
        config.validate()?;
        let config = Arc::new(config);
        let listener = TcpListener::bind(config.smtp_listen).await.map_err(|e| {
            Error::new(
                Kind::Precondition,
                format!(
                    "services.ingest.smtp_listen {}: {e}; is something else running there?",
                    config.smtp_listen
                ),
            )
        })?;
        let address = listener.local_addr().map_err(Error::internal)?;
        tracing::info!(smtp = %address, "listening for mail");
        // Built twice, the first address stays: the second service object has its own.
        let _ = self.smtp_address.set(address);

        let journal = Journal::new(
            context.bus.clone(),
            context.objects.clone(),
            context.clock.clone(),
        );
        let chat = Chat {
            db: context.db.clone(),
            bus: context.bus.clone(),
            journal: journal.clone(),
            clock: context.clock.clone(),
        };
        let doors = Doors {
            journal: journal.clone(),
            chat: chat.clone(),
            resources: context.resources.clone(),
            secrets: context.secrets.clone(),
            config: Arc::clone(&config),
            clock: context.clock.clone(),
            lifecycle: context.lifecycle.clone(),
        };
        let mut parts = Parts::default();
        parts.grpc.add_service(IngestServiceServer::new(IngestApi {
            journal: journal.clone(),
            quarantine: Quarantine {
                db: context.db.clone(),
                journal,
                clock: context.clock.clone(),
            },
            objects: context.objects.clone(),
            resources: context.resources.clone(),
        }));
        parts.grpc.add_service(ChatServiceServer::new(ChatApi {
            chat,
            resources: context.resources.clone(),
        }));
        parts.http = doors::webhook::routes(doors.clone()).merge(doors::chat::routes(doors.clone()));
        parts.stages.push(Stage {
            name: "ingest",
            stream: Stream::Ingress,
            events: vec!["*".to_owned()],
            handler: Arc::new(Normaliser {
                resources: context.resources.clone(),
                objects: context.objects.clone(),
            }),
        });
        parts.privacy = Some(Arc::new(app::privacy::Holding {
            objects: context.objects.clone(),
            keys: PrivacyKeys::new(&context.config.privacy),
            bus: context.bus.clone(),
        }));
        // Requests of privacy are all that it hears; they go to the holder.
        parts
            .stages
            .push(Stage::of_events("ingest", Arc::new(consumer::Nothing)).named("ingest-privacy"));
        let (due, waiting) = media::queue(&config);
        parts.timers = Some(Arc::new(due));
        let fetcher = media::Fetcher {
            db: context.db,
            objects: context.objects,
            outbound: context.outbound,
            resources: context.resources,
            secrets: context.secrets,
            config,
        };
        let stopping = context.lifecycle.stopping();
        parts
            .tasks
            .push(("media", Box::pin(fetcher.run(waiting, stopping))));
        parts
            .tasks
            .push(("smtp", Box::pin(doors::smtp::serve(doors, listener))));
        Ok(parts)
    }
}
