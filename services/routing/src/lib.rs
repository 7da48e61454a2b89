//! Routing: the right hands, as fast on one channel as on another.
//!
//! - owns: work items, agents, offers, the lease of each tenant's matcher (schema `routing`);
//! - serves: `RoutingService` for integrators, `DeskService` for agents, `SupervisorService` for supervisors,
//!   `StaffingService` for planners;
//! - listens to: `work_requested`, `work_withdrawn`, `privacy_requested`;
//! - publishes: `offer_made`, `offer_accepted`, `offer_ended`, `work_completed`, `work_transferred`,
//!   `work_overflowed`.
//!
//! An item waits on the customer's clock (`waiting_since`), whatever channels they switch between. One replica leads each
//! tenant: its [`dispatcher`] keeps the [`matcher`] equal to the database and turns its proposals into offers.

mod api;
mod app;
mod config;
mod consumer;
mod desk;
mod dispatcher;
pub mod domain;
mod error;
pub mod matcher;
pub mod simulation;
pub mod staffing;
mod store;
mod together;

use std::sync::Arc;

use sqlx::migrate::Migrator;
use trama_platform::{Context, Error, Parts, Service, stage::Stage};
use trama_proto::routing::v1::{
    desk_service_server::DeskServiceServer, routing_service_server::RoutingServiceServer,
    staffing_service_server::StaffingServiceServer, supervisor_service_server::SupervisorServiceServer,
};

use crate::{
    api::{DeskApi, RoutingApi, StaffingApi, SupervisorApi},
    app::{Commands, Routing, Signals, Wallboards, staffing::Staffing},
    consumer::Consumer,
    desk::{Hub, Reader},
    dispatcher::Leaders,
};

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

    fn sealed(&self) -> &'static [trama_platform::sealing::Column] {
        store::privacy::SEALED
    }

    async fn build(&self, context: Context) -> Result<Parts, Error> {
        let config: config::Config = context.config.section(self.name())?;
        let me: Arc<str> = format!("routing-{}", context.clock.new_id().simple()).into();
        let hub = Arc::new(Hub::default());
        let leaders = Arc::new(Leaders::new(
            Arc::clone(&me),
            context.bus.clone(),
            context.clock.clone(),
            config.lease(),
        ));
        let lifecycle = context.lifecycle.clone();
        let signals = Signals::start(
            &context.bus,
            Arc::clone(&hub),
            Arc::clone(&leaders),
            me,
            &lifecycle,
        );
        let routing = Routing::new(&context, hub, Arc::clone(&leaders), signals, config);
        let mut parts = Parts::default();
        parts.grpc.add_service(RoutingServiceServer::new(RoutingApi {
            routing: routing.clone(),
        }));
        parts.grpc.add_service(DeskServiceServer::new(DeskApi {
            routing: routing.clone(),
            commands: Commands::start(&routing, &lifecycle),
            reader: Reader::start(&routing, &lifecycle),
            context: context.clone(),
        }));
        parts
            .grpc
            .add_service(SupervisorServiceServer::new(SupervisorApi {
                wallboards: Wallboards::new(routing.clone(), lifecycle.clone()),
                routing: routing.clone(),
            }));
        parts.grpc.add_service(StaffingServiceServer::new(StaffingApi {
            staffing: Staffing::new(&context),
        }));
        parts.stages.push(Stage::of_events(
            "routing",
            Arc::new(Consumer {
                routing: routing.clone(),
            }),
        ));
        parts.quiet.push(Arc::new(dispatcher::Quiet {
            leaders,
            db: context.db.clone(),
        }));
        let (keeping, hearing) = (routing.clone(), routing.clone());
        parts.tasks.push((
            "leases-of-tenants",
            Box::pin(dispatcher::keep(keeping, lifecycle.clone())),
        ));
        parts
            .tasks
            .push(("replicas", Box::pin(dispatcher::listen(hearing, lifecycle))));
        parts.privacy = Some(Arc::new(app::Holding(routing.clone())));
        parts.timers = Some(Arc::new(routing));
        Ok(parts)
    }
}
