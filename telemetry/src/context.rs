//! The trace across processes, as W3C has it: `traceparent` and `tracestate`, in the metadata of a
//! call or as two fields of a command inside a stream.
//!
//! What comes in is taken as Trace Context prescribes: of two `traceparent`, or of one that is
//! malformed, nothing follows, and the trace begins anew. The lists of several `tracestate` are one
//! list; what is longer than 512 bytes loses its longest and then its last members.
//!
//! `OTEL_PROPAGATORS`: `tracecontext`, the default, or `none`. Baggage is neither read nor passed
//! on: nothing here needs it, and its size is the choice of any peer.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::variables::{Variables, shown};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A list of more members is none.
const MEMBERS_MAX: usize = 32;
/// What is passed on of a list, bytes: what every vendor should pass on.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Longer members of a list that is too long go first, bytes.
const MEMBER_BYTES_MAX: usize = 128;

/// Decides what goes across.
pub(super) fn set_propagator(variables: &Variables<'_>) {
    let asked = variables.text("OTEL_PROPAGATORS");
    let asked = asked.as_deref().unwrap_or("tracecontext,baggage");
    let (mut is_asked, mut is_understood) = (false, false);
    for name in asked.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "tracecontext" => (is_asked, is_understood) = (true, true),
            "baggage" | "none" => is_understood = true,
            _ => variables.ignore(format!(
                "OTEL_PROPAGATORS has {}, which is ignored: it takes tracecontext, baggage, none",
                shown(name)
            )),
        }
    }
    // Without one, the library's own does nothing.
    if is_asked || !is_understood {
        global::set_text_map_propagator(TraceContextPropagator::new());
    }
}

/// A span as another process names it. Both are empty without a trace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TraceContext {
    /// W3C traceparent: trace, span, whether it is sampled.
    pub traceparent: String,
    /// W3C tracestate: what other systems attach to the trace. Mostly empty.
    pub tracestate: String,
}

impl TraceContext {
    /// The context of `span`.
    #[must_use]
    pub fn of(span: &Span) -> Self {
        let mut context = Self::default();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&span.context(), &mut context);
        });
        context
    }

    /// What the metadata of a call names.
    fn from_metadata(metadata: &MetadataMap) -> Self {
        let texts = |name| {
            let values = metadata.get_all(name).into_iter();
            values.map(|value| value.to_str().unwrap_or_default())
        };
        let mut parents = texts(TRACEPARENT);
        let (Some(traceparent), None) = (parents.next(), parents.next()) else {
            return Self::default();
        };
        let states: Vec<&str> = texts(TRACESTATE).collect();
        Self {
            traceparent: traceparent.trim().to_owned(),
            tracestate: states.join(","),
        }
    }

    /// Makes the span that this names the parent of `span`. A context that is malformed names none.
    pub fn continue_in(&self, span: &Span) {
        if !is_traceparent(&self.traceparent) {
            return;
        }
        let incoming = Self {
            traceparent: self.traceparent.clone(),
            tracestate: bounded(&self.tracestate),
        };
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&incoming));
        // A context that is none would cut `span` off from the parent that it has.
        if parent.span().span_context().is_valid() {
            let _ = span.set_parent(parent);
        }
    }
}

impl Injector for TraceContext {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = value,
            TRACESTATE => self.tracestate = value,
            _ => {}
        }
    }
}

