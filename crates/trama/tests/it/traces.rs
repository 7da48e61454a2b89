//! One trace from a provider's request to the offer on an agent's desk, the answer, and the question how it was: through
//! every service, the bus and a desk that passes the trace on.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// A trace's id and a span's name.
type Span = (Vec<u8>, String);

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans
            .flat_map(|r| r.scope_spans)
            .flat_map(|s| s.spans)
            .map(|s| (s.trace_id, s.name));
        self.0.lock().expect("nobody panicked").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the collector is outside the platform")]
async fn a_webhook_its_offer_its_answer_and_the_survey_are_in_one_trace() {
    let collector = Collector::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    let serving = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let folder = std::env::temp_dir().join(format!("trama-traces-{}", std::process::id()));
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_trama"))
        .args(["story", "play", "examples/stories/giulia.yaml", "--dev-dir"])
        .arg(&folder)
        .env("TRAMA_TELEMETRY__OTLP_ENDPOINT", endpoint)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .await
        .expect("the binary runs");
    let _ = std::fs::remove_dir_all(folder);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serving.abort();

    let spans = collector.0.lock().expect("nobody panicked").clone();
    let traces: BTreeSet<Vec<u8>> = spans.iter().map(|(trace, _)| trace.clone()).collect();
    let names_of = |trace: &Vec<u8>| -> BTreeSet<&str> {
        spans
            .iter()
            .filter(|(t, _)| t == trace)
            .map(|(_, name)| name.as_str())
            .collect()
    };
    // Door → journal → who → which need → whose hands → the answer → the need is met → how was it → sent.
    let way = [
        "/webhooks/{tenant}/{channel}",
        "event.whatsapp.handle",
        "event.interaction_received.handle",
        "event.interaction_identified.handle",
        "event.work_requested.handle",
        "event.offer_made.handle",
        "/trama.routing.v1.DeskService/AcceptOffer",
        "/trama.case.v1.CaseService/ReplyToCase",
        "/trama.case.v1.CaseService/ResolveCase",
        "event.case_resolved.handle",
        "event.survey_question_asked.handle",
        "event.message_requested.handle",
        "provider.message.send",
        "event.message_read.handle",
    ];
    let whole = traces.iter().any(|trace| {
        let names = names_of(trace);
        way.iter().all(|step| names.contains(step))
    });
    let seen: BTreeSet<&str> = spans.iter().map(|(_, name)| name.as_str()).collect();
    assert!(whole, "no trace goes all the way; spans seen: {seen:?}");
}
