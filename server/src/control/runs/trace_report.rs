//! What a trace reports of a run: its plan when it begins; verdict, figures, incidents and the
//! slowest packets when it has ended. docs/tracing.md explains each for users.

use metronome_os::clock;
use metronome_proto::{
    json::values::bound_is,
    plan::{Group, Plan, from_proto},
    profile::hz,
    v1::{self, RunState, VerdictStatus},
};
use metronome_telemetry::{
    KeyValue,
    retroactive_span::{self, Anchor, RetroactiveSpan},
    sanitise,
};
use tracing::Span;

use super::exemplars::TracedPacket;
use crate::{
    model::{AgentRecords, FinalCounters, SlowPacket, SlowestPacket},
    wall_clock,
};

/// Reports the plan.
pub(super) fn begin(span: &Span, plan: &Plan, agents: usize) {
    retroactive_span::set_attributes(span, of_plan(plan, agents));
}

/// The attributes of a plan. What differs between its groups is left out, and so is a rate that is
/// not steady: `metronome.rates` has all of them.
fn of_plan(plan: &Plan, agents: usize) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("metronome.clients", i64::from(plan.clients())),
        KeyValue::new("metronome.groups", plan.groups.len() as i64),
        KeyValue::new("metronome.rates", rates(plan)),
        KeyValue::new("metronome.duration_s", plan.duration.as_secs_f64()),
        KeyValue::new("metronome.warm_up_s", plan.warm_up.as_secs_f64()),
        KeyValue::new(
            "metronome.seed",
            i64::try_from(plan.seed).unwrap_or(i64::MAX),
        ),
        KeyValue::new("metronome.agents", agents as i64),
    ];
    let batch = same(plan, |group| group.batch);
    attributes.extend(batch.map(|it| KeyValue::new("metronome.batch", i64::from(it))));
    let rate = same(plan, |group| group.profile.steady_millihertz()).flatten();
    attributes.extend(rate.map(|it| KeyValue::new("metronome.rate_hz", hz(it))));
    attributes
}

/// What all groups have in common, if they have it.
fn same<T: PartialEq>(plan: &Plan, figure: impl Fn(&Group) -> T) -> Option<T> {
    let mut figures = plan.groups.iter().map(figure);
    let first = figures.next()?;
    figures.all(|other| other == first).then_some(first)
}

/// The load of a client of each group, in the order of the plan: `10; 1000 poisson`.
pub(super) fn rates(plan: &Plan) -> String {
    let rates = plan.groups.iter().map(|group| group.profile.to_string());
    rates.collect::<Vec<_>>().join("; ")
}

/// Reports the figures of the report and of the record, with a span for each of at most
/// `traced_packets` of the slowest packets of `agents`. Returns those whose spans are sampled.
pub(super) fn end(
    span: &Span,
    report: &v1::Report,
    agents: &[AgentRecords],
    record: Option<&FinalCounters>,
    traced_packets: usize,
) -> Vec<TracedPacket> {
    let anchor = Anchor::at(clock::now_ns());
    retroactive_span::set_attributes(span, figures(report));
    let mut traced = Vec::new();
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
        let slowest = record.slowest.iter().take(traced_packets);
        traced.extend(slowest.filter_map(|slow| {
            let agent = agents.iter().find(|agent| agent.owns(slow.client));
            let is_on_our_clock = agent.is_some_and(AgentRecords::is_on_our_clock);
            let latency_ns = is_on_our_clock.then(|| latency_ns(&slow.packet));
            trace_packet(span, &anchor, slow, latency_ns)
        }));
    }
    // After what led to it.
    if let Some(verdict) = &report.verdict {
        report_verdict(span, &anchor, verdict);
    }
    traced
}

fn trace_packet(
    run: &Span,
    anchor: &Anchor,
    slow: &SlowestPacket,
    latency_ns: Option<u64>,
) -> Option<TracedPacket> {
    let span = retroactive_span::record(run, anchor, packet(slow, latency_ns))?;
    Some(TracedPacket {
        span,
        at_unix_ns: wall_clock::unix_ns_of(anchor.wall_clock(slow.packet.read_ns)),
        lateness_ns: slow.packet.lateness_ns,
        latency_ns,
    })
}

/// From due to read, which is a time only where both are of one clock.
fn latency_ns(packet: &SlowPacket) -> u64 {
    packet.read_ns.saturating_sub(packet.due_ns)
}

