//! The wall clock, for labels only: when a run was made, when a report was read. No interval is
//! ever measured with it; those are CLOCK_MONOTONIC's.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    unix_ns_of(SystemTime::now())
}

/// Nanoseconds from 1970 to `time`.
pub(crate) fn unix_ns_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    unix_ns() / 1_000_000
}

/// A label in milliseconds since 1970 in the API's form.
pub(crate) fn timestamp(unix_ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: (unix_ms / 1000) as i64,
        nanos: (unix_ms % 1000) as i32 * 1_000_000,
    }
}

/// The label of an API message in milliseconds since 1970.
pub(crate) fn timestamp_ms(at: &prost_types::Timestamp) -> i64 {
    at.seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(at.nanos / 1_000_000))
}
