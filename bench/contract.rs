//! What the contract's code costs per packet: encoding, decoding, counting a time, finding the next
//! due time of each shape.
//!
//! `cargo bench -p metronome-proto --bench contract`; with `-- --test` each runs once. Inputs
//! change from one iteration to the next, so that neither the branch predictor nor the compiler
//! can predict them.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use metronome_proto::{
    histogram::Histogram,
    load::Load,
    packet::{FRAME_BYTES, Frame, Packet},
    profile::Profile,
};

/// Packets per iteration: the most that one write may have.
const PACKETS: u64 = 1_024;

fn packet(sequence: u64) -> Packet {
    // Latenesses as a quiet machine has them: 0 to 20 µs.
    let lateness_ns = (sequence.wrapping_mul(7_919) % 20_000) as u32;
    Packet {
        flags: 0,
        client: 7,
        sequence,
        due_ns: 1_000_000_000 + sequence * 100_000,
        lateness_ns,
    }
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let packets: Vec<Packet> = (0..PACKETS).map(packet).collect();
    let mut frames: Vec<Frame> = vec![[0; FRAME_BYTES]; packets.len()];
    group.throughput(Throughput::Elements(PACKETS));
    group.bench_function("encode 1024 packets", |bencher| {
        bencher.iter(|| {
            for (frame, packet) in frames.iter_mut().zip(black_box(&packets)) {
                *frame = packet.encode(&[]);
            }
            black_box(&mut frames);
        });
    });
    group.bench_function("decode and check 1024 packets", |bencher| {
        bencher.iter(|| {
            black_box(&frames)
                .iter()
                .filter_map(|frame| Packet::decode(frame, &[]).ok())
                .map(sum)
                .sum::<u64>()
        });
    });
    group.finish();
}

/// Every field is wanted.
fn sum(packet: Packet) -> u64 {
    packet.sequence ^ packet.due_ns ^ u64::from(packet.lateness_ns) ^ u64::from(packet.client)
}

fn histogram(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("histogram");
    let times_ns: Vec<u64> = (0..PACKETS)
        .map(|n| u64::from(packet(n).lateness_ns))
        .collect();
    let mut histogram = Histogram::default();
    group.throughput(Throughput::Elements(PACKETS));
    group.bench_function("record 1024 times", |bencher| {
        bencher.iter(|| {
            black_box(&times_ns)
                .iter()
                .for_each(|time_ns| histogram.record(*time_ns));
        });
    });
    group.finish();
}

/// Every shape at a mean of 10 kHz, and bursts of 50 packets.
fn shapes() -> [(&'static str, Profile); 6] {
    let parsed = |text: &str| text.parse::<Profile>().expect("a rate");
    [
        ("constant", parsed("10k")),
        (
            "poisson",
            Profile::Poisson {
                rate_millihertz: 10_000_000,
            },
        ),
        (
            "burst",
            Profile::Burst {
                packets: 50,
                every_ns: 5_000_000,
            },
        ),
        ("ramp", parsed("0..20k")),
        ("steps", parsed("5k:12h,15k")),
        (
            "on_off",
            Profile::OnOff {
                rate_millihertz: 20_000_000,
                on_ns: 100_000_000,
                off_ns: 100_000_000,
            },
        ),
    ]
}

fn cursors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cursor");
    group.throughput(Throughput::Elements(PACKETS));
    for (name, profile) in shapes() {
        let load = Load {
            profile,
            duration: Duration::from_secs(24 * 60 * 60),
            batch: 1,
            seed: 42,
        };
        let schedule = load.schedule(1_000_000_000, 7).expect("no flood");
        let mut cursor = schedule.first();
        group.bench_function(format!("advance 1024 times: {name}"), |bencher| {
            bencher.iter(|| {
                if cursor.is_over(&schedule) {
                    cursor = schedule.first();
                }
                (0..PACKETS).fold(0, |sum: u64, _| {
                    cursor.advance(black_box(&schedule));
                    sum ^ cursor.due_ns()
                })
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    histogram(&mut criterion);
    cursors(&mut criterion);
    criterion.final_summary();
}