fn report_verdict(span: &Span, anchor: &Anchor, verdict: &v1::Verdict) {
    for reason in &verdict.reasons {
        let attributes = vec![
            KeyValue::new("code", reason.code().name()),
            KeyValue::new("text", reason.sentence.clone()),
        ];
        retroactive_span::add_event(span, anchor, "verdict reason", clock::now_ns(), attributes);
    }
    let codes: Vec<_> = verdict
        .reasons
        .iter()
        .map(|reason| reason.code().name())
        .collect();
    match verdict.status() {
        VerdictStatus::Valid => retroactive_span::succeed(span),
        VerdictStatus::Partial | VerdictStatus::Invalid | VerdictStatus::Unspecified => {
            let word = word(verdict.status());
            retroactive_span::fail(span, word, &format!("{word}: {}", codes.join(", ")));
        }
    }
}

/// Reports why the run has no report.
pub(super) fn failed(span: &Span, failure: &v1::Failure) {
    let code = failure.code().name();
    retroactive_span::fail(span, code, &format!("failed: {code}: {}", failure.sentence));
}

fn word(verdict: VerdictStatus) -> &'static str {
    verdict.word().unwrap_or("without a verdict")
}

fn figures(report: &v1::Report) -> Vec<KeyValue> {
    let mut figures = Vec::new();
    if let Some(verdict) = &report.verdict {
        figures.push(KeyValue::new("metronome.verdict", word(verdict.status())));
    }
    let elapsed = report.elapsed.as_ref().and_then(from_proto);
    if let Some(elapsed) = elapsed {
        figures.push(KeyValue::new("metronome.elapsed_s", elapsed.as_secs_f64()));
    }
    let counts = report.counts.unwrap_or_default();
    let (generator, receiver) = (counts.generator, counts.receiver);
    let counts = [
        (
            "metronome.packets.scheduled",
            generator.map(|it| it.scheduled),
        ),
        ("metronome.packets.sent", generator.map(|it| it.sent)),
        ("metronome.packets.received", receiver.map(|it| it.received)),
        ("metronome.packets.lost", counts.lost),
    ];
    for (name, count) in counts {
        let count = count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        figures.extend(count.map(|count| KeyValue::new(name, count)));
    }
    let times = report.times.as_ref();
    type Of = fn(&v1::Times) -> &Option<v1::Distribution>;
    let of_packets: [(&str, Of); 5] = [
        ("metronome.lateness", |times| &times.lateness),
        ("metronome.transit", |times| &times.transit),
        ("metronome.latency", |times| &times.latency),
        ("metronome.one_way", |times| &times.one_way),
        ("metronome.queueing", |times| &times.queueing),
    ];
    for (name, of) in of_packets {
        let known = times.and_then(|times| of(times).as_ref());
        figures.extend(percentiles(name, known));
    }
    figures.extend(percentiles(
        "metronome.probe_rtt",
        report.probe_rtt.as_ref(),
    ));
    figures
}

/// p50, p99, p99.9 and the longest one, µs; without those that are not known. With how far off they
/// can be, where they are times between clocks.
fn percentiles(name: &str, times: Option<&v1::Distribution>) -> Vec<KeyValue> {
    let Some(times) = times else {
        return Vec::new();
    };
    let quantile = |ppm: u32| {
        let mut quantiles = times.quantiles.iter();
        quantiles.find(|of| of.ppm == ppm).map(|of| of.ns)
    };
    let values = [
        ("p50_us", quantile(500_000)),
        ("p99_us", quantile(990_000)),
        ("p99_9_us", quantile(999_000)),
        ("max_us", Some(times.max_ns)),
        ("bound_us", times.bound_ns),
    ];
    let known = values.into_iter().filter_map(|(of, ns)| {
        let micros = ns? as f64 / 1e3;
        Some(KeyValue::new(format!("{name}.{of}"), micros))
    });
    let bound = times.bound_ns.map(|_| {
        let word = bound_is(times.bound_is_claimed);
        KeyValue::new(format!("{name}.bound"), word)
    });
    known.chain(bound).collect()
}

/// One of the slowest packets, from due to read, with its write within; to written where there is
/// no latency, since the clocks differ.
fn packet(slow: &SlowestPacket, latency_ns: Option<u64>) -> RetroactiveSpan {
    let packet = &slow.packet;
    let sent_ns = packet.due_ns.saturating_add(packet.lateness_ns);
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let mut attributes = vec![
        KeyValue::new("metronome.client", i64::from(slow.client)),
        KeyValue::new("metronome.worker", i64::from(slow.worker)),
        KeyValue::new(
            "metronome.sequence",
            i64::try_from(packet.sequence).unwrap_or(i64::MAX),
        ),
        KeyValue::new("metronome.lateness_us", micros(packet.lateness_ns)),
    ];
    let mut events = vec![("due", packet.due_ns), ("sent", sent_ns)];
    let mut until_ns = sent_ns;
    if let Some(latency_ns) = latency_ns {
        until_ns = packet.due_ns.saturating_add(latency_ns);
        let transit_us = micros(latency_ns.saturating_sub(packet.lateness_ns));
        attributes.push(KeyValue::new("metronome.transit_us", transit_us));
        attributes.push(KeyValue::new("metronome.latency_us", micros(latency_ns)));
        events.push(("read", until_ns));
    }
    RetroactiveSpan {
        name: "packet",
        from_ns: packet.due_ns,
        until_ns,
        attributes,
        events,
    }
}

