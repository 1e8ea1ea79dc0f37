//! CLOCK_MONOTONIC in nanoseconds: the only clock that intervals and deadlines use. And the CPU
//! that a thread has used, and sleeps that end on time.

use std::num::NonZeroU64;

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

/// One second, ns.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Now on CLOCK_MONOTONIC, ns.
#[inline]
pub fn now_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic))
}

/// CPU that the calling thread has used so far, ns.
pub fn thread_cpu_ns() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

/// Sleeps until `wake_ns`. A signal may end the sleep early.
#[inline]
pub fn sleep_until(wake_ns: u64) {
    // Callers read the clock afterwards anyway, so an interruption needs no answer.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &timespec(wake_ns));
}

/// Makes the calling thread's sleeps end on time: by default the kernel may add 50 µs to each.
pub fn wake_precisely() {
    // Where it is not granted the sleeps are longer, which the report shows.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// A time, or a span of time, as system calls take it.
#[inline]
pub fn timespec(ns: u64) -> Timespec {
    // The seconds of a u64 of nanoseconds always fit.
    Timespec {
        tv_sec: (ns / SECOND_NS) as _,
        tv_nsec: (ns % SECOND_NS) as _,
    }
}

#[inline]
fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}
