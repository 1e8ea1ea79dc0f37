//! What the kernels of both ends have seen of the path of a run's connections (TCP_INFO): what was
//! sent again or came out of order, and on which way.
//!
//! A run on one host in which nothing of that happened has no line: its round trips are not those
//! of a network.

use metronome_proto::v1;

use super::{explain::Label, figures, rows::Rows};

/// A line for each way on which something happened, and the round trips.
pub(super) fn network(rows: &mut Rows, report: &v1::Report) {
    let agents = report.generator_tcp.unwrap_or_default();
    let server = report.receiver_tcp.unwrap_or_default();
    let ways = [
        way("to the server", &agents, &server),
        way("to the agents", &server, &agents),
    ];
    let room = rows.room();
    let happened = ways.into_iter().filter(|parts| !parts.is_empty());
    let mut lines: Vec<_> = happened
        .flat_map(|parts| figures::flowed(parts, room))
        .collect();
    if lines.is_empty() && !is_between_hosts(report) {
        return;
    }
    let round_trip = round_trip(&agents).into_iter();
    lines.extend(round_trip.flat_map(|part| figures::flowed([part], room)));
    if !lines.is_empty() {
        rows.labelled_lines(Label::Network, lines);
    }
}

/// Whether an agent is known not to be on the server's clock, which is that of its host.
fn is_between_hosts(report: &v1::Report) -> bool {
    use v1::clock_relation::Relation;
    let relations = report.agents.iter().map(|agent| agent.clock?.relation);
    relations
        .flatten()
        .any(|of| !matches!(of, Relation::Same(_)))
}

/// What happened on the way from one end to the other; nothing on a quiet one.
fn way(name: &str, from: &v1::TcpSummary, to: &v1::TcpSummary) -> Vec<String> {
    let some = |of: Option<u64>| of.filter(|number| *number > 0);
    let again = some(from.retransmitted).map(|segments| {
        let segments = figures::number_of(segments, "segment");
        let clients = u64::from(from.connections_retransmitting);
        format!(
            "{segments} of {} sent again",
            figures::number_of(clients, "client")
        )
    });
    let of_several = from
        .client_retransmitting_most
        .filter(|_| from.connections_retransmitting > 1);
    let most = of_several.map(|client| format!("most of client {client}"));
    let out_of_order = some(to.received_out_of_order)
        .map(|segments| format!("{} out of order", figures::count(segments)));
    let overtaken = some(from.reordering_seen)
        .map(|times| format!("overtaken {}", figures::number_of(times, "time")));
    let window_ns = from.window_limited_max_ns.filter(|ns| *ns > 0);
    let window = window_ns.map(|ns| format!("receive window full for {}", figures::time(ns)));
    let mut parts: Vec<_> = [again, most, out_of_order, overtaken, window]
        .into_iter()
        .flatten()
        .collect();
    if let Some(first) = parts.first_mut() {
        *first = format!("{name}: {first}");
    }
    parts
}

/// The agents' round trips: the server's kernel measures next to none but that of the opening.
fn round_trip(agents: &v1::TcpSummary) -> Option<String> {
    let least = figures::time(agents.rtt_min_ns?);
    Some(match agents.rtt_smoothed_max_ns {
        Some(ns) => format!("rtt from {least}, smoothed up to {}", figures::time(ns)),
        None => format!("rtt from {least}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    fn text(width: usize, change: impl FnOnce(&mut v1::Report)) -> String {
        let mut report = run_of_the_front_page().report.unwrap();
        let quiet = v1::TcpSummary {
            connections: 10,
            rtt_min_ns: Some(30_100_000),
            rtt_smoothed_max_ns: Some(71_000_000),
            retransmitted: Some(0),
            reordering_seen: Some(0),
            received_out_of_order: Some(0),
            window_limited_max_ns: Some(0),
            ..v1::TcpSummary::default()
        };
        (report.generator_tcp, report.receiver_tcp) = (Some(quiet), Some(quiet));
        change(&mut report);
        let mut rows = Rows::new(width);
        network(&mut rows, &report);
        rows.text
    }

    fn lossy(report: &mut v1::Report) {
        let agents = report.generator_tcp.as_mut().unwrap();
        agents.retransmitted = Some(1_114);
        agents.connections_retransmitting = 4;
        agents.client_retransmitting_most = Some(2);
        agents.reordering_seen = Some(1);
        agents.window_limited_max_ns = Some(1_200_000_000);
        let server = report.receiver_tcp.as_mut().unwrap();
        server.received_out_of_order = Some(230);
        server.retransmitted = Some(1);
        server.connections_retransmitting = 1;
        server.client_retransmitting_most = Some(7);
    }

    #[test]
    fn what_happened_on_the_path_is_named_with_its_way() {
        let expected = "\
network    to the server: 1,114 segments of 4 clients sent again
           most of client 2  230 out of order  overtaken 1 time
           receive window full for 1.20 s
           to the agents: 1 segment of 1 client sent again
           rtt from 30.1 ms, smoothed up to 71.0 ms
";
        assert_eq!(text(80, lossy), expected);
        let narrow = text(40, lossy);
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 40),
            "{narrow}"
        );
        assert!(narrow.contains("1,114 segments"), "{narrow}");
    }

    #[test]
    fn a_quiet_path_has_its_round_trips_between_hosts_and_no_line_on_one() {
        let on_clock = |relation: Option<v1::clock_relation::Relation>| {
            text(80, |report| {
                report.agents = vec![v1::AgentReport {
                    clock: Some(v1::ClockRelation { relation }),
                    ..v1::AgentReport::default()
                }];
            })
        };
        use v1::clock_relation::Relation;
        assert_eq!(on_clock(Some(Relation::Same(v1::SameClock::default()))), "");
        assert_eq!(on_clock(None), "", "one that does not report its clock");
        let expected = "network    rtt from 30.1 ms, smoothed up to 71.0 ms\n";
        let other = Some(Relation::Unknown(v1::UnknownClock {}));
        assert_eq!(on_clock(other), expected);
    }

    #[test]
    fn what_no_kernel_has_measured_has_no_line() {
        let unknown = |report: &mut v1::Report| {
            report.generator_tcp = None;
            report.receiver_tcp = None;
        };
        assert_eq!(text(80, unknown), "");
    }
}
