//! The load that this host can hold, from the costs measured. Pure.

use metronome_proto::limits::CLIENTS_MAX;

use super::{host::Host, timing::Timing};

/// Share of a period that a pacing thread may be busy: beyond it the thread is late at the first
/// hiccup.
const THREAD_LOAD_MAX: f64 = 0.7;
/// Share of the cores that may be busy: the rest is for the kernel and other processes.
pub(super) const HOST_LOAD_MAX: f64 = 0.8;

/// The load to judge for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    /// Packets per second of each client.
    pub(crate) rate_hz: f64,
}

/// What this host can hold, from the costs measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Promise {
    /// 99 of 100 packets leave at most this late.
    pub(crate) lateness_p99_us: f64,
    /// Clients at the load's rate that one pacing thread holds, when the server is on another host.
    pub(crate) clients_per_thread: u32,
    /// Clients at the load's rate when the server is on this host too.
    pub(crate) clients_with_server: u32,
}

/// What this host can hold at the load's rate.
pub(crate) fn promise(host: &Host, timing: &Timing, load: Load) -> Promise {
    let period_ns = 1e9 / load.rate_hz;
    // Staggered clients of a thread are served by one wake-up.
    let wake_ns = (timing.wake_and_write_ns - timing.write_ns).max(0.0);
    let clients_per_thread = clients((THREAD_LOAD_MAX * period_ns - wake_ns) / timing.write_ns);
    let cores = host
        .quota_cores
        .unwrap_or(f64::INFINITY)
        .min(host.cores_allowed.map_or(1.0, f64::from));
    let both_ends =
        (HOST_LOAD_MAX * cores * period_ns - wake_ns) / (timing.write_ns + timing.read_ns);
    Promise {
        lateness_p99_us: micros(timing.oversleep.quantile_ns(0.99)),
        clients_per_thread,
        clients_with_server: clients(both_ends),
    }
}

fn clients(number: f64) -> u32 {
    // The cast of a float saturates; NaN becomes 0.
    (number.max(0.0) as u32).min(CLIENTS_MAX)
}

pub(super) fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    const SEED: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn eight_cores() -> Host {
        Host {
            cores_allowed: Some(8),
            ..Host::default()
        }
    }

    fn timing() -> Timing {
        let mut oversleep = Histogram::default();
        (0..1_000).for_each(|_| oversleep.record(5_000));
        Timing {
            oversleep,
            clock_read_ns: 25.0,
            wake_and_write_ns: 3_000.0,
            write_ns: 1_000.0,
            read_ns: 3_000.0,
            shares: None,
        }
    }

    #[test]
    fn the_promise_follows_from_the_costs() {
        let promise = promise(&eight_cores(), &timing(), SEED);
        // (0.7 × 100 µs − 2 µs) / 1 µs; (0.8 × 8 × 100 µs − 2 µs) / (1 µs + 3 µs).
        assert_eq!(
            (promise.clients_per_thread, promise.clients_with_server),
            (68, 159)
        );
        assert!((promise.lateness_p99_us - 5.0).abs() < 0.05, "{promise:?}");
    }

    proptest! {
        #[test]
        fn any_costs_make_a_promise(
            wake_and_write_ns in 0.0..1e12_f64,
            write_ns in 0.0..1e12_f64,
            read_ns in 0.0..1e12_f64,
            rate_hz in 0.001..1e6_f64,
        ) {
            let timing = Timing { wake_and_write_ns, write_ns, read_ns, ..timing() };
            let promise = promise(&eight_cores(), &timing, Load { rate_hz, ..SEED });
            prop_assert!(promise.clients_per_thread <= CLIENTS_MAX);
            prop_assert!(promise.clients_with_server <= CLIENTS_MAX);
        }
    }
}
