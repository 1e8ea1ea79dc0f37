//! What the contract's code costs per packet: encoding, decoding, counting a time.
//!
//! `cargo bench -p metronome-proto --bench contract`; with `-- --test` each runs once. Inputs
//! change from one iteration to the next, so that neither the branch predictor nor the compiler
//! can predict them.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use metronome_proto::{
    histogram::Histogram,
    packet::{FRAME_BYTES, Frame, Packet},
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
                *frame = packet.encode();
            }
            black_box(&mut frames);
        });
    });
    group.bench_function("decode and check 1024 packets", |bencher| {
        bencher.iter(|| {
            black_box(&frames)
                .iter()
                .filter_map(|frame| Packet::decode(frame).ok())
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

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion);
    histogram(&mut criterion);
    criterion.final_summary();
}