impl Extractor for TraceContext {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(&self.traceparent),
            TRACESTATE => Some(&self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// Whether the text is a traceparent of version 00, or of a later one that begins like it.
fn is_traceparent(text: &str) -> bool {
    let fields: Vec<&str> = text.split('-').collect();
    let is_hex = |text: &str, digits: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == digits && text.bytes().all(is_digit)
    };
    let [version, trace, span, flags, more @ ..] = fields.as_slice() else {
        return false;
    };
    let is_known = match *version {
        "00" => more.is_empty(),
        later => later != "ff",
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    is_known
        && is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(span, 16)
        && is_hex(flags, 2)
        && !is_zero(trace)
        && !is_zero(span)
}

/// A tracestate of which no more is kept than is to be passed on.
fn bounded(tracestate: &str) -> String {
    let members = tracestate.split(',').map(str::trim);
    let mut members: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    if members.len() > MEMBERS_MAX {
        return String::new();
    }
    let bytes = |members: &[&str]| -> usize { members.iter().map(|member| member.len() + 1).sum() };
    // The last one has no comma.
    if bytes(&members) > TRACESTATE_BYTES_MAX + 1 {
        members.retain(|member| member.len() <= MEMBER_BYTES_MAX);
    }
    while bytes(&members) > TRACESTATE_BYTES_MAX + 1 {
        members.pop();
    }
    members.join(",")
}

/// Puts the context of `span` into the metadata of a request.
pub fn inject(span: &Span, metadata: &mut MetadataMap) {
    let context = TraceContext::of(span);
    for (name, value) in [
        (TRACEPARENT, context.traceparent),
        (TRACESTATE, context.tracestate),
    ] {
        if let Some(value) = value.parse().ok().filter(|_| !value.is_empty()) {
            metadata.insert(MetadataKey::from_static(name), value);
        }
    }
}

/// Makes the caller's span, if its metadata names one, the parent of `span`.
pub fn continue_from(span: &Span, metadata: &MetadataMap) {
    TraceContext::from_metadata(metadata).continue_in(span);
}

/// The trace that `span` is in, as Jaeger's search takes it. `None` without one.
#[must_use]
pub fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

/// A span that its trace's readers will find: it is sampled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SampledSpan {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
}

impl SampledSpan {
    /// `None` of a span without a trace and of one that is not sampled.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        Self::of_context(span.context().span().span_context())
    }

    pub(crate) fn of_context(context: &SpanContext) -> Option<Self> {
        let is_kept = context.is_valid() && context.is_sampled();
        is_kept.then(|| Self {
            trace_id: context.trace_id().to_string(),
            span_id: context.span_id().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn received(headers: &[(&'static str, &str)]) -> TraceContext {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.append(*name, value.parse().unwrap());
        }
        TraceContext::from_metadata(&metadata)
    }

    #[test]
    fn two_parents_are_none_and_two_lists_are_one() {
        let context = received(&[
            (TRACEPARENT, PARENT),
            (TRACESTATE, "a=1"),
            (TRACESTATE, "b=2,c=3"),
        ]);
        assert_eq!(
            (context.traceparent.as_str(), context.tracestate.as_str()),
            (PARENT, "a=1,b=2,c=3")
        );
        let twice = received(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert_eq!(twice, TraceContext::default());
        assert_eq!(received(&[(TRACESTATE, "a=1")]), TraceContext::default());
    }

    #[test]
    fn only_what_trace_context_allows_is_a_parent() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, is_one) in [
            (PARENT.to_owned(), true),
            (format!("00-{trace}-{span}-00"), true),
            (format!("cc-{trace}-{span}-01"), true),
            (format!("cc-{trace}-{span}-01-more"), true),
            (format!("00-{trace}-{span}-01-more"), false),
            (format!("ff-{trace}-{span}-01"), false),
            (format!("0-{trace}-{span}-01"), false),
            (format!("00-{}-{span}-01", trace.to_uppercase()), false),
            (format!("00-{}-{span}-01", &trace[1..]), false),
            (format!("00-+{}-{span}-01", &trace[1..]), false),
            (format!("00-{trace}-{}-01", &span[1..]), false),
            (format!("00-{trace}-{span}-1"), false),
            (format!("00-{}-{span}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(&text), is_one, "{text}");
        }
    }

    #[test]
    fn of_a_list_that_is_too_long_the_longest_and_then_the_last_members_go() {
        let long = format!("long={}", "x".repeat(200));
        let member = |index: usize| format!("m{index:02}={}", "y".repeat(60));
        let members: Vec<String> = (0..7).map(member).collect();
        assert_eq!(bounded(&members.join(" , ")), members.join(","));
        let all = format!("{long},{}", members.join(","));
        assert_eq!(bounded(&all), members.join(","));
        let many: Vec<String> = (0..9).map(member).collect();
        assert_eq!(bounded(&many.join(",")), many[..7].join(","));
        let crowd: Vec<String> = (0..33).map(|index| format!("m{index}=1")).collect();
        assert_eq!(bounded(&crowd.join(",")), "");
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_bounded_and_in_its_order(
            members in prop::collection::vec("[a-z]{1,20}=[a-z]{0,200}", 0..40),
        ) {
            let kept = bounded(&members.join(","));
            prop_assert!(kept.len() <= TRACESTATE_BYTES_MAX);
            let mut all = members.iter();
            for member in kept.split(',').filter(|member| !member.is_empty()) {
                prop_assert!(all.any(|one| one == member), "{member}");
            }
        }
    }
}
