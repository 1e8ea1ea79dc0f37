//! The law of due times: every packet's due time is a place of its client's schedule, behind the
//! place of the packet before. Pure; nothing that a packet can carry costs more than a constant
//! number of steps.
//!
//! The first packet's due time is the *anchor*: place 0 of the worker's cursor, since the client's
//! phase is the agent's to choose. Where the agent has skipped its first packets, the anchor is a
//! later place of the agent's own schedule, with a fraction of a nanosecond behind it that the
//! packet does not carry. A later place is then due at the formula from the anchor or 1 ns after
//! it: exactly these two are accepted. The nanosecond is never added up, since the cursor goes on
//! from the formula and not from what a packet carried. Places are 1,000 ns apart or more, so no
//! two are mistaken for each other.
//!
//! Packets of one write share a due time. Which of them were left out cannot be seen, so they take
//! the first places of their write, and the rest of it counts as left out once a packet of a later
//! write comes.

use metronome_proto::{
    limits::{BATCH_MAX, RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN},
    schedule::{Cursor, Schedule},
};

/// What a fraction of a nanosecond behind the anchor can shift a due time by, ns.
const ANCHOR_FRACTION_NS: u64 = 1;

/// The schedule of a client from its anchor on, and the place of its last packet that was on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DueTimes {
    schedule: Schedule,
    cursor: Cursor,
}

/// Whether a schedule is one that a checked plan can have: the ledger and messages may hold others.
pub(crate) fn is_possible(rate_millihertz: u64, batch: u32, packets: u64) -> bool {
    (RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX).contains(&rate_millihertz)
        && (1..=BATCH_MAX).contains(&batch)
        && packets > 0
}

impl DueTimes {
    /// The last packet of a possible schedule, whose `start_ns` is the anchor, had this place.
    pub(super) fn at(schedule: Schedule, place: u64) -> Self {
        let cursor = schedule.resume(place, 0);
        Self { schedule, cursor }
    }

    /// The schedule from the anchor on.
    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The place of the last packet that was on the schedule, counted from the anchor.
    pub(super) fn place(&self) -> u64 {
        self.cursor.place()
    }

    /// Takes the next packet, and returns how many places it leaves out. `None` when its due time
    /// is off the schedule: then the cursor stays where it is.
    #[inline]
    pub(super) fn take(&mut self, due_ns: u64) -> Option<u64> {
        if self.cursor.place() < self.schedule.packets().unwrap_or(1) - 1 {
            let mut next = self.cursor;
            next.advance(&self.schedule);
            if is_due_at(due_ns, next.due_ns()) {
                self.cursor = next;
                return Some(0);
            }
        }
        self.take_later(due_ns)
    }

    /// The place is found by the closed form: a packet makes the worker walk over none.
    #[cold]
    fn take_later(&mut self, due_ns: u64) -> Option<u64> {
        let last_due = self.schedule.due_by(due_ns)?.checked_sub(1)?;
        let place = last_due - last_due % u64::from(self.schedule.batch());
        let left_out = place.checked_sub(self.cursor.place())?.checked_sub(1)?;
        if !is_due_at(due_ns, self.schedule.due_at(place)?) {
            return None;
        }
        self.cursor = self.schedule.resume(place, 0);
        Some(left_out)
    }
}

