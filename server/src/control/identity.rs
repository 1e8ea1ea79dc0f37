//! Whose CLOCK_MONOTONIC this host reads, and the wall clock for labels.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use metronome_proto::v1;

/// Two processes with equal identities read the same CLOCK_MONOTONIC.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ClockIdentity {
    boot_id: String,
    /// A time namespace shifts CLOCK_MONOTONIC. Empty on a kernel without them.
    time_namespace: String,
}

impl ClockIdentity {
    pub(super) fn of_this_process() -> Self {
        let namespace = fs::read_link("/proc/self/ns/time");
        Self {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .into(),
            time_namespace: namespace
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    /// Whether the agent's clock is ours. A missing boot id proves nothing.
    pub(super) fn is_shared_by(&self, agent: &v1::Register) -> bool {
        !self.boot_id.is_empty()
            && self.boot_id == agent.boot_id.trim()
            && self.time_namespace == agent.time_namespace
    }
}

/// Milliseconds since 1970, for labels only.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_shared_on_one_boot_in_one_time_namespace() {
        let ours = ClockIdentity::of_this_process();
        let agent = |boot_id: &str, time_namespace: &str| v1::Register {
            boot_id: boot_id.into(),
            time_namespace: time_namespace.into(),
            ..v1::Register::default()
        };
        assert!(ours.is_shared_by(&agent(&ours.boot_id, &ours.time_namespace)));
        assert!(!ours.is_shared_by(&agent("another boot", &ours.time_namespace)));
        assert!(!ours.is_shared_by(&agent(&ours.boot_id, "time:[1]")));
        assert!(!ClockIdentity::default().is_shared_by(&agent("", "")));
    }
}
