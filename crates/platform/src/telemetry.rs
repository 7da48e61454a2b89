//! Logs for people or collectors, metrics for Prometheus, traces over OTLP that cross the bus in message headers.

mod layer;

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

pub(crate) use layer::{SeeLayer, see_http};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    Error,
    bus::TRACE_HEADER,
    config::{LogFormat, TelemetryConfig},
};

/// Whether spans leave this process; without a collector none are made for messages.
static TRACED: AtomicBool = AtomicBool::new(false);

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Flushes traces when the process ends.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets the process up. Call once, in `main`.
    ///
    /// # Errors
    /// When the collector's address or the log filter makes no sense.
    pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Self, Error> {
        let filter = EnvFilter::try_from_default_env()
            .or_else(|_| EnvFilter::try_new(&config.log_filter))
            .map_err(|e| Error::invalid("telemetry.log_filter", e.to_string()))?;
        // The filter is on the log only: on the whole, RUST_LOG=warn would cut the traces too.
        let logs = match config.log_format {
            LogFormat::Text => {
                let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
                tracing_subscriber::fmt::layer()
                    .with_ansi(colours)
                    .with_writer(std::io::stderr)
                    .with_filter(filter)
                    .boxed()
            }
            LogFormat::Json => tracing_subscriber::fmt::layer()
                .json()
                .with_writer(std::io::stderr)
                .with_filter(filter)
                .boxed(),
        };
        let traces = match &config.otlp_endpoint {
            None => None,
            Some(endpoint) => Some(provider(endpoint, config.sample_ratio, service)?),
        };
        TRACED.store(traces.is_some(), Ordering::Relaxed);
        global::set_text_map_propagator(TraceContextPropagator::new());
        let otel = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("trama"))
                .with_filter(EnvFilter::new("info"))
        });
        let subscriber = tracing_subscriber::registry().with(otel).with(logs);
        if subscriber.try_init().is_err() {
            tracing::debug!("telemetry was set up before");
        }
        metrics_handle();
        Ok(Self { traces })
    }

    /// Sends what is left.
    pub fn shutdown(self) {
        if let Some(provider) = self.traces
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn provider(endpoint: &str, ratio: f64, service: &'static str) -> Result<SdkTracerProvider, Error> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|e| Error::invalid("telemetry.otlp_endpoint", e.to_string()))?;
    let resource = Resource::builder()
        .with_service_name(format!("trama-{service}"))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}

/// The metrics of this process.
pub(crate) fn metrics_handle() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&[
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ])
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        // A second recorder can only appear in tests that bring their own.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

struct One(Option<String>);

impl Injector for One {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACE_HEADER {
            self.0 = Some(value);
        }
    }
}

struct From<'a>(&'a str);

impl Extractor for From<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACE_HEADER).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_HEADER]
    }
}

/// The `traceparent` of the span we are in, if it is traced.
pub fn current_trace() -> Option<String> {
    trace_of(&tracing::Span::current())
}

fn trace_of(span: &tracing::Span) -> Option<String> {
    if !TRACED.load(Ordering::Relaxed) {
        return None;
    }
    let mut found = One(None);
    TraceContextPropagator::new().inject_context(&span.context(), &mut found);
    found.0
}

/// A span for working in a message, child of whoever published it; and the `traceparent` that what it publishes
/// carries on. `None` when nobody collects traces.
pub(crate) fn message_span(
    stage: &'static str,
    event: &str,
    trace: Option<&str>,
) -> Option<(tracing::Span, Option<String>)> {
    if !TRACED.load(Ordering::Relaxed) {
        return None;
    }
    let span = tracing::info_span!(
        "event",
        otel.name = format!("event.{event}.handle"),
        otel.kind = "consumer",
        stage
    );
    follow(&span, trace);
    let carried = trace_of(&span);
    Some((span, carried))
}

/// A span for a call to somebody outside, in a trace that was kept. Nothing when nobody collects traces.
pub fn call_span(name: &'static str, trace: Option<&str>) -> tracing::Span {
    if !TRACED.load(Ordering::Relaxed) {
        return tracing::Span::none();
    }
    let span = tracing::info_span!("call", otel.name = name, otel.kind = "client");
    follow(&span, trace);
    span
}

/// The context that a `traceparent` names.
pub fn context_of(trace: &str) -> Context {
    TraceContextPropagator::new().extract(&From(trace))
}

/// A span that continues the trace of a message or request.
pub fn follow(span: &tracing::Span, trace: Option<&str>) {
    if let Some(trace) = trace {
        // Fails only without an OpenTelemetry layer, and then there is nothing to follow.
        let _ = span.set_parent(context_of(trace));
    }
}
