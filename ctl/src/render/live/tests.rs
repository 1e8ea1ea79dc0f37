//! Frames as they stand on terminals of several sizes.

use metronome_proto::{
    histogram,
    profile::Profile,
    v1::{self, EnvironmentRole, HostPoint, HostSeries, Metric, RunState, ThreadPoint},
};
use proptest::prelude::*;
use ratatui_core::{backend::TestBackend, terminal::Terminal};

use super::{
    frame::{BYTES_MAX, Frame, clear},
    rows::Size,
    view::View,
};
use crate::render::text::colour::Colour;

const HINT: &str = "Ctrl-C stops and reports";

fn run() -> v1::Run {
    let group = v1::Group {
        name: "default".into(),
        clients: 10,
        packet_bytes: 32,
        profile: Some(Profile::constant(10_000_000).to_proto()),
        ..v1::Group::default()
    };
    let plan = v1::Plan {
        groups: vec![group],
        duration: Some(prost_types::Duration {
            seconds: 10,
            nanos: 0,
        }),
        threads: 1,
        seed: 1,
        ..v1::Plan::default()
    };
    v1::Run {
        plan: Some(plan),
        ..v1::Run::default()
    }
}

fn buckets(ns: u64) -> Option<v1::Buckets> {
    Some(v1::Buckets {
        indices: vec![histogram::bucket(ns) as u32],
        counts: vec![100_000],
    })
}

fn times(p50: i64, p99: i64, p999: i64) -> Option<v1::Distribution> {
    let quantiles = [(500_000, p50), (990_000, p99), (999_000, p999)];
    Some(v1::Distribution {
        count: 100_000,
        quantiles: quantiles.map(|(ppm, ns)| v1::Quantile { ppm, ns }).to_vec(),
        ..v1::Distribution::default()
    })
}

fn host(role: EnvironmentRole, name: &str, threads: &[(&str, i64)]) -> HostSeries {
    let thread = |(name, percent): &(&str, i64)| ThreadPoint {
        name: (*name).into(),
        cpu_ns: percent * 10_000_000,
        ..ThreadPoint::default()
    };
    HostSeries {
        role: role.into(),
        name: name.into(),
        points: vec![HostPoint {
            span_ns: 1_000_000_000,
            stolen_ns: Some(8_000_000),
            cores_ns: Some(2_000_000_000),
            threads: threads.iter().map(thread).collect(),
            ..HostPoint::default()
        }],
    }
}

/// The second of a run, of which the third one was slow and had fewer packets.
fn point(second: i64) -> v1::SeriesPoint {
    let (received, slow) = if second == 3 {
        (60_000, 20)
    } else {
        (100_000, 1)
    };
    let clients = (0..10).map(|client| (client, if client == 7 { 1_400_000 } else { 40_000 }));
    v1::SeriesPoint {
        from_ns: second * 1_000_000_000,
        span_ns: 1_000_000_000,
        receiver: Some(v1::ReceiverCounts {
            received,
            ..v1::ReceiverCounts::default()
        }),
        latency: buckets(60_000 * slow),
        transit: buckets(40_000 * slow),
        lateness: buckets(12_000),
        clients: Some(v1::ClientTimes::empty(Metric::Latency, 10).with(clients)),
        ..v1::SeriesPoint::default()
    }
}

fn snapshot(second: i64) -> v1::Snapshot {
    let packets = 100_000 * second.unsigned_abs() + 20_000;
    v1::Snapshot {
        state: RunState::Running.into(),
        elapsed: Some(prost_types::Duration {
            seconds: second,
            nanos: 200_000_000,
        }),
        clients_connected: Some(10),
        generator: Some(v1::GeneratorCounts {
            sent: packets,
            ..v1::GeneratorCounts::default()
        }),
        receiver: Some(v1::ReceiverCounts {
            received: packets - 12,
            ..v1::ReceiverCounts::default()
        }),
        received_millihertz: Some(100_012_400),
        times: Some(v1::Times {
            lateness: times(6_400, 42_000, 281_000),
            transit: times(20_600, 215_000, 1_760_000),
            latency: times(28_300, 240_000, 1_840_000),
            ..v1::Times::default()
        }),
        latest_point: Some(point(second - 1)),
        latest_hosts: vec![
            host(
                EnvironmentRole::Server,
                "server",
                &[("worker-0", 22), ("worker-1", 21)],
            ),
            host(EnvironmentRole::Agent, "a1", &[("pacing-0", 77)]),
        ],
        ..v1::Snapshot::default()
    }
}

