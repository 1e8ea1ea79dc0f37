//! Spans and events of something that is already over, made from its times of CLOCK_MONOTONIC, ns.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue, global,
    trace::{Span as _, Status, Tracer as _},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{context::SampledSpan, conventions::scope};

/// An instant known on both clocks, by which others are put on the wall clock. Labels only: no
/// interval is ever taken from it.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    now_ns: u64,
    now: SystemTime,
}

impl Anchor {
    /// Now, which CLOCK_MONOTONIC calls `now_ns`.
    #[must_use]
    pub fn at(now_ns: u64) -> Self {
        Self {
            now_ns,
            now: SystemTime::now(),
        }
    }

    /// When `at_ns` was.
    #[must_use]
    pub fn wall_clock(&self, at_ns: u64) -> SystemTime {
        match at_ns.checked_sub(self.now_ns) {
            Some(ahead) => self.now + Duration::from_nanos(ahead),
            None => self.now - Duration::from_nanos(self.now_ns - at_ns),
        }
    }
}

/// Something that has happened below `parent`.
#[derive(Clone, Debug)]
pub struct RetroactiveSpan {
    /// What the span is called.
    pub name: &'static str,
    /// When it began, ns of CLOCK_MONOTONIC.
    pub from_ns: u64,
    /// When it ended, ns of CLOCK_MONOTONIC.
    pub until_ns: u64,
    /// What is known of it.
    pub attributes: Vec<KeyValue>,
    /// What happened within, each with its time, ns.
    pub events: Vec<(&'static str, u64)>,
}

/// Makes a span of it, which is returned when its trace is sampled. Without a trace nothing is
/// made.
pub fn record(parent: &Span, anchor: &Anchor, finished: RetroactiveSpan) -> Option<SampledSpan> {
    let context = parent.context();
    let tracer = global::tracer_with_scope(scope());
    let begun = tracer
        .span_builder(finished.name)
        .with_start_time(anchor.wall_clock(finished.from_ns))
        .with_attributes(finished.attributes);
    let mut span = tracer.build_with_context(begun, &context);
    for (name, at_ns) in finished.events {
        span.add_event_with_timestamp(name, anchor.wall_clock(at_ns), Vec::new());
    }
    span.end_with_timestamp(anchor.wall_clock(finished.until_ns));
    SampledSpan::of_context(span.span_context())
}

/// Adds attributes to a span that is still open.
pub fn set_attributes(span: &Span, attributes: Vec<KeyValue>) {
    for attribute in attributes {
        span.set_attribute(attribute.key, attribute.value);
    }
}

/// What the span stands for has gone well.
pub fn succeed(span: &Span) {
    span.set_status(Status::Ok);
}

/// What the span stands for has failed, for this reason; `code` is one of few.
pub fn fail(span: &Span, code: &'static str, why: &str) {
    span.set_attribute("error.type", code);
    span.set_status(Status::error(why.to_owned()));
}

/// Adds an event that happened at `at_ns` to a span that is still open.
pub fn add_event(
    span: &Span,
    anchor: &Anchor,
    name: impl Into<Cow<'static, str>>,
    at_ns: u64,
    attributes: Vec<KeyValue>,
) {
    span.add_event_with_timestamp(name, anchor.wall_clock(at_ns), attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_and_after_the_anchor_keep_their_distance() {
        let anchor = Anchor::at(5_000_000_000);
        let between = anchor
            .wall_clock(7_000_000_000)
            .duration_since(anchor.wall_clock(2_000_000_000));
        assert_eq!(between.unwrap(), Duration::from_secs(5));
    }
}
