//! Which CLOCK_MONOTONIC this process reads, asked of the operating system.

use metronome_os::host;

use crate::model::ClockIdentity;

/// The CLOCK_MONOTONIC that this process reads.
pub(super) fn of_this_process() -> ClockIdentity {
    ClockIdentity {
        boot_id: host::boot_id(),
        time_namespace: host::time_namespace(),
    }
}
