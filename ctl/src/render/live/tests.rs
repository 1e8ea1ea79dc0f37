//! Frames as they stand on terminals of several sizes.

use metronome_proto::{
    client_times, histogram,
    profile::Profile,
    v1::{self, EnvironmentRole, HostPoint, HostSeries, Metric, RunState, ThreadPoint},
};
use proptest::prelude::*;
use ratatui_core::{backend::TestBackend, terminal::Terminal};

use super::{
    frame::{BYTES_MAX, CLEAR, Frame},
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
    let size = Size {
        columns: columns.into(),
        rows: rows.into(),
    };
    let frame = Frame::of(view, size);
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal
        .draw(|on| {
            let cells = frame.cells();
            assert!(cells.area.width < columns && cells.area.height < rows);
            on.buffer_mut().merge(cells);
        })
        .unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(columns.into()).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    let lines: Vec<_> = lines.collect();
    lines.join("\n").trim_end().to_owned()
}

#[test]
fn on_80_columns_the_run_is_ten_rows() {
    println!("{}", screen(&running(), 80, 24));
    println!("-----");
    println!("{}", screen(&running(), 40, 20));
    println!("-----");
    println!("{}", screen(&running(), 20, 5));
    println!(
        "{:?}",
        Frame::text(
            &running(),
            Size {
                columns: 80,
                rows: 24
            },
            Colour::Ansi
        )
    );
    let _ = (BYTES_MAX, CLEAR, client_times::ROWS_MAX);
}
