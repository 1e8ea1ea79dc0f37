//! The clients of a run: a row each, and their failures below.

use metronome_proto::{
    json::{counts::Counts, values},
    v1,
};

use super::{
    figures::{self, known},
    grounds,
    packets::is_unset_unless_measured,
    table::{self, Column},
};

/// Counters that have a column in any case; another one has it unless it is 0 for all clients.
const ALWAYS_SHOWN: [&str; 4] = ["sent", "skipped", "received", "lost"];

/// A row per client.
pub(super) fn table(clients: &[v1::ClientReport], width: usize) -> String {
    let mut columns = vec![Column::number("CLIENT", clients, |of| {
        of.client.to_string()
    })];
    let groups = clients.windows(2).any(|two| two[0].group != two[1].group);
    if groups {
        let group = |of: &v1::ClientReport| figures::clean(&of.group);
        columns.push(
            Column::text("GROUP", clients, group)
                .rank(4)
                .shortened_to(8),
        );
    }
    columns.extend([
        Column::text("AGENT", clients, |of| figures::clean(&of.agent))
            .rank(3)
            .shortened_to(8),
        Column::number("WORKER", clients, |of| known(of.worker, |worker| worker)).rank(8),
    ]);
    columns.extend(counters(clients));
    let time = |ns| known(ns, figures::time);
    let is_latency_known = clients.iter().any(|of| of.latency_p99_ns.is_some());
    let between_clocks = where_known(clients, BETWEEN_CLOCKS);
    if is_latency_known || between_clocks.is_empty() {
        columns.extend([
            Column::number("LATENCY p99", clients, |of| time(of.latency_p99_ns)).rank(1),
            Column::number("LATENCY max", clients, |of| time(of.latency_max_ns)).rank(5),
        ]);
    }
    columns.extend(between_clocks);
    columns.extend([
        Column::number("LATENESS p99", clients, |of| time(of.lateness_p99_ns)).rank(6),
        Column::number("SPREAD p99", clients, |of| time(of.spread_p99_ns)).rank(7),
    ]);
    columns.extend(where_known(clients, ROUND_TRIPS));
    columns.extend(network(clients));
    columns.extend([
        Column::number("TRIES", clients, |of| known(of.attempts, |tries| tries)).rank(9),
        Column::text("FAILURE", clients, |of| {
            of.failure.as_ref().map_or_else(String::new, |failure| {
                known(values::failure_code(failure.code), |code| code)
            })
        }),
    ]);
    table::table(columns, width)
}

