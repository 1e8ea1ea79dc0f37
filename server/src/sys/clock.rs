//! CLOCK_MONOTONIC in nanoseconds: the only clock that intervals and deadlines use. And the CPU
//! that a thread has used, and sleeps that end on time.

use std::num::NonZeroU64;

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

const SECOND_NS: u64 = 1_000_000_000;

/// Now, ns.
#[inline]
pub(crate) fn now_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// CPU that the calling thread has used so far, ns.
pub(crate) fn thread_cpu_ns() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `wake_ns`. A signal may end the sleep early.
pub(crate) fn sleep_until(wake_ns: u64) {
    let wake = Timespec {
        tv_sec: (wake_ns / SECOND_NS) as i64,
        tv_nsec: (wake_ns % SECOND_NS) as i64,
    };
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &wake);
}

/// Makes the calling thread's sleeps end on time: by default the kernel may add 50 µs to each.
pub(crate) fn wake_precisely() {
    // Where it is not granted the sleeps are longer, which the report shows.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

#[inline]
fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}
