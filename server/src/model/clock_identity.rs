//! Which CLOCK_MONOTONIC a process reads.

use metronome_proto::v1;

/// Identifies a CLOCK_MONOTONIC: two processes with equal identities read the same one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClockIdentity {
    pub(crate) boot_id: String,
    /// A time namespace shifts CLOCK_MONOTONIC. Empty on a kernel without them.
    pub(crate) time_namespace: String,
}

impl ClockIdentity {
    /// Whether the agent's clock is this one. A missing boot id proves nothing.
    pub(crate) fn is_shared_by(&self, agent: &v1::Register) -> bool {
        !self.boot_id.is_empty()
            && self.boot_id == agent.boot_id.trim()
            && self.time_namespace == agent.time_namespace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_shared_on_one_boot_in_one_time_namespace() {
        let ours = ClockIdentity {
            boot_id: "this boot".into(),
            time_namespace: "time:[4026531834]".into(),
        };
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
