//! AuditService ↔ app.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use trama_platform::principal;
use trama_proto::identity_resolution::v1::{
    ListAuditEntriesRequest, ListAuditEntriesResponse, audit_service_server::AuditService,
};

use crate::app::App;

/// The gRPC service.
pub struct AuditApi(Arc<App>);

impl AuditApi {
    /// Over the use cases.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        Ok(Response::new(
            self.0.list_audit(&tenant, request.get_ref()).await?,
        ))
    }
}
