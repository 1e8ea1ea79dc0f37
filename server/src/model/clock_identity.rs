//! Which CLOCK_MONOTONIC a process reads.

use metronome_proto::v1;

use super::clock_relation::ClockRelation;

/// Identifies a CLOCK_MONOTONIC: two processes with equal identities read the same one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClockIdentity {
    pub(crate) boot_id: String,
    /// A time namespace shifts CLOCK_MONOTONIC. Empty on a kernel without them.
    pub(crate) time_namespace: String,
}

impl ClockIdentity {
    /// How the agent's clock relates to this one, as far as its own word goes. A missing boot id is
    /// no such word.
    pub(crate) fn relation_to(&self, agent: &v1::ClockIdentity) -> ClockRelation {
        let is_same = !self.boot_id.is_empty()
            && self.boot_id == agent.boot_id.trim()
            && self.time_namespace == agent.time_namespace;
        if is_same {
            ClockRelation::Same
        } else {
            ClockRelation::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_the_same_on_one_boot_in_one_time_namespace() {
        let ours = ClockIdentity {
            boot_id: "this boot".into(),
            time_namespace: "time:[4026531834]".into(),
        };
        let agent = |boot_id: &str, time_namespace: &str| v1::ClockIdentity {
            boot_id: boot_id.into(),
            time_namespace: time_namespace.into(),
        };
        for (ours, agent, relation) in [
            (
                &ours,
                agent(&ours.boot_id, &ours.time_namespace),
                ClockRelation::Same,
            ),
            (
                &ours,
                agent("another boot", &ours.time_namespace),
                ClockRelation::Unknown,
            ),
            (
                &ours,
                agent(&ours.boot_id, "time:[1]"),
                ClockRelation::Unknown,
            ),
            (
                &ClockIdentity::default(),
                agent("", ""),
                ClockRelation::Unknown,
            ),
        ] {
            assert_eq!(ours.relation_to(&agent), relation, "{agent:?}");
        }
    }
}
