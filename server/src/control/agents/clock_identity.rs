//! This process's clocks: the identity of its CLOCK_MONOTONIC, and the wall clock for labels.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::model::ClockIdentity;

/// The CLOCK_MONOTONIC that this process reads.
pub(crate) fn of_this_process() -> ClockIdentity {
    let namespace = fs::read_link("/proc/self/ns/time");
    ClockIdentity {
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .into(),
        time_namespace: namespace
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// Milliseconds since 1970, for labels only.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
