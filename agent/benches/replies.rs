//! What it costs the reader of replies to take those of one receive: 1, 64 and 2,048 of them, each
//! checked and measured in the distributions of its group and of its client.
//!
//! `cargo bench -p metronome-agent --features testing --bench replies`; with `-- --test` each runs
//! once. The receive itself and the wait for it are not in it.

use criterion::{BenchmarkId, Criterion, Throughput};
use metronome_agent::testing::Replies;

fn receives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replies");
    for count in [1, 64, 2_048] {
        let mut replies = Replies::new(count);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("receive", count), |bencher| {
            bencher.iter(|| replies.take());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    receives(&mut criterion);
    criterion.final_summary();
}
