//! What it costs a pacing thread to find the next client that is due: 1, 10 and 1,000 clients of
//! one thread.
//!
//! `cargo bench -p metronome-agent --features testing --bench schedule`; with `-- --test` each
//! runs once. Absent are the clock, the sleep and the write: bench/compare has those in its
//! figures.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use metronome_agent::testing::PacingThread;
use metronome_proto::schedule::Schedule;

fn ticks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next due");
    // As bench/compare has them: 100,000 packets a second, or as many as 1 client may have.
    for (clients, rate_millihertz) in [(1, 10_000_000), (10, 10_000_000), (1_000, 100_000)] {
        let schedule = Schedule {
            start_ns: 1_000,
            rate_millihertz,
            batch: 1,
            packets: u64::MAX,
        };
        let mut thread = PacingThread::new(clients, schedule);
        assert_eq!(
            thread.tick(),
            Some(u64::from(clients)),
            "each client is due once"
        );
        group.throughput(Throughput::Elements(u64::from(clients)));
        group.bench_function(BenchmarkId::new("clients", clients), |bencher| {
            bencher.iter(|| black_box(&mut thread).tick());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    ticks(&mut criterion);
    criterion.final_summary();
}
