//! What a trace reports of a run: its plan when it begins; verdict, figures, incidents and the
//! slowest packets when it has ended. docs/tracing.md explains each for users.

use metronome_os::clock;
use metronome_proto::{
    plan::Plan,
    v1::{self, VerdictStatus},
};
use metronome_telemetry::{
    KeyValue,
    retroactive_span::{self, Anchor, RetroactiveSpan},
    sanitise,
};
use tracing::Span;

use crate::model::{FinalCounters, SlowestPacket};

/// Reports the plan.
pub(super) fn begin(span: &Span, run_id: &str, plan: &Plan, agents: usize) {
    retroactive_span::set_attributes(
        span,
        vec![
            KeyValue::new("metronome.run.id", run_id.to_owned()),
            KeyValue::new("metronome.clients", i64::from(plan.clients)),
            KeyValue::new("metronome.rate_hz", plan.rate_hz()),
            KeyValue::new("metronome.duration_s", plan.duration.as_secs_f64()),
            KeyValue::new("metronome.batch", i64::from(plan.batch)),
            KeyValue::new("metronome.agents", agents as i64),
        ],
    );
}

/// Reports the figures of the report and of the record, with a span for each of at most
/// `traced_packets` of the slowest packets.
pub(super) fn end(
    span: &Span,
    report: &v1::Report,
    record: Option<&FinalCounters>,
    traced_packets: usize,
) {
    let anchor = Anchor::at(clock::now_ns());
    retroactive_span::set_attributes(span, figures(report));
    if let Some(record) = record {
        for incident in &record.incidents {
            let attributes = vec![KeyValue::new("text", sanitise::sentence(&incident.text))];
            retroactive_span::add_event(
                span,
                &anchor,
                incident.what.clone(),
                incident.at_ns,
                attributes,
            );
        }
        record
            .slowest
            .iter()
            .take(traced_packets)
            .for_each(|slow| retroactive_span::record(span, &anchor, packet(slow)));
    }
    // After what led to it.
    if let Some(verdict) = &report.verdict {
        report_verdict(span, &anchor, verdict);
    }
}

fn report_verdict(span: &Span, anchor: &Anchor, verdict: &v1::Verdict) {
    for reason in &verdict.reasons {
        let attributes = vec![
            KeyValue::new("code", reason.code.clone()),
            KeyValue::new("text", reason.text.clone()),
        ];
        retroactive_span::add_event(span, anchor, "verdict reason", clock::now_ns(), attributes);
    }
    let codes: Vec<_> = verdict
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect();
    match verdict.status() {
        VerdictStatus::Valid => retroactive_span::succeed(span),
        VerdictStatus::Partial | VerdictStatus::Invalid | VerdictStatus::Unspecified => {
            retroactive_span::fail(
                span,
                &format!("{}: {}", in_words(verdict.status()), codes.join(", ")),
            );
        }
    }
}

/// A verdict in the words of log lines, metrics and traces.
pub(super) fn in_words(verdict: VerdictStatus) -> &'static str {
    match verdict {
        VerdictStatus::Valid => "valid",
        VerdictStatus::Partial => "partial",
        VerdictStatus::Invalid | VerdictStatus::Unspecified => "invalid",
    }
}

fn figures(report: &v1::Report) -> Vec<KeyValue> {
    let verdict = report
        .verdict
        .as_ref()
        .map(v1::Verdict::status)
        .unwrap_or_default();
    let mut figures = vec![
        KeyValue::new("metronome.verdict", in_words(verdict)),
        KeyValue::new("metronome.elapsed_s", report.elapsed_s),
    ];
    if let Some(packets) = &report.packets {
        let counts = [
            ("metronome.packets.scheduled", packets.scheduled),
            ("metronome.packets.sent", packets.sent),
            ("metronome.packets.received", packets.received),
            ("metronome.packets.lost", packets.lost),
        ];
        figures
            .extend(counts.map(|(name, count)| {
                KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))
            }));
    }
    figures.extend(percentiles(LATENESS, report.lateness.as_ref()));
    figures.extend(percentiles(TRANSIT, report.transit.as_ref()));
    figures.extend(percentiles(LATENCY, report.latency.as_ref()));
    figures
}

const LATENESS: [&str; 4] = [
    "metronome.lateness.p50_us",
    "metronome.lateness.p99_us",
    "metronome.lateness.p99_9_us",
    "metronome.lateness.max_us",
];
const TRANSIT: [&str; 4] = [
    "metronome.transit.p50_us",
    "metronome.transit.p99_us",
    "metronome.transit.p99_9_us",
    "metronome.transit.max_us",
];
const LATENCY: [&str; 4] = [
    "metronome.latency.p50_us",
    "metronome.latency.p99_us",
    "metronome.latency.p99_9_us",
    "metronome.latency.max_us",
];

fn percentiles(names: [&'static str; 4], times: Option<&v1::Distribution>) -> Vec<KeyValue> {
    let Some(times) = times else {
        return Vec::new();
    };
    let values = [times.p50_us, times.p99_us, times.p99_9_us, times.max_us];
    names
        .into_iter()
        .zip(values)
        .map(|(name, value)| KeyValue::new(name, value))
        .collect()
}

/// One of the slowest packets, from due to read, with its write within.
fn packet(slow: &SlowestPacket) -> RetroactiveSpan {
    let packet = &slow.packet;
    let sent_ns = packet.due_ns.saturating_add(packet.lateness_ns);
    let micros = |nanos: u64| nanos as f64 / 1e3;
    RetroactiveSpan {
        name: "packet",
        from_ns: packet.due_ns,
        until_ns: packet.due_ns.saturating_add(packet.total_ns),
        attributes: vec![
            KeyValue::new("metronome.client", i64::from(slow.client)),
            KeyValue::new("metronome.worker", i64::from(slow.worker)),
            KeyValue::new(
                "metronome.sequence",
                i64::try_from(packet.sequence).unwrap_or(i64::MAX),
            ),
            KeyValue::new("metronome.lateness_us", micros(packet.lateness_ns)),
            KeyValue::new(
                "metronome.transit_us",
                micros(packet.total_ns.saturating_sub(packet.lateness_ns)),
            ),
            KeyValue::new("metronome.latency_us", micros(packet.total_ns)),
        ],
        events: vec![
            ("due", packet.due_ns),
            ("sent", sent_ns),
            ("read", packet.due_ns.saturating_add(packet.total_ns)),
        ],
    }
}
