//! A run as one line while it runs.

use metronome_proto::v1;

use super::figures;
use crate::render::values;

/// The whole second of the run that a snapshot belongs to.
pub(crate) fn second(snapshot: &v1::Snapshot) -> u64 {
    snapshot
        .elapsed
        .as_ref()
        .map_or(0, |elapsed| u64::try_from(elapsed.seconds).unwrap_or(0))
}

/// How the run stands.
pub(crate) fn line(snapshot: &v1::Snapshot) -> String {
    let mut parts = match snapshot.state() {
        v1::RunState::Running => {
            vec![format!(
                "{:>5} s",
                figures::fixed(values::seconds(snapshot.elapsed.as_ref()), 1)
            )]
        }
        state => vec![values::state_word(state).to_owned()],
    };
    parts.push(clients(snapshot.clients_connected));
    if snapshot.sent > 0 || snapshot.received > 0 {
        parts.push(format!("sent {}", figures::count(snapshot.sent)));
        parts.push(format!("received {}", figures::count(snapshot.received)));
    }
    if snapshot.state() == v1::RunState::Running {
        parts.push(format!("{}/s", figures::decimal(snapshot.received_hz, 0)));
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

/// Latency where the clocks are one, else lateness, which is always known.
fn p99(snapshot: &v1::Snapshot) -> Option<String> {
    let named = [
        ("latency", &snapshot.latency),
        ("lateness", &snapshot.lateness),
    ];
    let known = named
        .into_iter()
        .filter_map(|(name, times)| times.as_ref().map(|times| (name, times)));
    let (name, times) = known.into_iter().find(|(_, times)| times.count > 0)?;
    Some(format!("{name} p99 {} µs", figures::micros(times.p99_us)))
}

fn clients(number: u32) -> String {
    format!(
        "{} client{}",
        figures::count(number.into()),
        if number == 1 { "" } else { "s" }
    )
}

/// The rest of the note is in the report.
const NOTE_CHARACTERS_MAX: usize = 40;

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
            sent: 450_000,
            received: 449_990,
            received_hz: 100_012.4,
            latency: Some(v1::Distribution {
                count: 449_990,
                p99_us: 62.14,
                ..v1::Distribution::default()
            }),
            ..v1::Snapshot::default()
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
    fn without_a_shared_clock_the_line_has_lateness() {
        let lateness = snapshot().latency;
        let line = line(&v1::Snapshot {
            latency: None,
            lateness,
            ..snapshot()
        });
        assert!(line.ends_with("lateness p99 62.1 µs"), "{line}");
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
