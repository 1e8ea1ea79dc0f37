//! What it costs a client to stamp its packets and to write them to a peer on loopback that reads
//! all it gets: 1, 50 and 1,024 packets of 32 bytes per write, and one of 256 and 1,472 bytes with
//! a pattern behind the header.
//!
//! `cargo bench -p metronome-agent --features testing --bench send`; with `-- --test` each runs
//! once. The work of the kernel is in it, the wait for the instant is not.

use criterion::{BenchmarkId, Criterion, Throughput};
use metronome_agent::testing::Sender;
use metronome_proto::{packet_size::PacketSize, schedule::Schedule};

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    for batch in [1, 50, 1_024] {
        let mut sender = Sender::new(schedule(batch), PacketSize::MIN);
        group.throughput(Throughput::Elements(batch.into()));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            bencher.iter(|| sender.send_batch());
        });
    }
    group.finish();
}

fn sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    for bytes in [32, 256, 1_472] {
        let size = PacketSize::new(bytes).expect("a size of packets");
        let mut sender = Sender::new(schedule(1), size);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("bytes", bytes), |bencher| {
            bencher.iter(|| sender.send_batch());
        });
    }
    group.finish();
}

fn schedule(batch: u32) -> Schedule {
    Schedule::constant(1_000, 10_000_000, batch, u64::MAX)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    batches(&mut criterion);
    sizes(&mut criterion);
    criterion.final_summary();
}