fn running() -> View {
    let mut view = View::new(&run(), HINT);
    (1..=6).for_each(|second| view.take(&snapshot(second)));
    view
}

/// What stands on a terminal of this size, below the blank row.
fn screen(view: &View, columns: u16, rows: u16) -> String {
    let frame = Frame::of(view, size(columns, rows));
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    let drawn = terminal.draw(|on| {
        let cells = frame.cells();
        assert!(cells.area.width < columns.max(1) && cells.area.height < rows.max(1));
        on.buffer_mut().merge(cells);
    });
    let cells = &drawn.unwrap().buffer.content;
    let lines = cells.chunks(columns.max(1).into()).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    let lines: Vec<_> = lines.collect();
    lines.join("\n").trim_end().to_owned()
}

fn size(columns: u16, rows: u16) -> Size {
    Size {
        columns: columns.into(),
        rows: rows.into(),
    }
}

#[test]
fn on_80_columns_the_run_is_ten_rows() {
    let expected = "\
10 × 10 kHz  █████████████████████░░░░░░░░░░░░░   62 %  6.2 of 10 s  3.8 s left
rate      ▇▇▇▄▇▇                        100,012/s of 100,000/s  10 clients
packets   sent 620,000  received 619,988  skipped 0
latency   ▂▂▂█▂▂                        p50 28.3 µs  p99  240 µs  p99.9 1.84 ms
transit   ▂▂▂█▂▂                        p50 20.6 µs  p99  215 µs  p99.9 1.76 ms
lateness  ▂▂▂▂▂▂                        p50 6.40 µs  p99 42.0 µs  p99.9  281 µs
clients   ▂▂▂▂▂▂▂█▂▂                    worst client 7, p99 1.40 ms
agents    a1 pacing 77 %  steal 0.4 %
server    2 workers 22 21 %  steal 0.4 %
          Ctrl-C stops and reports";
    assert_eq!(screen(&running(), 80, 24), expected);
}

#[test]
fn on_40_columns_what_is_over_time_has_rows_of_its_own() {
    let expected = "\
10 × 10 kHz           62 %  6.2 of 10 s
████████████████░░░░░░░░░░░  3.8 s left
rate     100,012/s of 100,000/s
         ▇▇▇▄▇▇
packets  received 619,988  skipped 0
             p50      p99    p99.9
latency  28.3 µs   240 µs  1.84 ms
         ▂▂▂█▂▂
transit  20.6 µs   215 µs  1.76 ms
         ▂▂▂█▂▂
lateness 6.40 µs  42.0 µs   281 µs
         ▂▂▂▂▂▂
clients  ▂▂▂▂▂▂▂█▂▂
         worst client 7, p99 1.40 ms
agents   a1 pacing 77 %  steal 0.4 %
server   2 workers 22 21 %  steal 0.4 %
         Ctrl-C stops and reports";
    assert_eq!(screen(&running(), 40, 20), expected);
    let expected = "\
10 × 10 kHz           62 %  6.2 of 10 s
rate     100,012/s of 100,000/s
packets  received 619,988  skipped 0
             p50      p99    p99.9
latency  28.3 µs   240 µs  1.84 ms";
    assert_eq!(screen(&running(), 40, 6), expected);
}

#[test]
fn on_a_tiny_terminal_the_most_important_figures_are_left() {
    let expected = "\
62 %  6.2 of 10 s
rate 100,012/s
latency p99 240 µs
transit p99 215 µs";
    assert_eq!(screen(&running(), 20, 5), expected);
    assert_eq!(screen(&running(), 20, 2), "62 %  6.2 of 10 s");
    assert_eq!(screen(&running(), 8, 2), "62 %…");
    for (columns, rows) in [(0, 0), (1, 5), (5, 1), (0, 24), (80, 0)] {
        let text = Frame::text(&running(), size(columns, rows), Colour::None, false);
        assert!(!text.contains("62"), "{text:?}");
    }
}

