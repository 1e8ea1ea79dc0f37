//! CLOCK_MONOTONIC in nanoseconds: the only clock that intervals and deadlines use. And the CPU
//! that a thread has used, sleeps that end on time, and how far the wall clock is ahead.
#![allow(unsafe_code)]

use std::{mem::MaybeUninit, num::NonZeroU64};

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

/// By how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, ns: for how long this host was
/// suspended, with a constant of the time namespace.
pub fn suspended_ns() -> u64 {
    // What passes between the two readings makes it less, so the largest of several is the closest.
    let readings = (0..WALL_READINGS).map(|_| {
        let boottime_ns = nanos(clock_gettime(ClockId::Boottime));
        boottime_ns.saturating_sub(now_ns())
    });
    readings.max().unwrap_or(0)
}

/// How the wall clock of this host stands to CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WallClock {
    /// CLOCK_REALTIME less CLOCK_MONOTONIC, ns.
    pub ahead_of_monotonic_ns: i64,
    /// The greatest error of the wall clock that the kernel claims (adjtimex) and of this reading
    /// together, ns. `None` where the kernel does not call the clock synchronised.
    pub error_max_ns: Option<u64>,
}

/// Reads the wall clock between two readings of CLOCK_MONOTONIC, several times, and takes the
/// reading with the two closest together. Microseconds.
pub fn wall() -> WallClock {
    let mut closest = AheadOfMonotonic::read();
    for _ in 1..WALL_READINGS {
        let reading = AheadOfMonotonic::read();
        if reading.error_ns < closest.error_ns {
            closest = reading;
        }
    }
    let AheadOfMonotonic { ahead_ns, error_ns } = closest;
    WallClock {
        ahead_of_monotonic_ns: ahead_ns,
        error_max_ns: kernel_error_max_ns().map(|claimed| claimed.saturating_add(error_ns)),
    }
}

const WALL_READINGS: usize = 5;

/// One reading, and how wrong it can be since the two clocks are not read at once.
struct AheadOfMonotonic {
    ahead_ns: i64,
    error_ns: u64,
}

impl AheadOfMonotonic {
    fn read() -> Self {
        let before_ns = now_ns();
        let wall = clock_gettime(ClockId::Realtime);
        Self::between(before_ns, signed_nanos(wall), now_ns())
    }

    fn between(before_ns: u64, wall_ns: i64, after_ns: u64) -> Self {
        let width_ns = after_ns.saturating_sub(before_ns);
        let middle_ns = before_ns.saturating_add(width_ns / 2);
        Self {
            ahead_ns: wall_ns.saturating_sub_unsigned(middle_ns),
            error_ns: width_ns.div_ceil(2),
        }
    }
}

/// `None` where the clock is not synchronised, or the call is refused.
fn kernel_error_max_ns() -> Option<u64> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `state` is valid for reads and writes of its type; modes of 0 only asks.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    if result < 0 || result == libc::TIME_ERROR {
        return None;
    }
    // SAFETY: a timex of zeros is valid (it is integers only), and so is what the kernel wrote.
    let state = unsafe { state.assume_init() };
    if state.status & libc::STA_UNSYNC != 0 {
        return None;
    }
    u64::try_from(state.maxerror).ok()?.checked_mul(NS_PER_US)
}

const NS_PER_US: u64 = 1_000;

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

#[inline]
pub(crate) fn signed_nanos(time: Timespec) -> i64 {
    // The kernel keeps its wall clock within an i64 of nanoseconds.
    let seconds_ns = time.tv_sec.saturating_mul(SECOND_NS as i64);
    seconds_ns.saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wall_clock_is_monotonic_time_and_how_far_it_is_ahead() {
        let of_std = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let before_ns = of_std().as_nanos();
        let monotonic_ns = now_ns();
        let wall_ns = i128::from(wall().ahead_of_monotonic_ns) + i128::from(monotonic_ns);
        // A clock that is being slewed differs by what it is slewed in between.
        let slack_ns = 1_000_000;
        let later_ns = of_std().as_nanos();
        assert!(
            before_ns as i128 - slack_ns <= wall_ns,
            "{before_ns} {wall_ns}"
        );
        assert!(
            wall_ns <= later_ns as i128 + slack_ns,
            "{wall_ns} {later_ns}"
        );
    }

    proptest! {
        #[test]
        fn wherever_between_the_two_the_wall_clock_was_read_the_truth_is_within_the_error(
            before_ns in 0..1_u64 << 61,
            width_ns in 0..10_000_000_000_u64,
            share in 0.0..=1.0_f64,
            truth_ns in -(1_i64 << 61)..1 << 61,
        ) {
            let read_ns = before_ns + (width_ns as f64 * share) as u64;
            let wall_ns = truth_ns + read_ns as i64;
            let read = AheadOfMonotonic::between(before_ns, wall_ns, before_ns + width_ns);
            prop_assert!(read.ahead_ns.abs_diff(truth_ns) <= read.error_ns);
        }

        #[test]
        fn no_reading_of_the_clocks_is_a_panic(
            before_ns: u64, wall_ns: i64, after_ns: u64,
        ) {
            AheadOfMonotonic::between(before_ns, wall_ns, after_ns);
        }
    }
}
