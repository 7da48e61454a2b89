//! `POST /verifications/{tenant}/documents`: where an integrator's hook reports what came of a document's check.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use trama_platform::{Error, Kind};
use trama_proto::ids::TenantId;

use crate::{
    app::{App, hooks::Outside},
    domain::{document::Report, signing::SIGNATURE_HEADER},
};

/// Largest report.
const LARGEST: usize = 16 * 1024;

/// What the door needs.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    outside: Outside,
}

/// The routes of this door.
pub fn routes(app: Arc<App>, outside: Outside) -> Router {
    Router::new()
        .route("/verifications/{tenant}/documents", post(take))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(Door { app, outside })
}

async fn take(
    State(door): State<Door>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match door.report(&tenant, &headers, &body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let outcome = match error.kind() {
                Kind::Unauthenticated => "forged",
                _ => "refused",
            };
            metrics::counter!("trama_identity_resolution_document_checks_total", "outcome" => outcome)
                .increment(1);
            error.into_response()
        }
    }
}

impl Door {
    async fn report(&self, tenant: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), Error> {
        // Strangers learn the same of a tenant that does not exist as of one without a hook.
        let nobody = || Error::new(Kind::NotFound, "no such door");
        let tenant: TenantId = tenant.parse().map_err(|_| nobody())?;
        let hook = self.app.document_hook(&tenant).map_err(|_| nobody())?;
        let header = headers.get(SIGNATURE_HEADER).and_then(|v| v.to_str().ok());
        self.outside.check(
            &tenant,
            &hook.hook(),
            (header.unwrap_or_default(), body),
            self.app.now(),
        )?;
        let report = Report::read(body).map_err(|wrong| Error::invalid(wrong.field(), wrong.to_string()))?;
        self.app.document_checked(&tenant, &report).await
    }
}
