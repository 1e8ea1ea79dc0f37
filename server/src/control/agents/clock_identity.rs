//! Which CLOCK_MONOTONIC this process reads, asked of the operating system.

use std::fs;

use crate::model::ClockIdentity;

/// The CLOCK_MONOTONIC that this process reads.
pub(super) fn of_this_process() -> ClockIdentity {
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
