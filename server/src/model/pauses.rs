//! When a process did not run: gaps between its own readings of the clock that are far longer than
//! it asked for.
//!
//! A process that was stopped or starved finds afterwards that every deadline has passed, also of
//! messages that have long arrived. Before it holds a silence against another process it asks here
//! how much of it was its own. Times are ns of CLOCK_MONOTONIC. Absent: a clock, threads.

use std::collections::VecDeque;

/// How often the clock is to be read.
pub(crate) const READ_EVERY_NS: u64 = 100_000_000;
/// A reading that is later than asked for by more than this ends a pause.
const LATE_NS_MAX: u64 = 500_000_000;
/// Pauses that are remembered. Those before are forgotten.
const PAUSES_MAX: usize = 256;

/// The pauses of one process.
#[derive(Debug)]
pub(crate) struct Pauses {
    last_read_ns: u64,
    /// From when to when, by rising time, without overlap.
    pauses: VecDeque<(u64, u64)>,
}

impl Pauses {
    /// The first reading.
    pub(crate) fn new(now_ns: u64) -> Self {
        Self {
            last_read_ns: now_ns,
            pauses: VecDeque::new(),
        }
    }

    /// Takes a reading, at least every [`READ_EVERY_NS`]. Returns the pause that it ends, ns.
    pub(crate) fn read(&mut self, now_ns: u64) -> Option<u64> {
        let gap_ns = now_ns.saturating_sub(self.last_read_ns);
        let from_ns = self.last_read_ns;
        self.last_read_ns = now_ns.max(from_ns);
        if gap_ns <= READ_EVERY_NS + LATE_NS_MAX {
            return None;
        }
        if self.pauses.len() == PAUSES_MAX {
            self.pauses.pop_front();
        }
        self.pauses.push_back((from_ns, now_ns));
        Some(gap_ns)
    }

    /// When the clock was read last: pauses up to then are known.
    pub(crate) fn last_read_ns(&self) -> u64 {
        self.last_read_ns
    }

    /// For how long it has not run since `from_ns`, ns.
    pub(crate) fn paused_since(&self, from_ns: u64) -> u64 {
        self.within(from_ns, u64::MAX).sum()
    }

    /// The longest pause, as far as it lies within that time, ns.
    pub(crate) fn longest_within(&self, from_ns: u64, to_ns: u64) -> Option<u64> {
        self.within(from_ns, to_ns).max()
    }

    fn within(&self, from_ns: u64, to_ns: u64) -> impl Iterator<Item = u64> {
        let pauses = self.pauses.iter();
        pauses.filter_map(move |(begun_ns, ended_ns)| {
            let length_ns = (*ended_ns)
                .min(to_ns)
                .checked_sub((*begun_ns).max(from_ns))?;
            (length_ns > 0).then_some(length_ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_reading_that_is_half_a_second_late_ends_a_pause() {
        let mut pauses = Pauses::new(1_000 * MS);
        assert_eq!(pauses.read(1_600 * MS), None);
        assert_eq!(pauses.read(2_201 * MS), Some(601 * MS));
        assert_eq!(pauses.read(2_301 * MS), None);
        assert_eq!(pauses.read(5_801 * MS), Some(3_500 * MS));
        assert_eq!(pauses.paused_since(0), 4_101 * MS);
        assert_eq!(pauses.paused_since(2_301 * MS), 3_500 * MS);
        assert_eq!(pauses.paused_since(4_801 * MS), 1_000 * MS);
        assert_eq!(pauses.paused_since(5_801 * MS), 0);
        assert_eq!(pauses.longest_within(0, u64::MAX), Some(3_500 * MS));
        assert_eq!(pauses.longest_within(0, 2_500 * MS), Some(601 * MS));
        assert_eq!(
            pauses.longest_within(2_301 * MS, 3_301 * MS),
            Some(1_000 * MS)
        );
        assert_eq!(pauses.longest_within(0, 1_600 * MS), None);
        assert_eq!(pauses.longest_within(9_000 * MS, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn each_pause_is_in_one_of_the_answers_that_follow_each_other(
            gaps_ns in prop::collection::vec(0..3_000 * MS, 1..100),
        ) {
            let (mut pauses, mut now_ns, mut known_ns, mut sum_ns) = (Pauses::new(0), 0, 0, 0);
            for gap_ns in gaps_ns {
                now_ns += gap_ns;
                pauses.read(now_ns);
                sum_ns += pauses.paused_since(known_ns);
                known_ns = pauses.last_read_ns();
            }
            prop_assert_eq!(sum_ns, pauses.paused_since(0));
        }

        #[test]
        fn no_more_is_a_pause_than_time_has_passed(
            gaps_ns in prop::collection::vec(0..3_000 * MS, 1..600),
            from_ns in 0..100_000 * MS,
        ) {
            let (mut pauses, mut now_ns) = (Pauses::new(0), 0);
            for gap_ns in gaps_ns {
                now_ns += gap_ns;
                prop_assert_eq!(pauses.read(now_ns), (gap_ns > 600 * MS).then_some(gap_ns));
            }
            prop_assert!(pauses.paused_since(from_ns) <= now_ns.saturating_sub(from_ns));
            prop_assert!(pauses.longest_within(from_ns, now_ns).unwrap_or(0)
                <= pauses.paused_since(from_ns));
        }
    }
}
