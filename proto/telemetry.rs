//! Logs and traces, set up alike in all three executables.
//!
//! Logs go to standard error. Traces go out over OTLP/gRPC when an endpoint is configured
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) and are off otherwise.
//! The exporter has a runtime of its own: on the main one a blocked thread and the export would
//! wait for each other (opentelemetry-rust issue 2715). A worker has no telemetry at all.

use std::{env, thread, time::Duration};

use opentelemetry::{
    KeyValue, global,
    propagation::{Extractor, Injector},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// A collector that does not answer may not hold up the end of a process for longer than this.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Keeps telemetry going; [`Telemetry::finish`] sends what is still waiting.
#[must_use]
#[derive(Debug)]
pub struct Telemetry {
    exporting: Option<Exporting>,
}

#[derive(Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    runtime: tokio::runtime::Runtime,
}

impl Telemetry {
    /// Sets up logs and, when an endpoint is configured, traces. Call once, before the first span.
    ///
    /// `filter` is what `METRONOME_LOG` says when it is not set: `info`, or `warn` for a tool that
    /// talks to people.
    pub fn start(service: &'static str, filter: &str, format: LogFormat) -> Self {
        let filter = EnvFilter::try_from_env("METRONOME_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
        let lines = match format {
            LogFormat::Text => lines.with_filter(filter).boxed(),
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
        };
        let exporting = Exporting::start(service);
        let spans = exporting.as_ref().map(|exporting| {
            // The exporter's own HTTP/2 must not make spans: each export would cause the next.
            let ours =
                EnvFilter::new("off,metronome_proto=info,metronome_server=info,metronome_agent=info,benchctl=info");
            tracing_opentelemetry::layer().with_tracer(exporting.provider.tracer(service)).with_filter(ours)
        });
        global::set_text_map_propagator(TraceContextPropagator::new());
        // A second call, as in a test, keeps the first one's set-up.
        let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
        Self { exporting }
    }

    /// Sends the spans that are still waiting, for at most 2 s, whatever the collector does.
    pub fn finish(self) {
        let Some(Exporting { provider, runtime }) = self.exporting else { return };
        let (done, finished) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let _ = provider.shutdown();
            let _ = done.send(());
        });
        let _ = finished.recv_timeout(FLUSH_TIME_MAX);
        runtime.shutdown_background();
    }
}

impl Exporting {
    fn start(service: &'static str) -> Option<Self> {
        if !is_wanted(|name| env::var(name).ok()) {
            return None;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()
            .ok()?;
        let exporter = {
            let _inside = runtime.enter();
            SpanExporter::builder().build()
        };
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                eprintln!("{service}: traces are off: {error}");
                return None;
            }
        };
        let resource = Resource::builder()
            .with_service_name(env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| service.into()))
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("process.pid", i64::from(std::process::id())),
            ])
            .build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Some(Self { provider, runtime })
    }
}

/// Whether the environment asks for traces. The SDK ignores the first two variables itself.
fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).filter(|value| !value.trim().is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exporter_is_otlp = set("OTEL_TRACES_EXPORTER").is_none_or(|value| value == "otlp");
    let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
    !disabled && exporter_is_otlp && endpoint.is_some()
}

/// Puts the context of `span` into the metadata of a request.
pub fn inject(span: &Span, metadata: &mut tonic::metadata::MetadataMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&span.context(), &mut IntoMetadata(metadata));
    });
}

/// Makes the caller's span, if its metadata names one, the parent of `span`.
pub fn continue_from(span: &Span, metadata: &tonic::metadata::MetadataMap) {
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&FromMetadata(metadata)));
    let _ = span.set_parent(parent);
}

/// The W3C traceparent of `span`, for a command inside a stream. Empty without a trace.
#[must_use]
pub fn traceparent(span: &Span) -> String {
    let mut metadata = tonic::metadata::MetadataMap::new();
    inject(span, &mut metadata);
    metadata.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default().into()
}

/// Makes the span that `traceparent` names the parent of `span`. Anything malformed is ignored.
pub fn continue_from_traceparent(span: &Span, traceparent: &str) {
    let mut metadata = tonic::metadata::MetadataMap::new();
    if let Ok(value) = traceparent.parse() {
        metadata.insert("traceparent", value);
    }
    continue_from(span, &metadata);
}

struct IntoMetadata<'a>(&'a mut tonic::metadata::MetadataMap);

impl Injector for IntoMetadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        let key = tonic::metadata::MetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct FromMetadata<'a>(&'a tonic::metadata::MetadataMap);

impl Extractor for FromMetadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let ascii = |key| match key {
            tonic::metadata::KeyRef::Ascii(key) => Some(key.as_str()),
            tonic::metadata::KeyRef::Binary(_) => None,
        };
        self.0.keys().filter_map(ascii).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], wanted: bool) {
        let of = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(is_wanted(of), wanted, "{variables:?}");
    }

    #[test]
    fn traces_are_off_until_an_endpoint_is_named_and_can_be_switched_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        check(&[], false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false);
        check(&[endpoint], true);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4317")], true);
        check(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")], false);
        check(&[endpoint, ("OTEL_SDK_DISABLED", "no")], true);
        check(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], false);
        check(&[endpoint, ("OTEL_TRACES_EXPORTER", "otlp")], true);
    }
}
