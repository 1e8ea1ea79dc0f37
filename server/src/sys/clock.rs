//! CLOCK_MONOTONIC in nanoseconds: the only clock that intervals and deadlines use.

use rustix::time::{ClockId, clock_gettime};

/// Now, ns.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
