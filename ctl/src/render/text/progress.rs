//! A run as one line while it runs: how much of its schedule is over, what it has come to, and
//! before and after the schedule what it waits for.

use metronome_proto::{
    json::{times::quantile_ns, values},
    profile::hz,
    v1,
};

use super::{
    figures::{self, UNKNOWN, known},
    grounds,
};

/// A schedule of this length or more has its times in hours, minutes and seconds, s.
pub(crate) const LONG_S: f64 = 600.0;
/// What a run without a packet to send waits for, once its agents have reported.
pub(crate) const WAITING_FOR_REPORT: &str = "waiting for the report";
/// Between two parts.
const GAP: &str = "  ";

/// Where a run ends, by its plan as the server has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Goal {
    /// How long the schedule lasts, s. `None`: not known.
    duration_s: Option<f64>,
    /// Clients of all groups. `None`: not known.
    clients: Option<u64>,
}

impl Goal {
    pub(crate) fn of(run: &v1::Run) -> Self {
        let Some(plan) = &run.plan else {
            return Self::default();
        };
        let clients = plan.groups.iter().map(|group| u64::from(group.clients));
        Self {
            duration_s: values::seconds(plan.duration.as_ref()).filter(|seconds| *seconds > 0.0),
            clients: Some(clients.sum()),
        }
    }
}

/// What a plain line is about, so that a log has a line a second and one for each state: the state
/// and the whole second of the run, 0 before its start.
pub(crate) fn moment(snapshot: &v1::Snapshot) -> (i32, u64) {
    let elapsed = snapshot.elapsed.as_ref();
    let second = elapsed.map_or(0, |elapsed| u64::try_from(elapsed.seconds).unwrap_or(0));
    (snapshot.state, second)
}

/// What went wrong first, with its way out.
pub(crate) fn failure(snapshot: &v1::Snapshot, columns: usize) -> Option<Vec<String>> {
    let first = snapshot.failures.first()?;
    Some(grounds::failure(first, columns))
}

/// What stands between the agents and the target, of a kind that is not in `shown`: its code, and
/// the lines with its way out.
pub(crate) fn obstacle(
    snapshot: &v1::Snapshot,
    shown: &[i32],
    columns: usize,
) -> Option<(i32, Vec<String>)> {
    let mut new = snapshot.obstacles.iter();
    let first = new.find(|obstacle| !shown.contains(&obstacle.code))?;
    Some((first.code, grounds::failure(first, columns)))
}

/// How the run stands, in at most `columns` where its first part has room. Packets and their rate
/// are shown from the start on. Where the line would be wider, it lacks what a reader misses least.
pub(crate) fn line(snapshot: &v1::Snapshot, goal: Goal, columns: usize) -> String {
    let mut parts = parts(snapshot, goal);
    while width(&parts) > columns {
        let Some(least) = (0..parts.len()).max_by_key(|index| parts[*index].0) else {
            break;
        };
        parts.remove(least);
    }
    let mut line = texts(&parts).join(GAP);
    let room = columns.saturating_sub(line.chars().count() + GAP.len());
    let agents = waiting_for(&snapshot.waiting_for, room);
    let is_draining = snapshot.state() == v1::RunState::Draining;
    let waiting = agents.or_else(|| is_draining.then(|| WAITING_FOR_REPORT.to_owned()));
    if let Some(waiting) = waiting.filter(|text| text.chars().count() <= room) {
        line = line + GAP + &waiting;
    }
    line
}

/// How much a reader would miss a part of the line: the last one least.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Priority {
    Moment,
    Failures,
    Received,
    Rate,
    Times,
    RoundTrips,
    Sent,
    Clients,
}

