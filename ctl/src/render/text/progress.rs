//! A run as one line while it runs.

use metronome_proto::{
    json::{times::quantile_ns, values},
    profile::hz,
    v1,
};

use super::figures::{self, known};

/// The note has more room in the report.
const NOTE_CHARACTERS_MAX: usize = 40;

/// The whole second of the run that a snapshot belongs to; 0 before its start.
pub(crate) fn second(snapshot: &v1::Snapshot) -> u64 {
    snapshot
        .elapsed
        .as_ref()
        .map_or(0, |elapsed| u64::try_from(elapsed.seconds).unwrap_or(0))
}

/// How the run stands. Packets and their rate are shown from the start on.
pub(crate) fn line(snapshot: &v1::Snapshot) -> String {
    let is_running = snapshot.state() == v1::RunState::Running;
    let mut parts = if is_running {
        let elapsed = values::seconds(snapshot.elapsed.as_ref());
        let elapsed = known(elapsed, |seconds| figures::fixed(seconds, 1));
        vec![format!("{elapsed:>5} s")]
    } else {
        vec![figures::word(values::state(snapshot.state))]
    };
    parts.push(clients(snapshot.clients_connected));
    if is_running || snapshot.generator.is_some() || snapshot.receiver.is_some() {
        let sent = snapshot.generator.map(|counts| counts.sent);
        let received = snapshot.receiver.map(|counts| counts.received);
        parts.push(format!("sent {}", known(sent, figures::count)));
        parts.push(format!("received {}", known(received, figures::count)));
    }
    if is_running {
        let rate = known(snapshot.received_millihertz, |millihertz| {
            figures::decimal(hz(millihertz), 0)
        });
        parts.push(format!("{rate}/s"));
        parts.extend(p99(snapshot));
    }
    if !snapshot.note.is_empty() {
        parts.push(
            figures::clean(&snapshot.note)
                .chars()
                .take(NOTE_CHARACTERS_MAX)
                .collect(),
        );
    }
    parts.join("  ")
}

/// Latency where it is known, else lateness.
fn p99(snapshot: &v1::Snapshot) -> Option<String> {
    let times = snapshot.times.as_ref()?;
    let named = [
        ("latency", times.latency.as_ref()),
        ("lateness", times.lateness.as_ref()),
    ];
    let mut known = named.into_iter().filter_map(|(name, times)| {
        let ns = quantile_ns(times?, 990_000)?;
        Some(format!("{name} p99 {} µs", figures::micros_of_ns(ns)))
    });
    known.next()
}

fn clients(number: u32) -> String {
    format!(
        "{} client{}",
        figures::count(number.into()),
        if number == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> v1::Snapshot {
        v1::Snapshot {
            state: v1::RunState::Running.into(),
            elapsed: Some(prost_types::Duration {
                seconds: 4,
                nanos: 500_000_000,
            }),
            clients_connected: 10,
            generator: Some(v1::GeneratorCounts {
                sent: 450_000,
                ..v1::GeneratorCounts::default()
            }),
            receiver: Some(v1::ReceiverCounts {
                received: 449_990,
                ..v1::ReceiverCounts::default()
            }),
            received_millihertz: Some(100_012_400),
            times: Some(v1::Times {
                lateness: Some(times(12_000)),
                transit: None,
                latency: Some(times(62_140)),
            }),
            ..v1::Snapshot::default()
        }
    }

    fn times(p99_ns: i64) -> v1::Distribution {
        let p99 = v1::Quantile {
            ppm: 990_000,
            ns: p99_ns,
        };
        v1::Distribution {
            count: 449_990,
            quantiles: vec![p99],
            ..v1::Distribution::default()
        }
    }

    #[test]
    fn the_line_has_time_clients_packets_rate_and_latency() {
        assert_eq!(
            line(&snapshot()),
            "  4.5 s  10 clients  sent 450,000  received 449,990  100,012/s  latency p99 62.1 µs"
        );
        assert_eq!(second(&snapshot()), 4);
    }

    #[test]
    fn where_latency_is_not_known_the_line_has_lateness() {
        let mut snapshot = snapshot();
        snapshot.times.as_mut().unwrap().latency = None;
        let line = line(&snapshot);
        assert!(line.ends_with("lateness p99 12.0 µs"), "{line}");
    }

    #[test]
    fn what_is_not_known_of_a_run_is_a_dash() {
        let running = v1::Snapshot {
            state: v1::RunState::Running.into(),
            ..v1::Snapshot::default()
        };
        assert_eq!(
            line(&running),
            "    – s  0 clients  sent –  received –  –/s"
        );
        let later = v1::Snapshot {
            state: 45,
            ..v1::Snapshot::default()
        };
        assert_eq!(line(&later), "45  0 clients");
    }

    #[test]
    fn before_the_first_packet_the_line_has_what_is_waited_for() {
        let preparing = v1::Snapshot {
            state: v1::RunState::Preparing.into(),
            clients_connected: 1,
            note: "waiting for agent b\x1b[2J".into(),
            ..v1::Snapshot::default()
        };
        assert_eq!(
            line(&preparing),
            "preparing  1 client  waiting for agent b?[2J"
        );
    }
}
