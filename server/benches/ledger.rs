//! What a worker does with packets once they are received: framing, checking, counting, commit.
//!
//! `cargo bench -p metronome-server --features testing --bench ledger`; with `-- --test` each runs
//! once. The ledger is shared memory as in production; only the socket is absent.

use std::{hint::black_box, io};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use metronome_proto::{
    histogram::bucket,
    packet::{FLAG_ECHO, Packet},
    packet_size::PacketSize,
    profile::{Profile, Step, Steps},
    schedule::Cursor,
};
use metronome_server::testing::{Batch, CLIENT, PACKETS_MAX, load_of};

/// When the first packet is due, ns.
const DUE_NS: u64 = 1_000_000_000;

/// Between two packets of the client, ns.
const PERIOD_NS: u64 = 100_000;

/// What a client sends.
#[derive(Clone, Copy)]
struct Sent {
    profile: Profile,
    packet_bytes: u32,
    /// [`FLAG_ECHO`] or 0, of each packet.
    flags: u8,
}

impl Sent {
    const fn of(profile: Profile) -> Self {
        Self {
            profile,
            packet_bytes: 32,
            flags: 0,
        }
    }

    /// Six latenesses, 0 to 15 µs, so that times fall into buckets as they do on a quiet machine.
    fn packet(self, size: PacketSize, sequence: u64, due_ns: u64) -> Vec<u8> {
        let packet = Packet {
            flags: self.flags,
            client: u32::from(CLIENT),
            sequence,
            due_ns,
            lateness_ns: (sequence % 6 * 3_000) as u32,
        };
        [&packet.encode(size.zeros())[..], size.zeros()].concat()
    }
}

/// Counters that are copied at once outside of what is measured: they stay in the nearest cache.
const BEFORE_AT_ONCE: BatchSize = BatchSize::NumIterations(16);

const STEADY: Profile = Profile::Constant {
    rate_millihertz: 1_000_000_000_000 / PERIOD_NS,
};

/// A batch of so many packets behind the first one, and when it is read. A flood is due as a steady
/// load is.
fn batch(sent: Sent, packets: usize) -> io::Result<(Batch, u64)> {
    let load = load_of(sent.profile);
    let size = PacketSize::new(sent.packet_bytes).ok_or(io::ErrorKind::InvalidInput)?;
    let schedule = load
        .schedule(DUE_NS, CLIENT.into())
        .or(load_of(STEADY).schedule(DUE_NS, CLIENT.into()));
    let schedule = schedule.ok_or_else(|| io::Error::other("no schedule"))?;
    let mut cursor: Cursor = schedule.first();
    let mut bytes = Vec::with_capacity((packets + 1) * size.bytes());
    for sequence in 0..=packets as u64 {
        bytes.extend(sent.packet(size, sequence, cursor.due_ns()));
        cursor.advance(&schedule);
    }
    let read_ns = cursor.due_ns();
    let (first, behind) = bytes.split_at(size.bytes());
    let batch = Batch::received((sent.profile, size), DUE_NS, (first, read_ns), behind)?;
    Ok((batch, read_ns))
}

/// Each begins behind the first packet of a connection. In a flood no due time is checked, and no
/// lateness and no spread is recorded.
fn batches(criterion: &mut Criterion) -> io::Result<()> {
    let sizes = [1, 64, PACKETS_MAX];
    let steady = Sent::of(STEADY);
    batches_of(
        criterion,
        "framing, checking, counting, commit",
        steady,
        &sizes,
    )?;
    let flood = Sent::of(Profile::Flood);
    batches_of(criterion, "the same in a flood", flood, &sizes)?;
    for (name, profile) in shapes() {
        let sent = Sent::of(profile);
        batches_of(criterion, &format!("the same in {name}"), sent, &[64])?;
    }
    // At most a buffer of them.
    for (packet_bytes, sizes) in [(64, [1, 64]), (1472, [1, 44])] {
        let name = format!("the same with packets of {packet_bytes} bytes");
        let sent = Sent {
            packet_bytes,
            ..steady
        };
        batches_of(criterion, &name, sent, &sizes)?;
    }
    let with_replies = Sent {
        flags: FLAG_ECHO,
        ..steady
    };
    batches_of(criterion, "the same with replies", with_replies, &[1, 64])?;
    Ok(())
}

/// Loads in which a batch of 64 packets is mostly on one stretch, as packets are.
fn shapes() -> Vec<(&'static str, Profile)> {
    let step = |rate_millihertz| Step {
        rate_millihertz,
        lasts_ns: 50_000_000,
    };
    let steps = Steps::new(&[step(10_000_000), step(5_000_000), step(20_000_000)]);
    let mut shapes = vec![
        (
            "bursts of 16",
            Profile::Burst {
                packets: 16,
                every_ns: 16 * PERIOD_NS,
            },
        ),
        (
            "a ramp",
            Profile::Ramp {
                from_millihertz: 10_000_000,
                to_millihertz: 20_000_000,
            },
        ),
        (
            "a load that is on and off",
            Profile::OnOff {
                rate_millihertz: 10_000_000,
                on_ns: 5_000_000,
                off_ns: 5_000_000,
            },
        ),
        (
            "random arrivals",
            Profile::Poisson {
                rate_millihertz: 10_000_000,
            },
        ),
    ];
    shapes.extend(steps.map(|steps| ("steps", Profile::Steps(steps))));
    shapes
}

fn batches_of(
    criterion: &mut Criterion,
    name: &str,
    sent: Sent,
    sizes: &[usize],
) -> io::Result<()> {
    let mut group = criterion.benchmark_group(name);
    for packets in sizes.iter().copied() {
        let (batch, read_ns) = batch(sent, packets)?;
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
    let (batch, _) = batch(Sent::of(STEADY), 1)?;
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