fn parts(snapshot: &v1::Snapshot, goal: Goal) -> Vec<(Priority, String)> {
    let is_running = snapshot.state() == v1::RunState::Running;
    let moment = if is_running {
        let elapsed_s = values::seconds(snapshot.elapsed.as_ref());
        part_of_schedule(elapsed_s, goal.duration_s)
    } else {
        figures::word(values::state(snapshot.state))
    };
    let clients = clients(snapshot, goal);
    let mut parts = vec![(Priority::Moment, moment), (Priority::Clients, clients)];
    if is_running || snapshot.generator.is_some() || snapshot.receiver.is_some() {
        let sent = known(snapshot.generator.map(|counts| counts.sent), figures::count);
        let received = snapshot.receiver.map(|counts| counts.received);
        let received = known(received, figures::count);
        parts.push((Priority::Sent, format!("sent {sent}")));
        parts.push((Priority::Received, format!("received {received}")));
    }
    if is_running {
        let rate = known(snapshot.received_millihertz, |millihertz| {
            figures::rate(hz(millihertz))
        });
        parts.push((Priority::Rate, format!("{rate}/s")));
        parts.extend(p99(snapshot).map(|p99| (Priority::Times, p99)));
        parts.extend(rtt_p99(snapshot).map(|p99| (Priority::RoundTrips, p99)));
    }
    if !snapshot.failures.is_empty() {
        let failures = figures::number_of(snapshot.failures.len() as u64, "failure");
        parts.push((Priority::Failures, failures));
    }
    parts
}

/// How much of the schedule is over: ` 62 %  6.2 of 10 s`.
pub(crate) fn part_of_schedule(elapsed_s: Option<f64>, duration_s: Option<f64>) -> String {
    let percent = elapsed_s.zip(duration_s).map(|(elapsed_s, duration_s)| {
        // Rounded down: 100 % is the end.
        (elapsed_s / duration_s * 100.0).clamp(0.0, 100.0).floor()
    });
    let percent = known(percent, |percent| figures::fixed(percent, 0));
    let is_long = duration_s.or(elapsed_s).is_some_and(|it| it >= LONG_S);
    let elapsed = known(elapsed_s, |seconds| match is_long {
        true => clock(seconds),
        false => figures::fixed(seconds, 1),
    });
    let duration = duration_s.map(|seconds| match is_long {
        true => format!(" of {}", clock(seconds)),
        false => format!(" of {seconds} s"),
    });
    let unit = if is_long { "" } else { " s" };
    let end = duration.unwrap_or_else(|| unit.to_owned());
    format!("{percent:>3} %  {elapsed}{end}")
}

/// Hours, minutes and seconds: `1:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    // At most 24 h and a drain; a float that fits no u64 saturates.
    let whole = seconds as u64;
    let (hours, minutes) = (whole / 3_600, whole / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}", whole % 60)
}

/// The clients that are connected: of how many, until all are.
fn clients(snapshot: &v1::Snapshot, goal: Goal) -> String {
    let connected = snapshot.clients_connected.map(u64::from);
    match (connected, goal.clients) {
        (Some(connected), Some(all)) if connected < all => {
            let all = figures::number_of(all, "client");
            format!("{} of {all}", figures::count(connected))
        }
        (Some(connected), _) => figures::number_of(connected, "client"),
        (None, _) => format!("{UNKNOWN} clients"),
    }
}

fn texts(parts: &[(Priority, String)]) -> Vec<&str> {
    parts.iter().map(|(_, text)| text.as_str()).collect()
}

fn width(parts: &[(Priority, String)]) -> usize {
    texts(parts).join(GAP).chars().count()
}

/// The agents that a run waits for, as many names as there is room for in `width` columns. `None`
/// when there is none, or no room.
pub(crate) fn waiting_for(agents: &[String], width: usize) -> Option<String> {
    let names: Vec<String> = agents.iter().map(|name| figures::clean(name)).collect();
    let waiting = |named: usize| {
        let number = figures::count(names.len() as u64);
        match (named, names.len() - named) {
            (0, _) => format!("waiting for {number}"),
            (_, 0) => format!("waiting for {}", names.join(", ")),
            (_, more) => format!("waiting for {} and {more} more", names[..named].join(", ")),
        }
    };
    let most_first = (0..=names.len()).rev().filter(|_| !names.is_empty());
    most_first
        .map(waiting)
        .find(|text| text.chars().count() <= width)
}

