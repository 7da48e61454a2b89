//! Asks customers how it went, and turns bad answers into follow-ups.
//!
//! **Owns** invitations (askings, and the decisions not to ask, with their reasons), questions that went out, responses.
//! **Serves** `SurveyService`: scores with intervals and denominators, invitations, answers from pages and kiosks.
//! **Listens to** `case_resolved`, `survey_answer_received`, `message_failed`, `customer_merged`, `customer_split`,
//! `privacy_requested`.
//! **Publishes** `survey_question_asked`, `message_requested`, `survey_responded`, `case_requested`.
//!
//! One asking per survey and case, one open asking per person, and after it quarantine. A question whose message does
//! not arrive was not asked: it is taken out of the denominator. An asking opens at most one follow-up case.

mod api;
mod app;
mod config;
mod consumer;
mod domain;
mod error;
mod store;

use std::sync::Arc;

use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::survey::v1::survey_service_server::SurveyServiceServer;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The service.
pub fn service() -> Arc<dyn Service> {
    Arc::new(Survey)
}

struct Survey;

#[async_trait::async_trait]
impl Service for Survey {
    fn name(&self) -> &'static str {
        "survey"
    }

    fn schema(&self) -> &'static str {
        "survey"
    }

    fn migrations(&self) -> &'static sqlx::migrate::Migrator {
        &MIGRATIONS
    }

    fn sealed(&self) -> &'static [trama_platform::sealing::Column] {
        store::privacy::SEALED
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: config::Config = context.config.section(self.name())?;
        let mut parts = Parts::default();
        parts
            .grpc
            .add_service(SurveyServiceServer::new(api::Api::new(&context, config)));
        let consumer = Arc::new(consumer::Consumer {
            resources: context.resources.clone(),
            config,
        });
        parts
            .stages
            .push(Stage::of_events("survey", Arc::clone(&consumer) as _));
        parts.privacy = Some(Arc::new(app::Holding));
        parts.timers = Some(consumer);
        Ok(parts)
    }
}
