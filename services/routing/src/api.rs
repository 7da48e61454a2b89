//! gRPC ↔ app.

mod desk_service;
mod routing_service;
pub(crate) mod wire;

pub use desk_service::DeskApi;
pub use routing_service::RoutingApi;
