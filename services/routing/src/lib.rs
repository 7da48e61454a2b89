//! Routing: the right hands, as fast on one channel as on another.
//!
//! - owns: work items, agents, offers (schema `routing`);
//! - serves: `RoutingService` for supervisors and integrators, `DeskService` for agents;
//! - listens to: `work_requested`, `work_withdrawn`;
//! - publishes: `offer_made`, `offer_accepted`, `offer_ended`, `work_completed`.
//!
//! An item waits on the customer's clock (`waiting_since`), whatever channels they switch between. The matcher is
//! first fit by skills, channel, capacity, priority and waiting time; see [`domain`] and the lock in `store`.

mod api;
mod app;
mod config;
mod consumer;
mod desk;
pub mod domain;
mod error;
mod store;

use std::sync::Arc;

use sqlx::migrate::Migrator;
use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::routing::v1::{
    desk_service_server::DeskServiceServer, routing_service_server::RoutingServiceServer,
};

use crate::{api::DeskApi, api::RoutingApi, app::Routing, consumer::Consumer, desk::Hub};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The service.
pub fn service() -> Arc<dyn Service> {
    Arc::new(RoutingOfTrama)
}

struct RoutingOfTrama;

#[async_trait::async_trait]
impl Service for RoutingOfTrama {
    fn name(&self) -> &'static str {
        "routing"
    }

    fn schema(&self) -> &'static str {
        "routing"
    }

    fn migrations(&self) -> &'static Migrator {
        &MIGRATIONS
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let hub = Arc::new(Hub::new(context.bus.clone()));
        let config: config::Config = context.config.section(self.name())?;
        let routing = Routing::new(&context, Arc::clone(&hub), config);
        let mut parts = Parts::default();
        parts.grpc.add_service(RoutingServiceServer::new(RoutingApi {
            routing: routing.clone(),
        }));
        parts.grpc.add_service(DeskServiceServer::new(DeskApi {
            routing: routing.clone(),
            context: context.clone(),
        }));
        parts.stages.push(Stage::of_events(
            "routing",
            Arc::new(Consumer {
                routing: routing.clone(),
            }),
        ));
        parts.timers = Some(Arc::new(routing));
        let lifecycle = context.lifecycle.clone();
        parts
            .tasks
            .push(("desk-hints", Box::pin(async move { hub.listen(lifecycle).await })));
        Ok(parts)
    }
}
