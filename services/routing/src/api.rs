//! gRPC ↔ app.

mod desk_service;
mod parse;
mod routing_service;
mod staffing_service;
mod supervisor_service;
mod wallboard;
pub(crate) mod wire;

pub use desk_service::DeskApi;
pub use routing_service::RoutingApi;
pub use staffing_service::StaffingApi;
pub use supervisor_service::SupervisorApi;