#[inline]
fn is_due_at(due_ns: u64, place_ns: u64) -> bool {
    let behind = due_ns.checked_sub(place_ns);
    behind.is_some_and(|behind| behind <= ANCHOR_FRACTION_NS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's schedule, and runs of places: of each so many are sent, then so many skipped.
    #[derive(Clone, Debug)]
    struct Load {
        schedule: Schedule,
        runs: Vec<(u64, u64)>,
    }

    impl Load {
        /// The places whose packets are sent.
        fn places(&self) -> Vec<u64> {
            let (mut places, mut next) = (Vec::new(), 0_u64);
            for (sent, skipped) in &self.runs {
                places.extend(next..(next + sent).min(self.schedule.packets));
                next += sent + skipped;
                if next >= self.schedule.packets {
                    break;
                }
            }
            places
        }

        /// The due times of packets at `places`.
        fn due_times(&self, places: &[u64]) -> Vec<u64> {
            let places = places.iter();
            places.map(|place| self.schedule.due_at(*place)).collect()
        }

        /// What a worker has after the first packet, whose due time is all that shows the
        /// client's phase.
        fn after_first(&self, due_ns: u64) -> DueTimes {
            let schedule = Schedule {
                start_ns: due_ns,
                ..self.schedule
            };
            DueTimes::at(schedule, 0)
        }

        /// Places left out by packets at `places`, when packets of a write take its first places.
        fn left_out(&self, places: &[u64]) -> u64 {
            let batch = u64::from(self.schedule.batch());
            let (first, last) = (places[0] / batch, places[places.len() - 1] / batch);
            let before_last = places.iter().filter(|place| **place / batch < last);
            (last - first) * batch - before_last.count() as u64
        }
    }

    fn rates() -> impl Strategy<Value = u64> {
        prop_oneof![
            RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX,
            RATE_MILLIHERTZ_MIN..=100_000,
            RATE_MILLIHERTZ_MAX - 100_000..=RATE_MILLIHERTZ_MAX,
        ]
    }

    fn loads() -> impl Strategy<Value = Load> {
        let runs = (1..40_u64, prop_oneof![Just(0), 0..40_u64, 0..1_u64 << 30]);
        let first = prop_oneof![Just(0), 0..3_000_u64, 0..1_u64 << 30];
        (
            (0..1_u64 << 50, rates(), 1..=BATCH_MAX, 1..1_u64 << 36),
            first,
            prop::collection::vec(runs, 1..20),
        )
            .prop_map(
                |((start_ns, rate_millihertz, batch, packets), first, runs)| {
                    // So that the last one is due before the end of the clock.
                    let most = (u128::from(rate_millihertz) << 60) / 1_000_000_000_000;
                    let packets = packets.min(most as u64);
                    let first = first % packets;
                    Load {
                        schedule: Schedule {
                            start_ns,
                            rate_millihertz,
                            batch,
                            packets,
                        },
                        runs: std::iter::once((0, first)).chain(runs).collect(),
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn packets_of_a_schedule_are_on_it_whichever_of_them_were_skipped(load in loads()) {
            let places = load.places();
            let due_times = load.due_times(&places);
            let mut cursor = load.after_first(due_times[0]);
            let mut left_out = 0;
            for due_ns in &due_times[1..] {
                let places = cursor.take(*due_ns);
                prop_assert!(places.is_some(), "{} is on the schedule", due_ns);
                left_out += places.unwrap_or(0);
                prop_assert!(left_out <= cursor.place());
            }
            prop_assert_eq!(left_out, load.left_out(&places));
        }

        #[test]
        fn a_due_time_that_is_2_ns_or_more_off_its_place_is_off_the_schedule(
            load in loads(),
            at in any::<prop::sample::Index>(),
            off_ns in 2..500_u64,
        ) {
            let places = load.places();
            let due_times = load.due_times(&places);
            let mut cursor = load.after_first(due_times[0]);
            let at = at.index(due_times.len());
            for due_ns in due_times.iter().take(at).skip(1) {
                let _ = cursor.take(*due_ns);
            }
            let before = cursor;
            prop_assert_eq!(cursor.take(due_times[at] + 1 + off_ns), None);
            prop_assert_eq!(cursor.take(due_times[at].saturating_sub(off_ns)), None);
            prop_assert_eq!(cursor, before, "it stays where it is");
        }

        #[test]
        fn more_packets_than_a_write_has_are_off_the_schedule(
            load in loads(),
            more in 1..5_u64,
        ) {
            let batch = u64::from(load.schedule.batch);
            let due_ns = load.schedule.due_at(0);
            let mut cursor = load.after_first(due_ns);
            let room = batch.min(load.schedule.packets) - 1;
            for _ in 0..room {
                prop_assert_eq!(cursor.take(due_ns), Some(0));
            }
            for _ in 0..more {
                prop_assert_eq!(cursor.take(due_ns), None);
            }
        }

        #[test]
        fn due_times_that_run_backwards_or_are_swapped_are_off_the_schedule(
            load in loads(),
            ahead in 1..1_000_000_u64,
        ) {
            let batch = u64::from(load.schedule.batch);
            let later = ahead * batch;
            prop_assume!(later < load.schedule.packets);
            let mut cursor = load.after_first(load.schedule.due_at(0));
            prop_assert_eq!(cursor.take(load.schedule.due_at(later)), Some(later - 1));
            for earlier in [later - 1, later - batch, 0] {
                prop_assert_eq!(cursor.take(load.schedule.due_at(earlier)), None);
            }
        }

        #[test]
        fn a_place_behind_the_last_one_is_off_the_schedule(load in loads(), behind in 0..9_u64) {
            let schedule = load.schedule;
            let mut cursor = load.after_first(schedule.start_ns);
            let last = schedule.packets - 1;
            let next_write = (last / u64::from(schedule.batch) + 1 + behind)
                * u64::from(schedule.batch);
            prop_assert_eq!(cursor.take(schedule.due_at(next_write)), None);
            let last_write = last - last % u64::from(schedule.batch);
            let mut at_last = DueTimes::at(schedule, last);
            prop_assert_eq!(at_last.take(schedule.due_at(next_write)), None);
            prop_assert_eq!(at_last.take(schedule.due_at(last_write)), None);
        }

        #[test]
        fn any_state_takes_any_due_time(
            rate_millihertz in rates(),
            batch in 1..=BATCH_MAX,
            packets in prop_oneof![1..=u64::MAX, 1..9_u64, u64::MAX - 9..=u64::MAX],
            place in prop_oneof![0..=u64::MAX, 0..9_u64, u64::MAX - 9..=u64::MAX],
            start_ns in prop_oneof![0..=u64::MAX, 0..9_u64, u64::MAX - 9..=u64::MAX],
            due_times in prop::collection::vec(
                prop_oneof![0..=u64::MAX, 0..9_u64, u64::MAX - 9..=u64::MAX],
                1..9,
            ),
        ) {
            let schedule = Schedule { start_ns, rate_millihertz, batch, packets };
            let mut cursor = DueTimes::at(schedule, place);
            for due_ns in due_times {
                let before = cursor.place();
                match cursor.take(due_ns) {
                    Some(left_out) => prop_assert_eq!(cursor.place(), before + 1 + left_out),
                    None => prop_assert_eq!(cursor.place(), before),
                }
                prop_assert!(cursor.place() <= place.max(packets - 1));
            }
        }
    }

    #[test]
    fn a_schedule_is_possible_within_the_bounds_of_a_plan() {
        let schedule = |rate_millihertz, batch, packets| Schedule {
            start_ns: 0,
            rate_millihertz,
            batch,
            packets,
        };
        let (slowest, fastest) = (RATE_MILLIHERTZ_MIN, RATE_MILLIHERTZ_MAX);
        for (rate, batch, packets) in [(slowest, 1, 1), (fastest, BATCH_MAX, u64::MAX)] {
            assert!(is_possible(&schedule(rate, batch, packets)));
        }
        for (rate, batch, packets) in [
            (slowest - 1, 1, 1),
            (fastest + 1, 1, 1),
            (slowest, 0, 1),
            (slowest, BATCH_MAX + 1, 1),
            (slowest, 1, 0),
        ] {
            assert!(!is_possible(&schedule(rate, batch, packets)));
        }
    }

    #[test]
    fn a_nanosecond_is_accepted_and_never_added_up() {
        let schedule = Schedule {
            start_ns: 500,
            rate_millihertz: 10_000_000,
            batch: 1,
            packets: 1_000,
        };
        let mut cursor = DueTimes::at(schedule, 0);
        for place in 1..500 {
            assert_eq!(cursor.take(schedule.due_at(place) + 1), Some(0));
        }
        assert_eq!(cursor.take(schedule.due_at(500) + 2), None);
        assert_eq!(cursor.take(schedule.due_at(500)), Some(0));
        assert_eq!(cursor.take(schedule.due_at(510) + 1), Some(9));
    }
}
