//! The law of due times: every packet's due time is a place of its client's schedule, to the
//! nanosecond, behind the place of the packet before. Pure.
//!
//! Times are counted from the client's start, which its start frame has given: so wherever the zero
//! of the sender's clock lies, they are those of the schedule from 0 on, and a time before the
//! start is far behind the end.
//!
//! Packets of one write, and of one burst, share a due time. Which of them were left out cannot be
//! seen, so they take the first places, and the rest counts as left out once a packet that is due
//! later comes.
//!
//! Where a place is found by a formula, a packet costs a constant number of steps. Random arrivals
//! are gone through one by one, as far as the [`Reach`] of a batch: what is due behind it is off
//! the schedule. The places gone through count as left out.

use metronome_proto::schedule::{Cursor, Schedule};

/// How far a batch looks for the places of random arrivals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reach {
    /// Most places that it goes through beyond those of its packets.
    pub(super) steps: u64,
    /// It looks for none that is due later than this.
    pub(super) latest_ns: u64,
}

impl Reach {
    /// The largest: as many places as are due in 10 s at the highest rate, and about 30 ms of a
    /// worker's time.
    pub(super) const MAX: Self = Self {
        steps: 1 << 20,
        latest_ns: u64::MAX,
    };
}

/// The schedule of a client, and the place that its next packet has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct DueTimes {
    schedule: Schedule,
    next: Cursor,
    /// When the last packet is due; of random arrivals the last instant at which one may be.
    end_ns: u64,
    /// That which the present batch still has.
    reach: Reach,
}

/// Whether a packet is on the schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Taken {
    /// It has the next place.
    Next,
    /// It has a later one.
    Later(LeftOut),
    /// It has none. What it leaves out is 0 but where the steps of a batch have come to an end.
    Off(LeftOut),
}

/// Places without a packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LeftOut {
    pub(super) places: u64,
    /// Those of them that were due in the warm-up.
    pub(super) in_warm_up: u64,
}

impl DueTimes {
    /// A schedule whose start is 0, of which the next packet has this place and due time: the
    /// latter has a meaning for random arrivals alone. `None` when it has no such place.
    pub(super) fn at(schedule: Schedule, place: u64, due_ns: u64) -> Option<Self> {
        let is_possible = place <= schedule.packets_max();
        is_possible.then(|| Self::with(schedule, schedule.resume(place, due_ns)))
    }

    /// From the first packet on.
    pub(super) fn first(schedule: Schedule) -> Self {
        Self::with(schedule, schedule.first())
    }

    fn with(schedule: Schedule, next: Cursor) -> Self {
        Self {
            next,
            end_ns: schedule.end_ns(),
            schedule,
            reach: Reach::MAX,
        }
    }

    /// Place and due time of the next packet: from these it is made again.
    #[inline]
    pub(super) fn next(&self) -> (u64, u64) {
        (self.next.place(), self.next.due_ns())
    }

    /// When the last packet is due; of random arrivals the last instant at which one may be.
    pub(super) fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// A batch begins, of which any process that replays it has the same packets.
    #[inline]
    pub(super) fn begin_batch(&mut self, reach: Reach) {
        self.reach = reach;
    }

    /// Takes the next packet. Places due before `warm_up_end_ns` are those of the warm-up.
    #[inline]
    pub(super) fn take(&mut self, due_ns: u64, warm_up_end_ns: u64) -> Taken {
        if due_ns == self.next.due_ns() && !self.next.is_over(&self.schedule) {
            self.next.advance(&self.schedule);
            return Taken::Next;
        }
        self.take_later(due_ns, warm_up_end_ns)
    }

    #[cold]
    fn take_later(&mut self, due_ns: u64, warm_up_end_ns: u64) -> Taken {
        if due_ns <= self.next.due_ns() || due_ns > self.end_ns {
            return Taken::Off(LeftOut::default());
        }
        if self.schedule.packets().is_none() && due_ns > self.reach.latest_ns {
            return Taken::Off(LeftOut::default());
        }
        let (from, mut at) = (self.next.place(), self.next);
        let in_warm_up = match warm_up_end_ns.min(due_ns).checked_sub(1) {
            Some(last_ns) => {
                let _ = self.go_beyond(&mut at, last_ns);
                at.place().wrapping_sub(from)
            }
            None => 0,
        };
        let has_arrived = self.go_beyond(&mut at, due_ns - 1);
        let left_out = LeftOut {
            places: at.place().wrapping_sub(from),
            in_warm_up,
        };
        if !has_arrived {
            self.next = at;
            return Taken::Off(left_out);
        }
        if at.due_ns() != due_ns || at.is_over(&self.schedule) {
            return Taken::Off(LeftOut::default());
        }
        at.advance(&self.schedule);
        self.next = at;
        Taken::Later(left_out)
    }

