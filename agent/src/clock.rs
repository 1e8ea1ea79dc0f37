//! The clocks of an agent, in nanoseconds, and what a thread needs to wake up on time.
//!
//! Absent on purpose: the wall clock. Everything here is an interval or a deadline.

use std::num::NonZeroU64;

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

/// One second, ns.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Now on CLOCK_MONOTONIC, ns.
#[inline]
pub(crate) fn now_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// CPU that the calling thread has used so far, ns.
pub(crate) fn thread_cpu_ns() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `wake_ns` on CLOCK_MONOTONIC. A signal may end the sleep early.
#[inline]
pub(crate) fn sleep_until(wake_ns: u64) {
    let seconds = i64::try_from(wake_ns / SECOND_NS).unwrap_or(i64::MAX);
    let wake = Timespec {
        tv_sec: seconds,
        tv_nsec: (wake_ns % SECOND_NS) as i64,
    };
    // Callers read the clock afterwards anyway, so an interruption needs no answer.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &wake);
}

/// Makes the calling thread's sleeps end on time: by default the kernel may add 50 µs to each.
pub(crate) fn wake_precisely() {
    // Without it the load is later, which lateness shows; no reason to give up the run.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

#[inline]
fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}
