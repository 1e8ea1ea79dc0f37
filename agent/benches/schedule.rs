//! What it costs a pacing thread to find the next client that is due: 1, 10 and 1,000 clients of
//! one thread at a constant rate, which are one stream, and 10 clients of other shapes.
//!
//! `cargo bench -p metronome-agent --features testing --bench schedule`; with `-- --test` each
//! runs once. Absent are the clock, the sleep and the write: bench/compare has those in its
//! figures.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use metronome_agent::testing::PacingThread;
use metronome_proto::{load::Load, profile::Profile};

/// So long that no measurement comes to the end.
const DURATION: Duration = Duration::from_secs(24 * 60 * 60);

fn thread(clients: u32, profile: Profile) -> PacingThread {
    let load = Load {
        profile,
        duration: DURATION,
        batch: 1,
        seed: 1,
    };
    PacingThread::new(clients, &load, 1_000)
}

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next due");
    group.throughput(Throughput::Elements(1));
    // As bench/compare has them: 100,000 packets a second, or as many as 1 client may have.
    for (clients, rate_millihertz) in [(1, 10_000_000), (10, 10_000_000), (1_000, 100_000)] {
        let profile = Profile::constant(rate_millihertz);
        let mut thread = self::thread(clients, profile);
        assert_eq!(thread.turn(), Some(1), "a client is due once");
        group.bench_function(BenchmarkId::new("clients", clients), |bencher| {
            bencher.iter(|| black_box(&mut thread).turn());
        });
    }
    let rate_millihertz = 10_000_000;
    let s = 1_000_000_000;
    for (shape, profile) in [
        ("poisson", Profile::Poisson { rate_millihertz }),
        (
            "burst",
            Profile::Burst {
                packets: 50,
                every_ns: 5_000_000,
            },
        ),
        (
            "ramp",
            Profile::Ramp {
                from_millihertz: rate_millihertz,
                to_millihertz: 2 * rate_millihertz,
            },
        ),
        (
            "on and off",
            Profile::OnOff {
                rate_millihertz,
                on_ns: s,
                off_ns: s,
            },
        ),
    ] {
        let mut thread = self::thread(10, profile);
        group.bench_function(BenchmarkId::new("shape", shape), |bencher| {
            bencher.iter(|| black_box(&mut thread).turn());
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    turns(&mut criterion);
    criterion.final_summary();
}
