//! The trace across processes, as W3C has it: `traceparent` and `tracestate` in the metadata of a
//! call, `traceparent` alone in a command inside a stream.
//!
//! `OTEL_PROPAGATORS`: `tracecontext`, the default, or `none`. Baggage is neither read nor passed
//! on: nothing here needs it, and its size is the choice of any peer.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Decides what goes across.
pub(super) fn set_propagator(read: &dyn Fn(&str) -> Option<String>) {
    let asked = read("OTEL_PROPAGATORS");
    let is_asked =
        asked.is_none_or(|names| names.split(',').any(|name| name.trim() == "tracecontext"));
    // Without one, the library's own does nothing.
    if is_asked {
        global::set_text_map_propagator(TraceContextPropagator::new());
    }
}

/// Puts the context of `span` into the metadata of a request.
pub fn inject(span: &Span, metadata: &mut MetadataMap) {
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&span.context(), &mut IntoMetadata(metadata));
    });
}

/// Makes the caller's span, if its metadata names one, the parent of `span`.
pub fn continue_from(span: &Span, metadata: &MetadataMap) {
    let parent =
        global::get_text_map_propagator(|propagator| propagator.extract(&FromMetadata(metadata)));
    // A context that is none would cut `span` off from the parent that it has.
    if parent.span().span_context().is_valid() {
        let _ = span.set_parent(parent);
    }
}

/// The W3C traceparent of `span`, for a command inside a stream. Empty without a trace.
#[must_use]
pub fn traceparent(span: &Span) -> String {
    let mut metadata = MetadataMap::new();
    inject(span, &mut metadata);
    metadata
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .into()
}

/// Makes the span that `traceparent` names the parent of `span`. Anything malformed is ignored.
pub fn continue_from_traceparent(span: &Span, traceparent: &str) {
    let mut metadata = MetadataMap::new();
    if let Ok(value) = traceparent.parse() {
        metadata.insert("traceparent", value);
    }
    continue_from(span, &metadata);
}

/// The trace that `span` is in, as Jaeger's search takes it. `None` without one.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

struct IntoMetadata<'a>(&'a mut MetadataMap);

impl Injector for IntoMetadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        let key = MetadataKey::from_bytes(key.as_bytes());
        if let (Ok(key), Ok(value)) = (key, value.parse()) {
            self.0.insert(key, value);
        }
    }
}

struct FromMetadata<'a>(&'a MetadataMap);

impl Extractor for FromMetadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        let ascii = |key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        };
        self.0.keys().filter_map(ascii).collect()
    }
}