    /// Moves a cursor to the first packet due later than `time_ns`, as far as there are steps.
    fn go_beyond(&mut self, at: &mut Cursor, time_ns: u64) -> bool {
        let from = at.place();
        let has_arrived = at.advance_beyond(&self.schedule, time_ns, self.reach.steps);
        if self.schedule.packets().is_none() {
            let steps = at.place().wrapping_sub(from);
            self.reach.steps = self.reach.steps.saturating_sub(steps);
        }
        has_arrived
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{load::Load, profile::Profile};
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::load_words::tests::loads;

    const CLIENT: u32 = 3;

    /// The places of a schedule, as far as so many.
    fn due_times(schedule: &Schedule, most: usize) -> Vec<u64> {
        let mut cursor = schedule.first();
        let mut due_times = Vec::new();
        while due_times.len() < most && !cursor.is_over(schedule) {
            due_times.push(cursor.due_ns());
            cursor.advance(schedule);
        }
        due_times
    }

    /// What packets at some of the places must show: left out are those before the last that is
    /// sent, where packets of one due time take its first places.
    fn left_out(due_times: &[u64], sent: &[u64], warm_up_end_ns: u64) -> LeftOut {
        let Some(last) = sent.last() else {
            return LeftOut::default();
        };
        let count = |times: &[u64], end_ns: u64| {
            times
                .iter()
                .filter(|due_ns| *due_ns < last && **due_ns < end_ns)
                .count() as u64
        };
        let missing = |end_ns| count(due_times, end_ns) - count(sent, end_ns);
        LeftOut {
            places: missing(u64::MAX),
            in_warm_up: missing(warm_up_end_ns),
        }
    }

    fn schedules() -> impl Strategy<Value = Schedule> {
        let schedule = |load: crate::ledger::ClientLoad| load.load.schedule(0, CLIENT);
        loads().prop_filter_map("a schedule without a packet", move |load| {
            schedule(load).filter(|schedule| !schedule.first().is_over(schedule))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn packets_of_a_schedule_are_on_it_whichever_of_them_were_skipped(
            schedule in schedules(),
            runs in prop::collection::vec((0..40_usize, 0..60_usize), 1..20),
            warm_up in any::<prop::sample::Index>(),
        ) {
            let all = due_times(&schedule, 1_500);
            let warm_up_end_ns = all[warm_up.index(all.len())];
            let mut next = 0;
            let mut sent = Vec::new();
            for (some, skipped) in runs {
                sent.extend(&all[next.min(all.len())..(next + some).min(all.len())]);
                next += some + skipped;
            }
            let (mut cursor, mut counted) = (DueTimes::first(schedule), LeftOut::default());
            for due_ns in &sent {
                let taken = cursor.take(*due_ns, warm_up_end_ns);
                if let Taken::Later(left_out) = taken {
                    counted.places += left_out.places;
                    counted.in_warm_up += left_out.in_warm_up;
                }
                prop_assert!(!matches!(taken, Taken::Off(_)), "{} is on the schedule", due_ns);
                // Another process goes on from the same place, and so with the same cursor.
                let (place, due_ns) = cursor.next();
                cursor.begin_batch(Reach::MAX);
                prop_assert_eq!(DueTimes::at(schedule, place, due_ns), Some(cursor.clone()));
            }
            prop_assert_eq!(counted, left_out(&all, &sent, warm_up_end_ns));
        }

        #[test]
        fn a_due_time_that_is_no_place_is_off_the_schedule_and_moves_nothing(
            schedule in schedules(),
            at in any::<prop::sample::Index>(),
            off_ns in prop_oneof![1 => Just(1), 2 => 1..2_000_u64, 2 => any::<u64>()],
            is_before: bool,
        ) {
            let all = due_times(&schedule, 1_500);
            let at = at.index(all.len());
            let due_ns = if is_before {
                all[at].wrapping_sub(off_ns)
            } else {
                all[at].wrapping_add(off_ns)
            };
            // Of as many places as were looked at, or of none.
            let is_known = due_ns <= all[all.len() - 1] || due_ns > schedule.end_ns();
            prop_assume!(is_known && all.binary_search(&due_ns).is_err());
            for before in [0, at / 2, at] {
                let mut cursor = DueTimes::first(schedule);
                for due_ns in &all[..before] {
                    prop_assert_eq!(cursor.take(*due_ns, 0), Taken::Next);
                }
                let next = cursor.next();
                prop_assert_eq!(cursor.take(due_ns, 0), Taken::Off(LeftOut::default()));
                prop_assert_eq!(cursor.next(), next);
            }
        }

        #[test]
        fn what_comes_twice_or_runs_backwards_is_off_the_schedule(
            schedule in schedules(),
            at in any::<prop::sample::Index>(),
            earlier in any::<prop::sample::Index>(),
        ) {
            // One more than is taken, which may be due together with the last one that is.
            let all = due_times(&schedule, 1_501);
            let at = at.index(all.len().min(1_500));
            let mut cursor = DueTimes::first(schedule);
            for due_ns in &all[..=at] {
                prop_assert_eq!(cursor.take(*due_ns, 0), Taken::Next);
            }
            let earlier_ns = all[earlier.index(at + 1)];
            let is_again = all.get(at + 1) == Some(&earlier_ns);
            prop_assume!(!is_again);
            prop_assert_eq!(cursor.take(earlier_ns, 0), Taken::Off(LeftOut::default()));
        }

        #[test]
        fn any_state_takes_any_due_time(
            schedule in schedules(),
            place in prop_oneof![any::<u64>(), 0..9_u64, 0..100_000_u64],
            state_ns in prop_oneof![any::<u64>(), 0..9_u64, u64::MAX - 9..=u64::MAX],
            due_times in prop::collection::vec(
                prop_oneof![any::<u64>(), 0..9_u64, 0..1_u64 << 36, u64::MAX - 9..=u64::MAX],
                1..9,
            ),
            warm_up_end_ns: u64,
        ) {
            let Some(mut cursor) = DueTimes::at(schedule, place, state_ns) else {
                return Ok(());
            };
            for due_ns in due_times {
                let (before, _) = cursor.next();
                let taken = cursor.take(due_ns, warm_up_end_ns);
                let (moved, left_out) = match taken {
                    Taken::Next => (1, LeftOut::default()),
                    Taken::Later(left_out) => (1 + left_out.places, left_out),
                    Taken::Off(left_out) => (left_out.places, left_out),
                };
                prop_assert_eq!(cursor.next().0, before + moved);
                prop_assert!(left_out.in_warm_up <= left_out.places);
            }
        }
    }

    fn random(seed: u64) -> Schedule {
        let load = Load {
            profile: Profile::Poisson {
                rate_millihertz: 100_000_000,
            },
            duration: Duration::from_secs(60),
            batch: 1,
            seed,
        };
        load.schedule(0, CLIENT).unwrap()
    }

    #[test]
    fn arrivals_of_another_seed_or_another_client_are_off_the_schedule() {
        let mut cursor = DueTimes::first(random(7));
        let others = due_times(&random(8), 1_000);
        let off = |cursor: &mut DueTimes, due_ns: &&u64| {
            matches!(cursor.take(**due_ns, 0), Taken::Off(_))
        };
        let count = others.iter().filter(|due_ns| off(&mut cursor, due_ns));
        // By chance a ns in 10 µs is one of a place.
        assert!(count.count() > 990);
    }

    #[test]
    fn a_batch_goes_through_so_many_random_arrivals_and_the_next_one_goes_on_there() {
        let schedule = random(7);
        let mut cursor = DueTimes::first(schedule);
        let places = Reach::MAX.steps + 1_000;
        let mut at = schedule.first();
        (0..places).for_each(|_| at.advance(&schedule));
        let passed = LeftOut {
            places: Reach::MAX.steps,
            in_warm_up: 0,
        };
        assert_eq!(cursor.take(at.due_ns(), 0), Taken::Off(passed));
        at.advance(&schedule);
        let none = Taken::Off(LeftOut::default());
        assert_eq!(cursor.take(at.due_ns(), 0), none, "no step is left");
        cursor.begin_batch(Reach::MAX);
        let left_out = LeftOut {
            places: 1_001,
            in_warm_up: 0,
        };
        assert_eq!(cursor.take(at.due_ns(), 0), Taken::Later(left_out));
    }

    #[test]
    fn beyond_its_reach_a_batch_goes_through_no_place_and_takes_the_next_one_all_the_same() {
        let schedule = random(7);
        let due = due_times(&schedule, 100);
        let beyond = |reach: Reach| {
            let mut cursor = DueTimes::first(schedule);
            cursor.begin_batch(reach);
            let next = cursor.next();
            let none = Taken::Off(LeftOut::default());
            assert_eq!(cursor.take(due[50], due[20]), none, "{reach:?}");
            assert_eq!((cursor.next(), cursor.reach), (next, reach));
            assert_eq!(cursor.take(due[0], 0), Taken::Next);
            cursor
        };
        let _ = beyond(Reach {
            steps: 0,
            ..Reach::MAX
        });
        let mut cursor = beyond(Reach {
            latest_ns: due[50] - 1,
            ..Reach::MAX
        });
        assert!(matches!(cursor.take(due[49], 0), Taken::Later(_)));
    }

    #[test]
    fn a_place_that_a_schedule_does_not_have_is_no_state() {
        let ten = Schedule::constant(0, 1_000_000, 1, 10);
        assert!(DueTimes::at(ten, 10, 0).is_some(), "behind the last one");
        assert_eq!(DueTimes::at(ten, 11, 0), None);
        assert_eq!(DueTimes::at(random(7), u64::MAX, 0), None);
    }
}
