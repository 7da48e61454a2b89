//! The six services.

use std::sync::Arc;

use trama_platform::Service;

/// All of them, in the order in which a record meets them.
pub fn all() -> Vec<Arc<dyn Service>> {
    vec![
        trama_ingest::service(),
        trama_identity_resolution::service(),
        trama_case::service(),
        trama_routing::service(),
        trama_notification::service(),
        trama_survey::service(),
    ]
}