/// Latency where it is known, or one-way between clocks, else lateness.
fn p99(snapshot: &v1::Snapshot) -> Option<String> {
    let times = snapshot.times.as_ref()?;
    let named = [
        ("latency", times.latency.as_ref()),
        ("one-way", times.one_way.as_ref()),
        ("lateness", times.lateness.as_ref()),
    ];
    let mut known = named.into_iter().filter_map(|(name, times)| {
        let ns = quantile_ns(times?, 990_000)?;
        Some(format!("{name} p99 {}", figures::time(ns)))
    });
    known.next()
}

/// Round trips from due, where some are known.
fn rtt_p99(snapshot: &v1::Snapshot) -> Option<String> {
    let times = snapshot.times.as_ref()?.rtt_from_due.as_ref()?;
    let ns = quantile_ns(times, 990_000)?;
    Some(format!("rtt p99 {}", figures::time(ns)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: usize = 80;

    fn snapshot() -> v1::Snapshot {
        v1::Snapshot {
            state: v1::RunState::Running.into(),
            elapsed: Some(prost_types::Duration {
                seconds: 4,
                nanos: 500_000_000,
            }),
            clients_connected: Some(10),
            generator: Some(v1::GeneratorCounts {
                sent: 45_000,
                ..v1::GeneratorCounts::default()
            }),
            receiver: Some(v1::ReceiverCounts {
                received: 44_999,
                ..v1::ReceiverCounts::default()
            }),
            received_millihertz: Some(10_012_400),
            times: Some(v1::Times {
                one_way: None,
                queueing: None,
                rtt_from_due: None,
                rtt_from_write: None,
                lateness: Some(times(12_000)),
                transit: None,
                latency: Some(times(62_140)),
                spread: None,
            }),
            ..v1::Snapshot::default()
        }
    }

    fn goal() -> Goal {
        let group = |clients| v1::Group {
            clients,
            ..v1::Group::default()
        };
        let plan = v1::Plan {
            groups: vec![group(7), group(3)],
            duration: Some(prost_types::Duration {
                seconds: 10,
                nanos: 0,
            }),
            ..v1::Plan::default()
        };
        Goal::of(&v1::Run {
            plan: Some(plan),
            ..v1::Run::default()
        })
    }

    #[test]
    fn the_part_of_the_schedule_is_100_percent_at_its_end_only_and_unknown_without_one() {
        for (elapsed_s, duration_s, text) in [
            (Some(0.0), Some(10.0), "  0 %  0.0 of 10 s"),
            (Some(9.99), Some(10.0), " 99 %  10.0 of 10 s"),
            (Some(12.0), Some(10.0), "100 %  12.0 of 10 s"),
            (Some(0.1), Some(0.25), " 40 %  0.1 of 0.25 s"),
            (Some(3_723.0), Some(86_400.0), "  4 %  1:02:03 of 24:00:00"),
            (Some(6.2), None, "  – %  6.2 s"),
            (Some(3_723.0), None, "  – %  1:02:03"),
            (None, Some(10.0), "  – %  – of 10 s"),
            (None, None, "  – %  – s"),
        ] {
            assert_eq!(part_of_schedule(elapsed_s, duration_s), text);
        }
    }

    #[test]
    fn a_run_that_drains_waits_for_its_agents_and_then_for_the_report() {
        let mut draining = v1::Snapshot {
            state: v1::RunState::Draining.into(),
            clients_connected: Some(10),
            waiting_for: vec!["a1".into()],
            ..v1::Snapshot::default()
        };
        let shown = line(&draining, goal(), WIDTH);
        assert_eq!(shown, "draining  10 clients  waiting for a1");
        draining.waiting_for.clear();
        let shown = line(&draining, goal(), WIDTH);
        assert_eq!(shown, "draining  10 clients  waiting for the report");
    }

    fn times(p99_ns: i64) -> v1::Distribution {
        let p99 = v1::Quantile {
            ppm: 990_000,
            ns: p99_ns,
        };
        v1::Distribution {
            count: 44_999,
            quantiles: vec![p99],
            ..v1::Distribution::default()
        }
    }

    #[test]
    fn the_line_has_the_part_of_the_schedule_packets_rate_and_latency() {
        assert_eq!(
            line(&snapshot(), goal(), WIDTH),
            " 45 %  4.5 of 10 s  sent 45,000  received 44,999  10,012/s  latency p99 62.1 µs"
        );
        assert_eq!(moment(&snapshot()), (v1::RunState::Running.into(), 4));
    }

    #[test]
    fn a_line_that_would_be_too_wide_lacks_what_is_missed_least() {
        let mut snapshot = snapshot();
        let mut with = |packets, p99_ns| {
            snapshot.generator.as_mut().unwrap().sent = packets;
            snapshot.receiver.as_mut().unwrap().received = packets;
            snapshot.times.as_mut().unwrap().latency = Some(times(p99_ns));
            line(&snapshot, goal(), WIDTH)
        };
        assert_eq!(
            with(1_000_000, 62_140),
            " 45 %  4.5 of 10 s  received 1,000,000  10,012/s  latency p99 62.1 µs"
        );
        assert_eq!(
            with(864_000_000_000, 68_719_476_735),
            " 45 %  4.5 of 10 s  received 864,000,000,000  10,012/s  latency p99 68.7 s"
        );
    }

    #[test]
    fn the_first_failure_has_its_way_out_and_all_of_them_are_counted() {
        let failure_of = |agent: &str| {
            let sentence =
                format!("agent {agent} cannot connect to 10.0.0.7:8888: nothing listens");
            v1::Failure::new(v1::FailureCode::ConnectionRefused, sentence)
        };
        let failing = v1::Snapshot {
            state: v1::RunState::Preparing.into(),
            waiting_for: vec!["c".into()],
            failures: vec![failure_of("a"), failure_of("b")],
            ..v1::Snapshot::default()
        };
        assert_eq!(
            line(&failing, goal(), WIDTH),
            "preparing  – clients  2 failures  waiting for c"
        );
        let expected = [
            "  CONNECTION_REFUSED: agent a cannot connect to 10.0.0.7:8888: nothing",
            "    listens",
            "  next  start metronome-server there with --host 0.0.0.0, or give its data port",
            "        with --target",
        ];
        assert_eq!(failure(&failing, WIDTH).unwrap(), expected);
        assert_eq!(failure(&snapshot(), WIDTH), None);
    }

    #[test]
    fn an_obstacle_of_each_kind_has_its_way_out_once() {
        let obstacle = |code, sentence: &str| v1::Failure::new(code, sentence);
        let preparing = v1::Snapshot {
            state: v1::RunState::Preparing.into(),
            obstacles: vec![
                obstacle(
                    v1::FailureCode::ConnectionTimedOut,
                    "nothing has answered at 10.77.0.1:8888 for 1 s; it is tried for 9 s in all",
                ),
                obstacle(v1::FailureCode::HelloNotAnswered, "no answer"),
            ],
            ..v1::Snapshot::default()
        };
        let (first, lines) = obstacle_of(&preparing, &[]);
        let expected = [
            "  CONNECTION_TIMED_OUT: nothing has answered at 10.77.0.1:8888 for 1 s; it is",
            "    tried for 9 s in all",
            "  next  open the data port in the firewalls between the agent and the target",
        ];
        assert_eq!(lines, expected);
        let (second, _) = obstacle_of(&preparing, &[first]);
        assert_eq!(second, v1::FailureCode::HelloNotAnswered as i32);
        assert_eq!(super::obstacle(&preparing, &[first, second], WIDTH), None);
    }

    fn obstacle_of(snapshot: &v1::Snapshot, shown: &[i32]) -> (i32, Vec<String>) {
        super::obstacle(snapshot, shown, WIDTH).unwrap()
    }

    #[test]
    fn where_latency_is_not_known_the_line_has_lateness() {
        let mut snapshot = snapshot();
        snapshot.times.as_mut().unwrap().latency = None;
        let line = line(&snapshot, goal(), WIDTH);
        assert!(line.ends_with("lateness p99 12.0 µs"), "{line}");
    }

    #[test]
    fn round_trips_stand_behind_latency_where_they_are_known() {
        let mut snapshot = snapshot();
        snapshot.times.as_mut().unwrap().rtt_from_due = Some(times(130_000));
        let wide = line(&snapshot, goal(), 120);
        assert!(
            wide.ends_with("latency p99 62.1 µs  rtt p99 130 µs"),
            "{wide}"
        );
        let narrow = line(&snapshot, goal(), 40);
        assert!(!narrow.contains("rtt"), "{narrow}");
    }

    #[test]
    fn what_is_not_known_of_a_run_is_a_dash() {
        let running = v1::Snapshot {
            state: v1::RunState::Running.into(),
            ..v1::Snapshot::default()
        };
        assert_eq!(
            line(&running, Goal::default(), WIDTH),
            "  – %  – s  – clients  sent –  received –  –/s"
        );
        let later = v1::Snapshot {
            state: 45,
            ..v1::Snapshot::default()
        };
        assert_eq!(line(&later, Goal::default(), WIDTH), "45  – clients");
    }

    #[test]
    fn before_the_first_packet_the_line_has_what_is_waited_for() {
        let preparing = v1::Snapshot {
            state: v1::RunState::Preparing.into(),
            clients_connected: Some(1),
            waiting_for: vec!["b\x1b[2J".into()],
            ..v1::Snapshot::default()
        };
        assert_eq!(
            line(&preparing, goal(), WIDTH),
            "preparing  1 of 10 clients  waiting for b?[2J"
        );
    }

    #[test]
    fn agents_that_are_waited_for_are_named_as_far_as_there_is_room() {
        let agents = ["a1", "b2", "c3"].map(String::from);
        assert_eq!(
            waiting_for(&agents, 22).as_deref(),
            Some("waiting for a1, b2, c3")
        );
        let many: Vec<String> = (10..40).map(|number| format!("agent-{number}")).collect();
        assert_eq!(
            waiting_for(&many, 50).as_deref(),
            Some("waiting for agent-10, agent-11 and 28 more")
        );
        assert_eq!(waiting_for(&many, 20).as_deref(), Some("waiting for 30"));
        assert_eq!(waiting_for(&many, 13), None);
        assert_eq!(waiting_for(&[], 80), None);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            columns in 40..=200_usize,
            state in 0..90_i32,
            [seconds, packets, rate, clients, p99]: [u32; 5],
            duration_ms in prop::option::of(1..=86_400_000_u32),
            agents in prop::collection::vec("[a-z0-9-]{1,63}", 0..256),
            failures in 0..3_usize,
        ) {
            let packets = u64::from(packets) * 1_000;
            let failing = v1::Failure::new(v1::FailureCode::NoRoute, agents.join(" "));
            let snapshot = v1::Snapshot {
                state,
                elapsed: Some(prost_types::Duration {
                    seconds: (seconds % 86_400).into(),
                    nanos: 0,
                }),
                clients_connected: Some(clients % 10_001),
                generator: Some(v1::GeneratorCounts {
                    sent: packets,
                    ..v1::GeneratorCounts::default()
                }),
                receiver: Some(v1::ReceiverCounts {
                    received: packets,
                    ..v1::ReceiverCounts::default()
                }),
                received_millihertz: Some(rate.into()),
                times: Some(v1::Times {
                    lateness: Some(times(p99.into())),
                    ..v1::Times::default()
                }),
                waiting_for: agents,
                failures: vec![failing; failures],
                ..v1::Snapshot::default()
            };
            let mut lines = failure(&snapshot, columns).unwrap_or_default();
            let goal = Goal {
                duration_s: duration_ms.map(|ms| f64::from(ms) / 1e3),
                clients: Some(10_000),
            };
            lines.push(line(&snapshot, goal, columns));
            for line in lines {
                prop_assert!(line.chars().count() <= columns, "{line}");
            }
        }
    }
}
