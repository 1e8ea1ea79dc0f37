//! What it costs a client to stamp its packets and to write them to a peer on loopback that reads
//! all it gets: 1, 50 and 1,024 packets per write.
//!
//! `cargo bench -p metronome-agent --features testing --bench send`; with `-- --test` each runs
//! once. The work of the kernel is in it, the wait for the instant is not.

use criterion::{BenchmarkId, Criterion, Throughput};
use metronome_agent::testing::Sender;
use metronome_proto::schedule::Schedule;

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    for batch in [1, 50, 1_024] {
        let mut sender = Sender::new(Schedule::constant(1_000, 10_000_000, batch, u64::MAX));
        group.throughput(Throughput::Elements(batch.into()));
        group.bench_function(BenchmarkId::new("batch", batch), |bencher| {
            bencher.iter(|| sender.send_batch());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    batches(&mut criterion);
    criterion.final_summary();
}
