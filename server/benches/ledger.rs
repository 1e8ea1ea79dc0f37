//! What a worker does with packets once they are received: framing, checking, counting, commit.
//!
//! `cargo bench -p metronome-server --features testing --bench ledger`; with `-- --test` each runs
//! once. The ledger is shared memory as in production; only the socket is absent.

use std::{hint::black_box, io};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use metronome_proto::{
    histogram::bucket,
    packet::{Frame, Packet},
    profile::Profile,
};
use metronome_server::testing::{Batch, CLIENT, PACKETS_MAX};

/// When the first packet is due, ns.
const DUE_NS: u64 = 1_000_000_000;

/// Between two packets of the client, ns.
const PERIOD_NS: u64 = 100_000;

/// Six latenesses, 0 to 15 µs, so that times fall into buckets as they do on a quiet machine.
fn frame(sequence: u64) -> Frame {
    let lateness_ns = (sequence % 6 * 3_000) as u32;
    let due_ns = DUE_NS + sequence * PERIOD_NS;
    Packet {
        flags: 0,
        client: u32::from(CLIENT),
        sequence,
        due_ns,
        lateness_ns,
    }
    .encode()
}

/// Counters that are copied at once outside of what is measured: they stay in the nearest cache.
const BEFORE_AT_ONCE: BatchSize = BatchSize::NumIterations(16);

/// The profile of the packets of [`frame`].
const STEADY: Profile = Profile::Constant {
    rate_millihertz: 1_000_000_000_000 / PERIOD_NS,
};

fn batch(profile: Profile, packets: usize) -> io::Result<Batch> {
    let frames: Vec<Frame> = (1..=packets as u64).map(frame).collect();
    Batch::received(profile, &frame(0), DUE_NS + PERIOD_NS, &frames)
}

/// Each begins behind the first packet of a connection, whose due time is the anchor of the rest.
/// In a flood no due time is checked, and no lateness and no spread is recorded.
fn batches(criterion: &mut Criterion) -> io::Result<()> {
    batches_of(criterion, "framing, checking, counting, commit", STEADY)?;
    batches_of(criterion, "the same in a flood", Profile::Flood)
}

fn batches_of(criterion: &mut Criterion, name: &str, profile: Profile) -> io::Result<()> {
    let mut group = criterion.benchmark_group(name);
    for packets in [1, 64, PACKETS_MAX] {
        let batch = batch(profile, packets)?;
        let read_ns = DUE_NS + (packets as u64 + 1) * PERIOD_NS;
        assert_eq!(
            batch.process(&mut batch.before(), read_ns),
            1 + packets as u64,
            "every packet is good"
        );
        group.throughput(Throughput::Elements(packets as u64));
        group.bench_with_input(
            BenchmarkId::new("packets", packets),
            &batch,
            |bencher, batch| {
                bencher.iter_batched_ref(
                    || batch.before(),
                    |before| black_box(batch).process(before, black_box(read_ns)),
                    BEFORE_AT_ONCE,
                );
            },
        );
    }
    group.finish();
    Ok(())
}

fn parts(criterion: &mut Criterion) -> io::Result<()> {
    let mut group = criterion.benchmark_group("ledger");
    let batch = batch(STEADY, 1)?;
    group.bench_function("commit", |bencher| {
        bencher.iter(|| black_box(&batch).commit());
    });
    let mut time_ns = 0;
    group.bench_function("record a time", |bencher| {
        bencher.iter(|| {
            time_ns = (time_ns + 7_919) % 20_000;
            black_box(&batch).record(bucket(black_box(time_ns)));
        });
    });
    group.finish();
    Ok(())
}

fn main() -> io::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    batches(&mut criterion)?;
    parts(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
