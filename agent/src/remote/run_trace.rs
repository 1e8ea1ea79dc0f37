//! The load of a run in its trace and in the log.

use metronome_os::clock;
use metronome_telemetry::{
    KeyValue,
    retroactive_span::{self, Anchor, RetroactiveSpan},
};
use tracing::Span;

use crate::load::outcome::GeneratorStats;

/// Records the spans of the wait for the first packet and of the load. They are recorded
/// afterwards, because the pacing threads must not wait for a trace.
pub(super) fn trace_load(measured: &GeneratorStats, connected_ns: u64, start_ns: u64) {
    let now_ns = clock::now_ns();
    let anchor = Anchor::at(now_ns);
    let at_us = |quantile| measured.lateness.quantile_ns(quantile) as f64 / 1e3;
    let span_of = |name, from_ns, until_ns, attributes| RetroactiveSpan {
        name,
        from_ns,
        until_ns,
        attributes,
        events: Vec::new(),
    };
    let figures = vec![
        KeyValue::new(
            "metronome.packets.sent",
            measured.lateness.count().cast_signed(),
        ),
        KeyValue::new("metronome.writes", measured.writes.cast_signed()),
        KeyValue::new("metronome.lateness.p50_us", at_us(0.5)),
        KeyValue::new("metronome.lateness.p99_us", at_us(0.99)),
        KeyValue::new("metronome.lateness.max_us", at_us(1.0)),
    ];
    let begun_ns = start_ns.clamp(connected_ns, now_ns);
    retroactive_span::record(
        &Span::current(),
        &anchor,
        span_of("warm-up", connected_ns, begun_ns, Vec::new()),
    );
    retroactive_span::record(
        &Span::current(),
        &anchor,
        span_of("measure", begun_ns, now_ns, figures),
    );
}

/// One log line with the figures of the load.
pub(super) fn log_load(measured: &GeneratorStats) {
    // Signed, because a trace would turn unsigned numbers into text.
    let at_us = |quantile| (measured.lateness.quantile_ns(quantile) / 1000).cast_signed();
    tracing::info!(
        packets = measured.lateness.count().cast_signed(),
        writes = measured.writes.cast_signed(),
        real_time_threads = measured.real_time_threads,
        lateness_p50_us = at_us(0.5),
        lateness_p99_us = at_us(0.99),
        lateness_max_us = at_us(1.0),
        "load generated"
    );
}
