//! The six services.

use std::sync::Arc;

use trama_ingest::Ingest;
use trama_platform::Service;

/// All of them, in the order in which a record meets them.
pub fn all() -> Vec<Arc<dyn Service>> {
    with(Arc::new(Ingest::default()))
}

/// All of them, with the one that takes mail in the caller's hand: it knows its address once it runs.
pub fn with(ingest: Arc<Ingest>) -> Vec<Arc<dyn Service>> {
    vec![
        ingest,
        trama_identity_resolution::service(),
        trama_case::service(),
        trama_routing::service(),
        trama_notification::service(),
        trama_survey::service(),
    ]
}
