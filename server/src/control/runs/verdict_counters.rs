//! How the runs of this server have ended, summed since its start: in all, and by group.
//!
//! The sums by group are those of this process: a server that takes over begins without.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1::VerdictStatus;

use crate::metrics::GroupSums;

/// Every verdict that a run may have.
pub(crate) const VERDICTS: [VerdictStatus; 3] = [
    VerdictStatus::Valid,
    VerdictStatus::Partial,
    VerdictStatus::Invalid,
];

/// Names of groups that are counted each; what comes after them counts as one. A name is the
/// user's, so that they could become ever more.
const GROUPS_MAX: usize = 64;

/// What groups beyond those count as, which is no name of a group.
const OTHER_GROUPS: &str = "(other)";

/// The sums since the server's start.
#[derive(Debug, Default)]
pub(crate) struct VerdictCounters {
    sums: Mutex<VerdictSums>,
    groups: Mutex<BTreeMap<String, GroupSums>>,
}

/// The sums as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct VerdictSums {
    /// Runs ended, in the order of [`VERDICTS`].
    pub(crate) runs_ended: [u64; 3],
    /// Runs that were over before their first packet was due.
    pub(crate) runs_failed: u64,
    /// Packets lost in all of them, as far as that is known.
    pub(crate) lost: u64,
    /// Segments that were sent again in those that are not invalid: by the agents' kernels, and by
    /// the server's.
    pub(crate) retransmitted: [u64; 2],
}

impl VerdictCounters {
    /// A run has ended. `lost`: of the clients of which it is known, within their shares.
    /// `retransmitted`: as in [`VerdictSums`].
    pub(super) fn run_ended(&self, verdict: VerdictStatus, lost: u64, retransmitted: [u64; 2]) {
        let mut sums = self.lock();
        if let Some(place) = VERDICTS.iter().position(|known| *known == verdict) {
            sums.runs_ended[place] += 1;
        }
        sums.lost = sums.lost.saturating_add(lost);
        if verdict != VerdictStatus::Invalid {
            for (sum, segments) in sums.retransmitted.iter_mut().zip(retransmitted) {
                *sum = sum.saturating_add(segments);
            }
        }
    }

    /// The groups of a run that has ended, by name, within their shares.
    pub(super) fn groups_ended(&self, ended: &BTreeMap<String, GroupSums>) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, sums) in ended {
            let is_counted = groups.len() < GROUPS_MAX || groups.contains_key(name);
            let name = if is_counted { name } else { OTHER_GROUPS };
            groups.entry(name.to_owned()).or_default().add(sums);
        }
    }

    /// The sums by group.
    pub(crate) fn groups(&self) -> Vec<(String, GroupSums)> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups
            .iter()
            .map(|(name, sums)| (name.clone(), *sums))
            .collect()
    }

    /// A run has failed.
    pub(super) fn run_failed(&self) {
        self.lock().runs_failed += 1;
    }

    /// The sums as they stand.
    pub(crate) fn sums(&self) -> VerdictSums {
        *self.lock()
    }

    /// Continues from the sums of another server.
    pub(crate) fn restore(&self, sums: VerdictSums) {
        *self.lock() = sums;
    }

    fn lock(&self) -> MutexGuard<'_, VerdictSums> {
        // No code between lock and unlock can leave it half changed.
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::names::is_name;

    use super::*;

    #[test]
    fn what_an_invalid_run_is_said_to_have_sent_again_counts_for_nothing() {
        let counters = VerdictCounters::default();
        counters.run_ended(VerdictStatus::Partial, 1, [3, 4]);
        counters.run_ended(VerdictStatus::Invalid, 1, [50, 60]);
        counters.run_ended(VerdictStatus::Valid, 1, [0, u64::MAX]);
        let sums = counters.sums();
        assert_eq!((sums.lost, sums.retransmitted), (3, [3, u64::MAX]));
    }

    #[test]
    fn however_many_names_groups_have_there_are_few_sums_and_no_packet_is_in_none() {
        let counters = VerdictCounters::default();
        for number in 0..1_000 {
            let sums = GroupSums {
                sent: 2,
                ..GroupSums::default()
            };
            let ended = [(format!("g{number}"), sums), ("feeds".to_owned(), sums)].into();
            counters.groups_ended(&ended);
        }
        let groups = counters.groups();
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        let sent = |of: &str| groups.iter().find(|(name, _)| name == of).unwrap().1.sent;
        assert_eq!(sent("feeds"), 2_000);
        assert_eq!(sent(OTHER_GROUPS), 2 * (1_000 - 63));
        assert_eq!(groups.iter().map(|(_, sums)| sums.sent).sum::<u64>(), 4_000);
        assert!(
            !is_name(OTHER_GROUPS),
            "a group of this name would be another"
        );
    }
}
