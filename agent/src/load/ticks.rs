//! When the clients of a pacing thread write. Pure: no clock, no socket; times are ns of
//! CLOCK_MONOTONIC.
//!
//! All clients of a thread follow one schedule, each a fixed offset later than the one before it.
//! No offset reaches a whole period or takes the last packet out of the run's time. So the work of
//! a thread is a sequence of *ticks*, one for each write of the schedule: in a tick every client
//! writes once, in the order of the clients. Nothing has to be sorted or searched, and there is no
//! timer per client.
//!
//! ```text
//!  tick 0          tick 1          tick 2
//!  |c0|c1|c2|......|c0|c1|c2|......|c0|c1|c2|......   staggered: one sleep a tick
//!  |c0...|c1...|c2.|c0...|c1...|c2.|c0...|c1...|c2.   spread: a sleep per packet
//! ```
//!
//! A thread that was held up goes on with the newest tick that is due ([`Ticks::next`]). In it each
//! client also writes the packets of the ticks that were left out. No packet is ever written early.

use metronome_proto::{
    schedule::{Cursor, Schedule},
    v1::Phase,
};

/// Staggered clients follow each other at least this closely, ns: about what one send over loopback
/// costs, so that none waits for the one before it.
const STAGGER_NS_MIN: u64 = 5_000;

/// They are further apart where a quarter of the period has room for it, up to this, ns: the first
/// send after a long pause finds cold caches and a sleeping receiver. Of 10,000 clients at 1 Hz one
/// costs 17 µs: at half of that distance the last ones came more than 10 ms late.
const STAGGER_NS_MAX: u64 = 20_000;

/// Where a client stands among the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Position among the clients of its thread, from 0.
    pub in_thread: u32,
    /// Clients of its thread.
    pub of_thread: u32,
    /// Position in its group, the clients of other agents included, from 0.
    pub in_group: u32,
    /// Clients of its group.
    pub of_group: u32,
}

/// How much later than the run's start a client's schedule starts: less than `room_ns`, or 0.
///
/// The room is a period of the schedule, or less where the run would not last long enough
/// ([`Schedule::room_ns`]).
pub(crate) fn offset_ns(phase: Phase, room_ns: u64, place: Place) -> u64 {
    match phase {
        Phase::Aligned => 0,
        Phase::Spread => share(room_ns, place.in_group, place.of_group),
        Phase::Staggered | Phase::Auto | Phase::Unspecified => staggered_ns(room_ns, place),
    }
}

/// No two clients of a group have the same offset, whatever agents and threads they are shared out
/// to, unless the room has fewer than four ns for each. At most half of the room is used, so that
/// the threads can sleep in the other half.
fn staggered_ns(room_ns: u64, place: Place) -> u64 {
    let half_ns = room_ns / 2;
    let (in_group, of_group) = (u64::from(place.in_group), u64::from(place.of_group.max(1)));
    let wished_ns = |clients: u64| (room_ns / 4 / clients).clamp(STAGGER_NS_MIN, STAGGER_NS_MAX);
    if half_ns / of_group >= STAGGER_NS_MIN {
        // The whole group goes one after the other.
        return wished_ns(of_group).min(half_ns / of_group) * in_group;
    }
    if half_ns < 2 * of_group {
        return share(half_ns, place.in_group, place.of_group);
    }
    // The clients of a thread go one after the other, those of different threads in between. The
    // remainder by the size of the group is the client's own: that makes the offset unique.
    let of_thread = u64::from(place.of_thread.max(1));
    let step_ns = wished_ns(of_thread).min((half_ns - of_group) / of_thread);
    let wish_ns =
        step_ns * u64::from(place.in_thread) + share(step_ns, place.in_group, place.of_group);
    wish_ns - wish_ns % of_group + in_group
}

fn share(room_ns: u64, part: u32, parts: u32) -> u64 {
    // Less than room_ns because part < parts.
    (u128::from(room_ns) * u128::from(part) / u128::from(parts.max(1))) as u64
}

/// The one schedule of a pacing thread, and the tick that it has come to.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    schedule: Schedule,
    period_ns: u64,
    /// At the first packet of the next tick.
    cursor: Cursor,
}

/// One write of every client, at the client's offset after `due_ns`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tick {
    /// When a client of offset 0 is due, ns.
    pub due_ns: u64,
    /// How many packets of each client are due once its turn in this tick has come.
    pub packets: u64,
}

