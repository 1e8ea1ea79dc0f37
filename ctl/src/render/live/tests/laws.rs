//! Whatever snapshots come: what holds of each frame.

use metronome_proto::v1::{self, EnvironmentRole, HostPoint, HostSeries, RunState, ThreadPoint};
use proptest::prelude::*;

use super::{
    super::{
        Size, View,
        frame::{BYTES_MAX, Frame, clear},
    },
    HINT, run, screen, size, times,
};
use crate::render::text::colour::Colour;

/// A terminal that has what it was sent, and refuses what no terminal of ours is to be sent.
struct Emulator {
    rows: Vec<Vec<char>>,
    x: usize,
    y: usize,
    kept: usize,
}

impl Emulator {
    fn new(size: Size) -> Self {
        Self {
            rows: vec![vec![' '; size.columns]; size.rows],
            x: 0,
            y: 0,
            kept: 0,
        }
    }

    fn take(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => self.x = 0,
                '\n' if self.y + 1 == self.rows.len() => {
                    self.rows.rotate_left(1);
                    self.rows[self.y].fill(' ');
                }
                '\n' => self.y += 1,
                '\x1b' => self.escaped(&mut rest),
                character => {
                    self.rows[self.y][self.x] = character;
                    self.x += 1;
                }
            }
        }
    }

    fn escaped(&mut self, rest: &mut std::str::Chars<'_>) {
        match rest.next() {
            Some('7') => return self.kept = self.y,
            Some('8') => return (self.x, self.y) = (0, self.kept),
            next => assert_eq!(next, Some('[')),
        }
        let parameters = rest.clone().take_while(|of| !of.is_ascii_alphabetic());
        let parameters: String = parameters.collect();
        let end = rest.nth(parameters.len());
        match (parameters.as_str(), end) {
            ("", Some('K')) => self.rows[self.y][self.x..].fill(' '),
            ("", Some('J')) => {
                self.rows[self.y][self.x..].fill(' ');
                let below = self.rows.iter_mut().skip(self.y + 1);
                below.for_each(|row| row.fill(' '));
            }
            (rows, Some('A')) => {
                self.y = self.y.checked_sub(rows.parse().unwrap()).unwrap();
            }
            ("999", Some('B')) => self.y = self.rows.len() - 1,
            ("?7" | "?2026", Some('h' | 'l')) | ("0" | "2" | "33" | "1;31", Some('m')) => {}
            _ => panic!("{parameters}{end:?} is none of ours"),
        }
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let row: String = row.iter().collect();
            row.trim_end().to_owned()
        });
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }
}

fn any_distribution() -> impl Strategy<Value = Option<v1::Distribution>> {
    let quantile = (any::<u32>(), any::<i64>()).prop_map(|(ppm, ns)| v1::Quantile { ppm, ns });
    let known = prop_oneof![
        (any::<i64>(), any::<i64>(), any::<i64>())
            .prop_map(|(one, two, three)| times(one, two, three)),
        prop::collection::vec(quantile, 0..3).prop_map(|quantiles| Some(v1::Distribution {
            quantiles,
            ..v1::Distribution::default()
        })),
    ];
    prop_oneof![Just(None), known]
}

