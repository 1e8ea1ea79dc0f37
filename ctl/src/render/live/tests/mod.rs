//! Frames as they stand on terminals of several sizes; in `laws` what holds of all of them.

mod laws;

use metronome_proto::{
    histogram,
    profile::Profile,
    v1::{self, EnvironmentRole, HostPoint, HostSeries, Metric, RunState, ThreadPoint},
};
use ratatui_core::{backend::TestBackend, terminal::Terminal};

use super::{frame::Frame, rows::Size, view::View};
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
10 × 10 kHz  █████████████████████\
░░░░░░░░░░░░░   62 %  6.2 of 10 s  3.8 s left
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

/// A run of so many groups of three clients, of which the last one has the slowest.
fn of_groups(number: u32) -> View {
    let mut of_groups = run();
    let plan = of_groups.plan.as_mut().unwrap();
    let [group] = &plan.groups[..] else {
        panic!("one group")
    };
    let groups = (0..number).map(|index| v1::Group {
        name: format!("sensors-{index}"),
        clients: 3,
        ..group.clone()
    });
    plan.groups = groups.collect();
    let mut snapshot = snapshot(3);
    snapshot.groups = (0..number)
        .map(|index| v1::GroupSnapshot {
            name: format!("sensors-{index}"),
            received_millihertz: (index > 0).then_some(29_900_000),
            ..v1::GroupSnapshot::default()
        })
        .collect();
    let clients = (3..3 * number).map(|client| (client, i64::from(client) * 10_000));
    let times = v1::ClientTimes::empty(Metric::Latency, 3 * number).with(clients);
    snapshot.latest_point.as_mut().unwrap().clients = Some(times);
    let mut view = View::new(&of_groups, HINT);
    view.take(&snapshot);
    view
}

#[test]
fn a_run_of_groups_has_a_line_of_each_with_the_slowest_client_first() {
    let lines = |columns, rows, number: u32| -> Vec<String> {
        let shown = screen(&of_groups(number), columns, rows);
        let lines = shown.lines().map(str::to_owned);
        let behind = lines.skip_while(|line| !line.starts_with("groups"));
        let groups = behind.take_while(|line| !line.starts_with("agents"));
        groups.collect()
    };
    assert_eq!(
        lines(80, 24, 3),
        [
            "groups    sensors-2  29,900/s of 30,000/s  worst client 8, p99 80.0 µs",
            "          sensors-1  29,900/s of 30,000/s  worst client 5, p99 50.0 µs",
            "          sensors-0       –/s of 30,000/s  –",
        ]
    );
    assert_eq!(
        lines(40, 24, 3),
        [
            "groups   sensors…  p99 80.0 µs",
            "         sensors…  p99 50.0 µs",
            "         sensors…  p99 –",
        ]
    );
    let many = lines(80, 16, 16);
    assert_eq!(many.len(), 5, "{many:#?}");
    assert!(many[0].contains("sensors-15"), "{many:#?}");
    assert_eq!(many[4], "          12 more groups");
    let narrow = screen(&of_groups(4), 40, 20);
    assert_eq!(narrow.lines().count(), 19, "{narrow}");
    assert!(narrow.contains("\n         3 more groups\n"), "{narrow}");
    assert_eq!(lines(80, 11, 3), [""; 0], "there is no room");
    assert_eq!(lines(80, 24, 1), [""; 0], "one group is the run");
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
