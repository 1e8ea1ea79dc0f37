//! The load of a run in its trace and in the log.

use metronome_os::clock;
use metronome_proto::{histogram::is_known, threshold::PPM};
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
    let span_of = |name, from_ns, until_ns, attributes| RetroactiveSpan {
        name,
        from_ns,
        until_ns,
        attributes,
        events: Vec::new(),
    };
    let mut figures = vec![
        KeyValue::new("metronome.packets.sent", measured.packets.cast_signed()),
        KeyValue::new("metronome.writes", measured.writes.cast_signed()),
    ];
    for (name, ppm) in LATENESS {
        let lateness_us = lateness_ns(measured, ppm).map(|ns| ns as f64 / 1e3);
        figures.extend(lateness_us.map(|us| KeyValue::new(name, us)));
    }
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

/// The attributes of the lateness, with their quantiles in millionths.
const LATENESS: [(&str, u32); 3] = [
    ("metronome.lateness.p50_us", 500_000),
    ("metronome.lateness.p99_us", 990_000),
    ("metronome.lateness.max_us", PPM),
];

/// A quantile of the lateness. `None` of a flood, which has none, and of too few packets.
fn lateness_ns(measured: &GeneratorStats, ppm: u32) -> Option<u64> {
    let count = measured.lateness.count();
    let is_there = count > 0 && is_known(ppm, count);
    is_there.then(|| {
        measured
            .lateness
            .quantile_ns(f64::from(ppm) / f64::from(PPM))
    })
}

/// One log line with the figures of the load; what is not known is not in it.
pub(super) fn log_load(measured: &GeneratorStats) {
    // Signed, because a trace would turn unsigned numbers into text.
    let at_us = |ppm| lateness_ns(measured, ppm).map(|ns| (ns / 1000).cast_signed());
    tracing::info!(
        packets = measured.packets.cast_signed(),
        writes = measured.writes.cast_signed(),
        real_time_threads = measured.real_time_threads,
        lateness_p50_us = at_us(500_000),
        lateness_p99_us = at_us(990_000),
        lateness_max_us = at_us(PPM),
        "load generated"
    );
}