#[test]
fn before_the_start_and_at_the_end_it_shows_what_the_run_waits_for() {
    let mut view = View::new(&run(), HINT);
    let first = screen(&view, 80, 24);
    assert!(first.starts_with("10 × 10 kHz  ░░░"), "{first}");
    assert!(
        first.lines().next().unwrap().ends_with("  starting"),
        "{first}"
    );
    let mut snapshot = v1::Snapshot {
        state: RunState::Preparing.into(),
        clients_connected: Some(4),
        waiting_for: vec!["a1".into()],
        ..v1::Snapshot::default()
    };
    view.take(&snapshot);
    let preparing = screen(&view, 80, 24);
    assert!(
        preparing.contains("preparing  4 of 10 clients\n"),
        "{preparing}"
    );
    assert!(
        preparing.contains("rate                                    –/s of 100,000/s  4 clients")
    );
    assert!(
        preparing.ends_with("\nlast      waiting for a1"),
        "{preparing}"
    );
    snapshot.failures = vec![v1::Failure::new(
        v1::FailureCode::ConnectionRefused,
        "agent a1 cannot connect to 10.0.0.7:8888: nothing listens",
    )];
    view.take(&snapshot);
    let failed = screen(&view, 80, 24);
    assert!(
        failed.ends_with(
            "\nlast      1 failure, connection refused: agent a1 cannot connect to 10.0.0.7:8…"
        ),
        "{failed}"
    );
    view.take(&v1::Snapshot {
        state: RunState::Draining.into(),
        ..v1::Snapshot::default()
    });
    let draining = screen(&view, 80, 24);
    assert!(draining.contains("██  draining\n"), "{draining}");
    assert!(draining.ends_with("waiting for the report"), "{draining}");
}

#[test]
fn between_clocks_spread_and_one_way_stand_where_latency_does_and_round_trips_below() {
    let mut between = snapshot(3);
    between.times = Some(v1::Times {
        lateness: times(6_400, 42_000, 281_000),
        spread: times(50_000, 300_000, 2_000_000),
        rtt_from_due: times(90_000, 400_000, 3_000_000),
        ..v1::Times::default()
    });
    let mut view = View::new(&run(), HINT);
    view.take(&between);
    let shown = screen(&view, 80, 24);
    let labels = shown.lines().skip(3).take(4).map(|line| &line[..8]);
    assert_eq!(
        labels.collect::<Vec<_>>(),
        ["spread  ", "one-way ", "lateness", "rtt     "],
        "{shown}"
    );
    assert!(
        shown.contains("p50       –  p99       –  p99.9       –"),
        "{shown}"
    );
}

#[test]
fn the_slow_client_has_a_colour_and_without_colours_its_height() {
    let coloured = Frame::text(&running(), size(80, 24), Colour::Ansi, false);
    assert!(
        coloured.contains("▂▂▂\x1b[0m\x1b[1;31m█\x1b[0m▂▂"),
        "{coloured:?}"
    );
    let plain = Frame::text(&running(), size(80, 24), Colour::None, false);
    assert!(plain.contains("▂▂▂▂▂▂▂█▂▂"), "{plain:?}");
    assert!(!plain.contains("[0m"), "no colour: {plain:?}");
}

#[test]
fn of_a_thousand_clients_the_band_of_the_slow_one_is_seen() {
    let mut many = snapshot(3);
    let clients = (0..1_000).map(|client| (client, if client == 700 { 9_000_000 } else { 40_000 }));
    let times = v1::ClientTimes::empty(Metric::Latency, 1_000).with(clients);
    many.latest_point.as_mut().unwrap().clients = Some(times);
    let mut view = View::new(&run(), HINT);
    view.take(&many);
    let shown = screen(&view, 80, 24);
    let row = shown
        .lines()
        .find(|line| line.starts_with("clients"))
        .unwrap();
    assert!(row.contains("▂█▂"), "{row}");
    assert!(
        row.ends_with("  worst clients 700–703, p99 9.00 ms"),
        "{row}"
    );
}

/// The labels of a frame and the columns in which its quantiles begin.
fn form(frame: &str) -> (Vec<String>, Vec<Option<usize>>) {
    let labels = frame.lines().skip(1).map(|row| {
        let label: String = row.chars().take(10).collect();
        label.trim().to_owned()
    });
    let row = frame.lines().find(|row| row.starts_with("latency"));
    let column = |name: &str| {
        let before = row?.split(name).next()?;
        row?.contains(name).then_some(before.chars().count())
    };
    (
        labels.collect(),
        [" p50 ", " p99 ", " p99.9 "].map(column).to_vec(),
    )
}

#[test]
fn the_pictures_of_the_manual_have_the_form_of_a_frame() {
    let expected = form(&screen(&running(), 80, 24));
    for page in ["README.md", "docs/terminal.md"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(path.join(page)).unwrap();
        let blocks = text.split("```text\n").skip(1);
        let mut blocks = blocks.filter_map(|block| block.split("\n```").next());
        let picture = blocks.find(|block| block.contains(HINT)).expect(page);
        let frame = picture.split("\n\n").last().unwrap();
        assert_eq!(form(frame), expected, "{page}");
    }
}

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
