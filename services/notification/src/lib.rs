//! Messages on their way out: the right channel, the right tone, every outcome.
//!
//! **Owns** messages, the tries to send them, and receipts that came early.
//! **Serves** `NotificationService`: one message with its tries, proactive messages, a check of a text's tone.
//! **Listens to** `message_requested`, `receipt_received`, `customer_merged`, `customer_split`, `privacy_requested`.
//! **Publishes** `message_sent`, `message_delivered`, `message_read`, `message_failed`; `message_requested` for its own RPC.
//!
//! A message is queued by the stage and sent by the [`app::Sender`]: it takes the first in line of each customer, asks
//! identity once for all it took where they may be reached, speaks in the [`persona`]'s tone, and calls the
//! [`providers`]. Nothing waits for a provider while a transaction is open.
//!
//! # What a crash or a lost answer means
//!
//! A try is written down as `sending` before its provider is called. When the answer is lost, the outcome is
//! *unknown*: the provider may have sent the text.
//!
//! | channel | what then |
//! |---|---|
//! | web chat | tried again; ingest drops the repeat by message id |
//! | email | tried again with the same Message-ID, so that the receiver can drop the repeat |
//! | WhatsApp | a receipt that brings our id back within `unknown_after_seconds` settles it; else tried once more |
//! | SMS | Twilio gives nothing back to compare: tried once more after the same pause |
//!
//! We choose at-least-once: an answer that never arrives is worse than one that arrives twice. A second unknown
//! outcome ends it as failed.

mod api;
mod app;
mod config;
mod consumer;
mod domain;
mod error;
mod persona;
mod providers;
mod store;
mod templates;

use std::sync::Arc;

use tokio::sync::Notify;
use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::notification::v1::notification_service_server::NotificationServiceServer;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The service.
pub fn service() -> Arc<dyn Service> {
    Arc::new(Notification)
}

struct Notification;

#[async_trait::async_trait]
impl Service for Notification {
    fn name(&self) -> &'static str {
        "notification"
    }

    fn schema(&self) -> &'static str {
        "notification"
    }

    fn migrations(&self) -> &'static sqlx::migrate::Migrator {
        &MIGRATIONS
    }

    fn sealed(&self) -> &'static [trama_platform::sealing::Column] {
        store::privacy::SEALED
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: config::Config = context.config.section(self.name())?;
        config.validate()?;
        let mut parts = Parts::default();
        parts
            .grpc
            .add_service(NotificationServiceServer::new(api::Api::new(&context)));
        let wake = Arc::new(Notify::new());
        parts.stages.push(Stage::of_events(
            "notification",
            Arc::new(consumer::Consumer {
                wake: Arc::clone(&wake),
            }),
        ));
        parts.privacy = Some(Arc::new(app::Holding));
        let sender = app::Sender::new(&context, config, wake);
        let stopping = context.lifecycle.stopping();
        parts
            .tasks
            .push(("sender", Box::pin(async move { sender.run(stopping).await })));
        Ok(parts)
    }
}