/// A time that not every run has: its head, and how little it is missed.
type Time = (&'static str, fn(&v1::ClientReport) -> Option<i64>, u8);

const BETWEEN_CLOCKS: [Time; 2] = [
    ("ONE-WAY p99", |of| of.one_way_p99_ns, 1),
    ("QUEUEING p99", |of| of.queueing_p99_ns, 5),
];
const ROUND_TRIPS: [Time; 2] = [
    ("RTT FROM DUE p99", |of| of.rtt_from_due_p99_ns, 5),
    ("RTT FROM WRITE p99", |of| of.rtt_from_write_p99_ns, 8),
];

/// A column for each of these times that is known of a client.
fn where_known(clients: &[v1::ClientReport], times: [Time; 2]) -> Vec<Column> {
    let is_known = |(_, of, _): &Time| clients.iter().any(|client| of(client).is_some());
    let columns = times.into_iter().filter(is_known);
    let column = |(head, of, rank): Time| {
        Column::number(head, clients, |client| known(of(client), figures::time)).rank(rank)
    };
    columns.map(column).collect()
}

/// What a kernel has seen of a client's connection: its head, the figure, and how little it is
/// missed.
type Seen = (&'static str, fn(&v1::ClientReport) -> Option<u64>, u8);

const NETWORK: [Seen; 3] = [
    ("SENT AGAIN", |of| of.generator_tcp?.retransmitted, 1),
    (
        "OUT OF ORDER",
        |of| of.receiver_tcp?.received_out_of_order,
        3,
    ),
    ("SERVER SENT AGAIN", |of| of.receiver_tcp?.retransmitted, 2),
];

/// A column for each of these figures that is above 0 for a client.
fn network(clients: &[v1::ClientReport]) -> Vec<Column> {
    let is_shown = |(_, of, _): &Seen| clients.iter().any(|client| of(client) > Some(0));
    let columns = NETWORK.into_iter().filter(is_shown);
    let column = |(head, of, rank): Seen| {
        Column::number(head, clients, |client| known(of(client), figures::count)).rank(rank)
    };
    columns.map(column).collect()
}

/// A column for each counter of both ends.
fn counters(clients: &[v1::ClientReport]) -> Vec<Column> {
    let counts =
        |client: &v1::ClientReport| Counts::of_both_ends(&client.counts.unwrap_or_default());
    let rows: Vec<_> = clients.iter().map(counts).collect();
    let names = Counts::of_both_ends(&v1::Counts::default());
    let names = names.counters().iter().enumerate();
    names
        .filter(|(index, (name, _))| {
            let is_zero = |row: &Counts| match row.counters()[*index].1 {
                Some(count) => count == 0,
                None => is_unset_unless_measured(name),
            };
            ALWAYS_SHOWN.contains(name) || !rows.iter().all(is_zero)
        })
        .map(|(index, (name, _))| {
            let head = figures::counter_name(name).to_uppercase();
            let rank = match ALWAYS_SHOWN.iter().position(|shown| shown == name) {
                Some(_) if *name == "lost" => 0,
                Some(_) => 2,
                None if ["scheduled", "in_time"].contains(name) => 9,
                None if name.starts_with("warm_up") => 9,
                None => 3,
            };
            let column = Column::number(&head, &rows, |row| {
                known(row.counters()[index].1, figures::count)
            });
            column.rank(rank)
        })
        .collect()
}

/// Each failure once, with its remedy: how many clients have it, and the first one's sentence.
pub(super) fn failures(clients: &[v1::ClientReport], width: usize) -> Vec<String> {
    let mut by_code: Vec<(&v1::Failure, usize)> = Vec::new();
    for failure in clients.iter().filter_map(|client| client.failure.as_ref()) {
        match by_code.iter_mut().find(|(one, _)| one.code == failure.code) {
            Some((_, number)) => *number += 1,
            None => by_code.push((failure, 1)),
        }
    }
    let lines = by_code.into_iter();
    lines
        .flat_map(|(failure, number)| grounds::failure_of_clients(failure, number, width))
        .collect()
}

#[cfg(test)]
mod tests {
    use metronome_proto::counters::{CounterList, WORDS};

    use super::*;
    use crate::render::front_page::counts;

    fn client() -> v1::ClientReport {
        v1::ClientReport {
            one_way_p99_ns: None,
            queueing_p99_ns: None,
            generator_tcp: None,
            receiver_tcp: None,
            rtt_from_due_p99_ns: None,
            rtt_from_write_p99_ns: None,
            client: 7,
            group: "default".into(),
            agent: "a".into(),
            worker: Some(1),
            counts: Some(counts(1_000)),
            attempts: Some(1),
            lateness_p99_ns: Some(38_200),
            transit_p99_ns: Some(30_000),
            latency_p99_ns: Some(62_100),
            latency_max_ns: Some(1_204_000),
            spread_p99_ns: Some(60_000),
            failure: None,
        }
    }

    #[test]
    fn between_clocks_a_client_has_one_way_and_queueing_instead_of_latency() {
        let mut other = client();
        (other.latency_p99_ns, other.latency_max_ns) = (None, None);
        other.one_way_p99_ns = Some(70_000);
        let text = table(&[other.clone()], 200);
        assert!(
            text.contains("ONE-WAY p99") && text.contains("70.0 µs"),
            "{text}"
        );
        assert!(
            !text.contains("LATENCY") && !text.contains("QUEUEING"),
            "{text}"
        );
        let mixed = table(&[client(), other], 200);
        assert!(
            mixed.contains("LATENCY p99") && mixed.contains("ONE-WAY p99"),
            "{mixed}"
        );
    }

    #[test]
    fn what_was_sent_again_has_a_column_where_it_is_above_0() {
        let seen = |segments| {
            Some(v1::TcpInfo {
                retransmitted: segments,
                ..v1::TcpInfo::default()
            })
        };
        let mut quiet = client();
        (quiet.generator_tcp, quiet.receiver_tcp) = (seen(Some(0)), seen(None));
        assert_eq!(table(&[quiet.clone()], 200), table(&[client()], 200));
        let mut lossy = client();
        lossy.generator_tcp = seen(Some(1_114));
        let text = table(&[quiet, lossy], 80);
        assert!(
            text.contains("SENT AGAIN") && text.contains("1,114"),
            "{text}"
        );
        assert!(!text.contains("SERVER SENT AGAIN"), "{text}");
    }

    #[test]
    fn clients_are_a_row_each() {
        let expected = "\
CLIENT  AGENT  WORKER  SCHEDULED   SENT  SKIPPED  RECEIVED  IN TIME  LOST  LATENCY p99  \
LATENCY max  LATENESS p99  SPREAD p99  TRIES
     7  a           1      1,000  1,000        0     1,000    1,000     0      62.1 µs  \
\x20   1.20 ms       38.2 µs     60.0 µs      1
";
        assert_eq!(table(&[client()], 200), expected);
        let expected = "\
CLIENT  AGENT  WORKER   SENT  SKIPPED  RECEIVED  LOST  LATENCY p99  LATENCY max
     7  a           1  1,000        0     1,000     0      62.1 µs      1.20 ms
";
        assert_eq!(table(&[client()], 80), expected);
        let expected = "\
client 7  lost 0  latency p99 62.1 µs
  sent 1,000  skipped 0  received 1,000
  agent a  latency max 1.20 ms
  lateness p99 38.2 µs
  spread p99 60.0 µs  worker 1
  scheduled 1,000  in time 1,000
  tries 1
";
        assert_eq!(table(&[client()], 40), expected);
    }

    #[test]
    fn round_trips_have_columns_where_they_are_known() {
        let echoing = v1::ClientReport {
            rtt_from_due_p99_ns: Some(130_000),
            rtt_from_write_p99_ns: Some(98_000),
            ..client()
        };
        let text = table(&[echoing.clone(), client()], 300);
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        assert!(
            head.ends_with("RTT FROM DUE p99  RTT FROM WRITE p99  TRIES"),
            "{text}"
        );
        let row = lines.next().unwrap();
        assert!(row.ends_with("130 µs             98.0 µs      1"), "{text}");
        let row = lines.next().unwrap();
        assert!(row.ends_with("–                   –      1"), "{text}");
        let narrow = table(&[echoing], 40);
        assert!(narrow.contains("rtt from due p99 130 µs"), "{narrow}");
        assert!(!table(&[client()], 300).contains("RTT"));
    }

    #[test]
    fn what_is_not_known_of_a_client_is_a_dash() {
        let text = table(&[v1::ClientReport::default()], 400);
        let row = text.lines().nth(1).unwrap();
        let cells: Vec<_> = row.split_whitespace().collect();
        // All but the index, the agent and the failure.
        assert_eq!(cells[0], "0");
        assert!(
            cells.len() > 15 && cells[1..].iter().all(|cell| *cell == "–"),
            "{text}"
        );
    }

    #[test]
    fn every_counter_of_both_lists_is_shown() {
        let words = |first: u64| std::array::from_fn::<_, WORDS, _>(|index| first + index as u64);
        let generator = v1::GeneratorCounts::from_words(&words(1_001));
        let receiver = v1::ReceiverCounts::from_words(&words(2_001));
        let counts = v1::Counts {
            replies_unanswered: None,
            generator: Some(generator),
            receiver: Some(receiver),
            lost: Some(3_001),
            lost_unacknowledged: Some(3_002),
            lost_unread: Some(3_003),
        };
        let text = table(
            &[v1::ClientReport {
                counts: Some(counts),
                ..client()
            }],
            600,
        );
        let lost = [
            ("lost", counts.lost),
            ("lost_unacknowledged", counts.lost_unacknowledged),
            ("lost_unread", counts.lost_unread),
        ];
        for (name, value) in generator.values().chain(receiver.values()).chain(lost) {
            let head = figures::counter_name(name).to_uppercase();
            assert!(text.contains(&head), "no {head} in {text}");
            assert!(
                text.contains(&known(value, figures::count)),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_failure_that_many_have_is_shown_once_with_the_way_out() {
        let failing = |client, code, sentence: &str| v1::ClientReport {
            client,
            failure: Some(v1::Failure::new(code, sentence)),
            ..v1::ClientReport::default()
        };
        let clients = [
            failing(
                0,
                v1::FailureCode::ConnectionRefused,
                "client 0 was refused",
            ),
            client(),
            failing(1, v1::FailureCode::NotTried, "client 1 was not tried"),
            failing(2, v1::FailureCode::NotTried, "client 2 was not tried"),
        ];
        let expected = [
            "  CONNECTION_REFUSED, 1 client: client 0 was refused",
            "  next  start metronome-server there with --host 0.0.0.0, or give its data port with \
             --target",
            "  NOT_TRIED, 2 clients: client 1 was not tried",
            "  next  see the failure of the client that could not connect",
        ];
        assert_eq!(failures(&clients, 100), expected);
        assert_eq!(failures(&[client()], 100), Vec::<String>::new());
    }
}