impl Ticks {
    /// The ticks of a thread whose clients of offset 0 have this schedule.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            period_ns: schedule.period_ns(),
            cursor: schedule.first(),
        }
    }

    /// The tick to serve at `now_ns`, when all before it are served: the newest that is due, or the
    /// next one when that is not due yet. `None` after the last.
    #[inline]
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<Tick> {
        if now_ns >= self.cursor.due_ns().saturating_add(self.period_ns) {
            self.leave_out(now_ns);
        }
        if self.cursor.is_over(&self.schedule) {
            return None;
        }
        let due_ns = self.cursor.due_ns();
        self.cursor.advance_write(&self.schedule);
        Some(Tick {
            due_ns,
            packets: self
                .cursor
                .place()
                .min(self.schedule.packets().unwrap_or(u64::MAX)),
        })
    }

    /// Goes on to the newest tick that is due at `now_ns`.
    #[cold]
    fn leave_out(&mut self, now_ns: u64) {
        let last_due = self.schedule.due_by(now_ns).unwrap_or(0).saturating_sub(1);
        let first_of_tick = last_due - last_due % u64::from(self.schedule.batch());
        if first_of_tick > self.cursor.place() {
            self.cursor = self.schedule.resume(first_of_tick, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedules() -> impl Strategy<Value = Schedule> {
        (
            0..1_u64 << 40,
            1..=1_000_000_000_u64,
            1..=1024_u32,
            1..1_u64 << 20,
        )
            .prop_map(|(start_ns, rate_millihertz, batch, packets)| Schedule {
                start_ns,
                rate_millihertz,
                batch,
                packets,
            })
    }

    fn places() -> impl Strategy<Value = Place> {
        (1..=10_000_u32, 1..=10_000_u32).prop_flat_map(|(of_group, of_thread)| {
            let of_thread = of_thread.min(of_group);
            (0..of_thread, 0..of_group).prop_map(move |(in_thread, in_group)| Place {
                in_thread,
                of_thread,
                in_group,
                of_group,
            })
        })
    }

    proptest! {
        #[test]
        fn no_offset_reaches_the_end_of_the_room(place in places(), room_ns in 1..1_u64 << 50) {
            for phase in [Phase::Staggered, Phase::Spread, Phase::Aligned] {
                prop_assert!(offset_ns(phase, room_ns, place) < room_ns);
                prop_assert_eq!(offset_ns(phase, 0, place), 0);
            }
        }

        #[test]
        fn a_staggered_tick_leaves_half_of_the_period_to_sleep(
            place in places(), period_ns in 1..1_u64 << 50,
        ) {
            prop_assert!(offset_ns(Phase::Staggered, period_ns, place) <= period_ns / 2);
        }

        #[test]
        fn no_two_staggered_clients_of_a_group_start_at_one_instant_however_they_are_shared_out(
            cuts in prop::collection::btree_set(1..2_000_u32, 0..40),
            of_group in 1..2_000_u32,
            ns_each in 4..1_u64 << 30,
        ) {
            // A thread of some agent has the clients between two cuts.
            let inner = cuts.into_iter().filter(|cut| *cut < of_group);
            let mut threads: Vec<_> = inner.collect();
            threads.insert(0, 0);
            threads.push(of_group);
            let room_ns = ns_each * u64::from(of_group);
            let mut offsets = std::collections::BTreeSet::new();
            for thread in threads.windows(2) {
                for in_group in thread[0]..thread[1] {
                    let place = Place {
                        in_thread: in_group - thread[0],
                        of_thread: thread[1] - thread[0],
                        in_group,
                        of_group,
                    };
                    let offset_ns = offset_ns(Phase::Staggered, room_ns, place);
                    prop_assert!(offset_ns <= room_ns / 2);
                    prop_assert!(offsets.insert(offset_ns), "{place:?}");
                }
            }
        }

        #[test]
        fn later_clients_are_due_later(place in places(), period_ns in 1..1_u64 << 50) {
            let next = Place {
                in_thread: place.in_thread + 1,
                in_group: place.in_group + 1,
                ..place
            };
            for phase in [Phase::Staggered, Phase::Spread, Phase::Aligned] {
                let offset_ns = |place| offset_ns(phase, period_ns, place);
                prop_assert!(offset_ns(place) <= offset_ns(next));
            }
        }

        #[test]
        fn a_punctual_thread_serves_every_tick_of_the_formula_and_every_packet_once(
            schedule in schedules(),
        ) {
            let schedule = Schedule { packets: schedule.packets.min(5_000), ..schedule };
            let mut ticks = Ticks::new(schedule);
            let (mut packets, mut now_ns) = (0, 0);
            while let Some(tick) = ticks.next(now_ns) {
                let end = packets + u64::from(schedule.batch);
                prop_assert_eq!(tick.packets, end.min(schedule.packets));
                // All packets of the tick are due together.
                prop_assert_eq!(tick.due_ns, schedule.due_at(packets));
                (packets, now_ns) = (tick.packets, tick.due_ns);
            }
            prop_assert_eq!(packets, schedule.packets);
        }

        #[test]
        fn a_thread_held_up_goes_on_with_the_newest_tick_that_is_due(
            schedule in schedules(), stalls in prop::collection::vec(0..1_u64 << 36, 1..20),
        ) {
            let mut ticks = Ticks::new(schedule);
            let (mut packets, mut now_ns) = (0, schedule.start_ns);
            for stall_ns in stalls {
                now_ns += stall_ns;
                let Some(tick) = ticks.next(now_ns) else {
                    prop_assert_eq!(packets, schedule.packets);
                    return Ok(());
                };
                prop_assert!(tick.packets > packets, "ticks rise");
                prop_assert_eq!(tick.due_ns, schedule.due_at(tick.packets - 1));
                if tick.packets > packets + u64::from(schedule.batch) {
                    prop_assert!(tick.due_ns <= now_ns, "a later tick only when it is due");
                }
                if tick.packets < schedule.packets {
                    // Rounding may make a tick one ns longer than the period.
                    let after_ns = schedule.due_at(tick.packets);
                    prop_assert!(now_ns <= after_ns, "no due tick is left out: {tick:?}");
                }
                packets = tick.packets;
                // Never early: the thread waits for the tick.
                now_ns = now_ns.max(tick.due_ns);
            }
        }
    }

    #[test]
    fn the_main_job_staggers_its_ten_clients_by_five_microseconds() {
        let offset_ns = |in_thread, of_thread, period_ns| {
            offset_ns(
                Phase::Staggered,
                period_ns,
                Place {
                    in_thread,
                    of_thread,
                    in_group: in_thread,
                    of_group: of_thread,
                },
            )
        };
        assert_eq!(offset_ns(1, 10, 100_000), 5_000);
        assert_eq!(
            offset_ns(1, 20, 100_000),
            2_621,
            "no tick takes more than half of its period"
        );
        assert_eq!(
            offset_ns(1, 10_000, 500_000_000),
            12_500,
            "slow clients are further apart"
        );
        assert_eq!(offset_ns(1, 10, 500_000_000), 20_000, "but not much");
    }
}
