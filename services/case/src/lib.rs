//! One need, one case.
//!
//! - **Owns** (schema `cases`): cases, timelines, references, customer aliases, open survey questions, journey steps,
//!   articles with their versions and words.
//! - **Serves**: `trama.case.v1.CaseService`, `trama.case.v1.KnowledgeService`.
//! - **Listens to**: `interaction_identified`, `customer_merged`, `customer_split`, `customer_changed`, `case_requested`,
//!   `offer_made`, `offer_accepted`, `work_completed`, `work_transferred`, `work_overflowed`, `survey_question_asked`,
//!   `survey_responded`, `message_sent`, `message_delivered`, `message_read`, `message_failed`,
//!   `privacy_requested`.
//! - **Publishes**: `case_opened`, `work_requested`, `work_withdrawn`, `case_resolved`, `survey_answer_received`,
//!   `message_requested`.
//!
//! The way of a word: [`consumer`] reads a batch, `app` loads all that it touches in a few queries, `understanding` says
//! what each word means, [`domain::place`] says which need it belongs to, `app` writes everything at once.

mod api;
mod app;
mod config;
pub mod consumer;
pub mod domain;
pub mod error;
mod store;
pub mod understanding;

use std::sync::Arc;

use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::case::v1::{
    case_service_server::CaseServiceServer, knowledge_service_server::KnowledgeServiceServer,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

struct CaseService;

/// The service.
pub fn service() -> Arc<dyn Service> {
    Arc::new(CaseService)
}

#[async_trait::async_trait]
impl Service for CaseService {
    fn name(&self) -> &'static str {
        "case"
    }

    fn schema(&self) -> &'static str {
        "cases"
    }

    fn migrations(&self) -> &'static sqlx::migrate::Migrator {
        &MIGRATIONS
    }

    fn sealed(&self) -> &'static [trama_platform::sealing::Column] {
        store::privacy::SEALED
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: config::Config = context.config.section(self.name())?;
        let app = Arc::new(app::App::new(context.db, context.resources, config));
        let mut parts = Parts::default();
        parts
            .grpc
            .add_service(CaseServiceServer::new(api::Cases(Arc::clone(&app))));
        parts
            .grpc
            .add_service(KnowledgeServiceServer::new(api::Knowledge(Arc::clone(&app))));
        parts.privacy = Some(Arc::new(app::Holding));
        parts
            .stages
            .push(Stage::of_events("case", Arc::new(consumer::Consumer(app))));
        Ok(parts)
    }
}