fn any_point() -> impl Strategy<Value = Option<v1::SeriesPoint>> {
    let buckets = (
        prop::collection::vec(any::<u32>(), 0..3),
        prop::collection::vec(any::<u64>(), 0..3),
    )
        .prop_map(|(indices, counts)| Some(v1::Buckets { indices, counts }));
    let clients = (
        any::<[u32; 2]>(),
        prop::collection::vec(any::<u32>(), 0..4),
        prop::collection::vec(any::<i64>(), 0..4),
    );
    let of_clients = clients.prop_map(|([clients, per_row], rows, p99_ns)| v1::ClientTimes {
        clients: clients % 600,
        clients_per_row: per_row % 5,
        rows: rows.into_iter().map(|row| row % 300).collect(),
        p99_ns,
        ..v1::ClientTimes::default()
    });
    let point = (any::<[i64; 2]>(), any::<[u64; 2]>(), buckets, of_clients);
    prop::option::of(point.prop_map(
        |([from_ns, span_ns], [received, scheduled], latency, clients)| v1::SeriesPoint {
            from_ns,
            span_ns,
            receiver: Some(v1::ReceiverCounts {
                received,
                ..v1::ReceiverCounts::default()
            }),
            generator: Some(v1::GeneratorCounts {
                scheduled,
                ..v1::GeneratorCounts::default()
            }),
            latency,
            clients: Some(clients),
            ..v1::SeriesPoint::default()
        },
    ))
}

fn any_host() -> impl Strategy<Value = HostSeries> {
    let figures = (any::<[i64; 3]>(), any::<[Option<i64>; 2]>());
    (0..4_i32, ".{0,12}", figures).prop_map(
        |(role, name, ([span_ns, cpu_ns, away_ns], [stolen_ns, cores_ns]))| {
            let thread = |name: &str| ThreadPoint {
                name: name.into(),
                cpu_ns,
                ..ThreadPoint::default()
            };
            HostSeries {
                role,
                name,
                points: vec![HostPoint {
                    span_ns,
                    away_ns,
                    stolen_ns,
                    cores_ns,
                    threads: vec![thread("pacing-0"), thread("worker-3")],
                    ..HostPoint::default()
                }],
            }
        },
    )
}

fn any_snapshot() -> impl Strategy<Value = v1::Snapshot> {
    let counts = (
        prop::option::of(any::<u32>()),
        any::<[Option<u64>; 3]>(),
        prop::option::of((any::<i64>(), any::<i32>())),
        prop_oneof![0..90_i32, Just(40)],
    );
    let times = (any_distribution(), any_distribution(), any_distribution());
    let words = (
        prop::collection::vec(".{0,30}", 0..4),
        prop::collection::vec((any::<i32>(), ".{0,90}"), 0..2),
    );
    let evidence = (any_point(), prop::collection::vec(any_host(), 0..4));
    (counts, times, words, evidence).prop_map(|(counts, times, words, evidence)| {
        let (clients_connected, [sent, received, received_millihertz], elapsed, state) = counts;
        let failure = |(code, sentence): &(i32, String)| v1::Failure {
            code: *code,
            sentence: sentence.clone(),
            ..v1::Failure::default()
        };
        v1::Snapshot {
            state,
            elapsed: elapsed.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
            clients_connected,
            generator: sent.map(|sent| v1::GeneratorCounts {
                sent,
                skipped: sent,
                ..v1::GeneratorCounts::default()
            }),
            receiver: received.map(|received| v1::ReceiverCounts {
                received,
                corrupt: received,
                ..v1::ReceiverCounts::default()
            }),
            received_millihertz,
            times: Some(v1::Times {
                latency: times.0,
                lateness: times.1,
                spread: times.2,
                ..v1::Times::default()
            }),
            waiting_for: words.0,
            failures: words.1.iter().map(failure).collect(),
            latest_point: evidence.0,
            latest_hosts: evidence.1,
            ..v1::Snapshot::default()
        }
    })
}