/// The span of the phase in which a run is, a child of the run's.
pub(super) fn phase(run: &Span, state: RunState) -> Span {
    match state {
        RunState::Preparing => tracing::info_span!(parent: run, "preparing"),
        RunState::Starting => tracing::info_span!(parent: run, "starting"),
        RunState::Running => tracing::info_span!(parent: run, "running"),
        _ => tracing::info_span!(parent: run, "draining"),
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::profile::Profile;

    use super::*;
    use crate::testing::plan_of;

    fn slow(lateness_ns: u64, read_ns: u64, total_ns: u64) -> SlowestPacket {
        SlowestPacket {
            client: 0,
            worker: 0,
            packet: SlowPacket {
                sequence: 7,
                due_ns: 1_000,
                lateness_ns,
                read_ns,
                total_ns,
            },
        }
    }

    #[test]
    fn a_plan_shows_of_its_groups_all_rates_and_what_they_have_in_common() {
        let group = |profile, batch| Group {
            echo_every: Default::default(),
            packet_size: Default::default(),
            payload: Default::default(),
            name: "x".into(),
            clients: 2,
            profile,
            batch,
            phase: v1::Phase::Auto,
            agents: Vec::new(),
            target: String::new(),
            thresholds: Vec::new(),
        };
        let (steady, ramp) = (
            Profile::constant(10_000),
            Profile::Ramp {
                from_millihertz: 1_000,
                to_millihertz: 20_000,
            },
        );
        let shown = |groups: Vec<Group>, name: &'static str| {
            let all = of_plan(&plan_of(groups), 1);
            let found = all.into_iter().find(|it| it.key.as_str() == name);
            found.map(|it| it.value.to_string())
        };
        let (text, one) = (str::to_owned, || vec![group(steady, 3)]);
        assert_eq!(shown(one(), "metronome.rate_hz"), Some(text("10")));
        assert_eq!(shown(one(), "metronome.batch"), Some(text("3")));
        assert_eq!(shown(one(), "metronome.groups"), Some(text("1")));
        let two = || vec![group(steady, 3), group(ramp, 1)];
        assert_eq!(shown(two(), "metronome.clients"), Some(text("4")));
        assert_eq!(shown(two(), "metronome.rates"), Some(text("10; 1..20")));
        assert_eq!(shown(two(), "metronome.rate_hz"), None);
        assert_eq!(shown(two(), "metronome.batch"), None);
        let flood = || vec![group(Profile::Flood, 3); 2];
        assert_eq!(shown(flood(), "metronome.rate_hz"), None);
        assert_eq!(shown(flood(), "metronome.batch"), Some(text("3")));
    }

    #[test]
    fn a_time_between_clocks_has_its_bound_and_another_time_has_none() {
        let known = v1::Distribution {
            max_ns: 7_000,
            bound_ns: Some(5_000),
            bound_is_claimed: true,
            ..v1::Distribution::default()
        };
        let exact = v1::Distribution {
            bound_ns: None,
            ..known.clone()
        };
        let report = v1::Report {
            times: Some(v1::Times {
                lateness: Some(exact),
                one_way: Some(known),
                ..v1::Times::default()
            }),
            ..v1::Report::default()
        };
        let shown = figures(&report).into_iter();
        let shown: Vec<_> = shown.map(|of| format!("{} {}", of.key, of.value)).collect();
        let expected = [
            "metronome.lateness.max_us 7",
            "metronome.one_way.max_us 7",
            "metronome.one_way.bound_us 5",
            "metronome.one_way.bound claimed",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_packet_that_took_no_time_on_its_way_has_a_latency_on_one_clock() {
        let slow = slow(5_000, 6_000, 5_000);
        let span = packet(&slow, Some(latency_ns(&slow.packet)));
        assert_eq!(span.until_ns, 6_000);
        assert_eq!(
            span.events,
            [("due", 1_000), ("sent", 6_000), ("read", 6_000)]
        );
        let transit = KeyValue::new("metronome.transit_us", 0.0);
        assert!(span.attributes.contains(&transit));
    }

    #[test]
    fn a_packet_of_another_clock_ends_when_it_was_sent() {
        let span = packet(&slow(5_000, 900_000, 5_000), None);
        assert_eq!(span.until_ns, 6_000);
        assert_eq!(span.events, [("due", 1_000), ("sent", 6_000)]);
    }
}