/// A snapshot of which each figure that is known has no digit but 8.
fn eights(known: [bool; 7]) -> v1::Snapshot {
    let [clients, sent, received, rate, elapsed, times_known, hosts] = known;
    let clients_of_point = v1::ClientTimes {
        clients: 9,
        clients_per_row: 1,
        rows: vec![8],
        p99_ns: vec![888_000],
        ..v1::ClientTimes::default()
    };
    v1::Snapshot {
        state: RunState::Running.into(),
        elapsed: elapsed.then_some(prost_types::Duration {
            seconds: 8,
            nanos: 800_000_000,
        }),
        clients_connected: clients.then_some(8),
        generator: sent.then_some(v1::GeneratorCounts {
            sent: 888,
            skipped: 88,
            ..v1::GeneratorCounts::default()
        }),
        receiver: received.then_some(v1::ReceiverCounts {
            received: 888,
            ..v1::ReceiverCounts::default()
        }),
        received_millihertz: rate.then_some(888_000),
        times: times_known.then(|| v1::Times {
            latency: times(888, 888_000, 888_000_000),
            ..v1::Times::default()
        }),
        latest_point: times_known.then(|| v1::SeriesPoint {
            clients: Some(clients_of_point),
            ..v1::SeriesPoint::default()
        }),
        latest_hosts: match hosts {
            false => Vec::new(),
            true => vec![HostSeries {
                role: EnvironmentRole::Agent.into(),
                name: "a".into(),
                points: vec![HostPoint {
                    span_ns: 100,
                    stolen_ns: Some(88),
                    cores_ns: Some(100),
                    threads: vec![ThreadPoint {
                        name: "pacing-0".into(),
                        cpu_ns: 88,
                        ..ThreadPoint::default()
                    }],
                    ..HostPoint::default()
                }],
            }],
        },
        ..v1::Snapshot::default()
    }
}

proptest! {
    #[test]
    fn no_snapshot_ends_the_process_or_is_wider_than_the_terminal(
        snapshots in prop::collection::vec(any_snapshot(), 0..5),
        columns in 0_u16..260,
        rows in 0_u16..60,
    ) {
        let mut view = View::new(&run(), HINT);
        for snapshot in &snapshots {
            view.take(snapshot);
        }
        let size = size(columns, rows);
        let frame = Frame::of(&view, size);
        let area = frame.cells().area;
        prop_assert!(usize::from(area.width) < size.columns.max(1));
        prop_assert!(usize::from(area.height) < size.rows.max(1));
        let text = Frame::text(&view, size, Colour::Ansi, true);
        prop_assert!(text.len() <= BYTES_MAX, "{}", text.len());
        if columns > 0 && rows > 0 {
            Emulator::new(size).take(&text);
        }
    }

    #[test]
    fn each_frame_replaces_the_one_before_and_nothing_is_left_of_the_last(
        snapshots in prop::collection::vec(any_snapshot(), 1..6),
        columns in 1_u16..90,
        rows in 1_u16..30,
        before in 0_usize..40,
    ) {
        let size = size(columns, rows);
        let mut terminal = Emulator::new(size);
        (0..before).for_each(|_| terminal.take(".\r\n"));
        let mut view = View::new(&run(), HINT);
        for (index, snapshot) in snapshots.iter().enumerate() {
            view.take(snapshot);
            let text = Frame::text(&view, size, Colour::Ansi, index == 0);
            terminal.take(&text);
            let shown = terminal.text();
            let shown: Vec<_> = shown.lines().skip(terminal.y + 1).collect();
            let expected = screen(&view, columns, rows);
            prop_assert_eq!(shown.join("\n"), expected.trim_end());
        }
        terminal.take(clear(true));
        let left = terminal.text();
        prop_assert!(left.lines().all(|line| line == "."), "{left:?}");
        prop_assert_eq!(terminal.y, left.lines().count());
    }

    #[test]
    fn no_figure_is_shown_that_the_snapshot_does_not_have(
        known in any::<[bool; 7]>(),
        columns in 24_u16..120,
        rows in 1_u16..30,
    ) {
        let mut view = View::new(&v1::Run::default(), HINT);
        view.take(&eights(known));
        let mut shown = screen(&view, columns, rows);
        for name in ["p99.9", "p99", "p50"] {
            shown = shown.replace(name, "");
        }
        let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
        prop_assert!(digits.chars().all(|digit| digit == '8'), "{shown}");
        if !known.contains(&true) {
            prop_assert_eq!(digits, "");
        }
    }
}
