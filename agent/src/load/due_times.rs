//! When the packets of one client are due, from the place on that the client has come to. Pure.
//!
//! The clients of a load share its schedule, each an offset later; only random arrivals are drawn
//! for each.
//!
//! A client goes through its schedule place by place, with a cursor: so no packet costs a division.
//! It only goes forward: where the kernel took less than was stamped, it goes back to where the
//! stamping began ([`DueTimes::mark`]) and from there to the place that is settled. That needs no
//! formula, which random arrivals do not have.

use std::sync::Arc;

use metronome_proto::{
    packet_size::PacketSize,
    schedule::{Cursor, Schedule},
};

use super::send_buffer::packets_per_write_max;

/// The schedule of one client, and a place in it.
#[derive(Clone, Debug)]
pub(crate) struct DueTimes {
    schedule: Arc<Schedule>,
    /// How much later than the schedule the client is due.
    offset_ns: u64,
    cursor: Cursor,
    packets_per_write_max: u64,
}

/// A place to which [`DueTimes::back_to`] goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(Cursor);

impl DueTimes {
    /// Before the first packet; all have this size.
    pub(crate) fn new(schedule: Arc<Schedule>, offset_ns: u64, size: PacketSize) -> Self {
        Self {
            offset_ns,
            cursor: schedule.first(),
            packets_per_write_max: packets_per_write_max(schedule.batch(), size),
            schedule,
        }
    }

    /// From where the times of its places count, ns.
    pub(super) fn start_ns(&self) -> u64 {
        self.schedule.start_ns().saturating_add(self.offset_ns)
    }

    /// How many packets are due by `now_ns`, at least those before the present place.
    pub(super) fn due_by(&self, now_ns: u64) -> u64 {
        let mut cursor = self.cursor;
        if let Some(now_ns) = now_ns.checked_sub(self.offset_ns) {
            cursor.advance_beyond(&self.schedule, now_ns, u64::MAX);
        }
        cursor.place()
    }

    /// Whether the schedule has no more than its first `packets`, which are not before the present
    /// place.
    pub(super) fn has_only(&self, packets: u64) -> bool {
        let mut at_end = self.clone();
        at_end.go_to(packets);
        at_end.cursor.is_over(&self.schedule)
    }

    /// Most packets of one write.
    #[inline]
    pub(super) fn packets_per_write_max(&self) -> u64 {
        self.packets_per_write_max
    }

    /// The present place.
    #[inline]
    pub(super) fn mark(&self) -> Mark {
        Mark(self.cursor)
    }

    /// Goes back to a place.
    #[inline]
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.cursor = mark.0;
    }

    /// When the packet at `place` is due, ns, which is not before the present place. From there on
    /// [`DueTimes::take`] goes.
    #[inline]
    pub(super) fn go_to(&mut self, place: u64) -> u64 {
        if self.cursor.place() != place {
            self.move_to(place);
        }
        self.due_ns()
    }

    #[cold]
    fn move_to(&mut self, place: u64) {
        if self.schedule.packets().is_some() {
            self.cursor = self.schedule.resume(place, 0);
        }
        while self.cursor.place() < place {
            self.cursor.advance(&self.schedule);
        }
    }

    /// When the packet at the present place is due, ns, and how many from there on are due at that
    /// time, of the next `most`; goes on to the one behind these. `most` is at least 1.
    #[inline]
    pub(super) fn take(&mut self, most: u64) -> (u64, u64) {
        let (due_ns, at_ns) = (self.due_ns(), self.cursor.due_ns());
        let mut packets = 1;
        self.cursor.advance(&self.schedule);
        while packets < most && self.cursor.due_ns() == at_ns {
            self.cursor.advance(&self.schedule);
            packets += 1;
        }
        (due_ns, packets)
    }

    #[inline]
    fn due_ns(&self) -> u64 {
        self.cursor.due_ns().saturating_add(self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{load::Load, profile::Profile};
    use proptest::prelude::*;

    use super::*;

    fn loads() -> impl Strategy<Value = Load> {
        let rate = || 1..=100_000_000_u64;
        let profile = prop_oneof![
            rate().prop_map(Profile::constant),
            rate().prop_map(|rate_millihertz| Profile::Poisson { rate_millihertz }),
            (rate(), rate()).prop_map(|(from_millihertz, to_millihertz)| Profile::Ramp {
                from_millihertz,
                to_millihertz,
            }),
            (1..200_u32).prop_map(|packets| Profile::Burst {
                packets,
                every_ns: 1_000_000,
            }),
        ];
        (profile, 1..=1024_u32, any::<u64>()).prop_map(|(profile, batch, seed)| Load {
            profile,
            duration: Duration::from_secs(1000),
            batch: match profile {
                Profile::Poisson { .. } => 1,
                _ => batch,
            },
            seed,
        })
    }

    proptest! {
        #[test]
        fn due_times_are_those_of_the_schedule_however_the_client_goes_through_its_places(
            load in loads(),
            start_ns in 0..1_u64 << 50,
            offset_ns in 0..1_u64 << 30,
            moves in prop::collection::vec((0..300_u64, 0..300_u64), 1..20),
        ) {
            let schedule = load.schedule(start_ns, 7).unwrap();
            let mut plain = schedule.first();
            let places = moves.iter().map(|(stamped, skipped)| stamped + skipped).sum::<u64>();
            let mut due_ns = Vec::new();
            for _ in 0..=places {
                due_ns.push(plain.due_ns());
                plain.advance(&schedule);
            }
            let shared = load.schedule(start_ns - start_ns.min(offset_ns), 7).unwrap();
            let size = PacketSize::MIN;
            let mut due_times = DueTimes::new(shared.into(), start_ns.min(offset_ns), size);
            let mut settled = 0;
            for (stamped, skipped) in moves {
                prop_assert_eq!(due_times.go_to(settled), due_ns[settled as usize]);
                let mark = due_times.mark();
                let mut place = settled;
                while place < settled + stamped {
                    let left = settled + stamped - place;
                    let (at_ns, packets) = due_times.take(left);
                    prop_assert!((1..=left).contains(&packets));
                    let taken = &due_ns[place as usize..][..packets as usize];
                    prop_assert!(taken.iter().all(|due_ns| *due_ns == at_ns));
                    place += packets;
                    let is_last = due_ns[place as usize] > at_ns;
                    prop_assert!(is_last || packets == left, "as many as there are");
                }
                // The kernel has taken a half, and some places behind that are skipped.
                due_times.back_to(mark);
                settled += stamped / 2 + skipped;
            }
        }

        #[test]
        fn what_is_due_is_counted_from_any_place(
            load in loads(), settled in 0..500_u64, now_ns in 0..10_000_000_u64,
            offset_ns in 0..=1_000_u64,
        ) {
            let schedule = load.schedule(1_000, 7).unwrap();
            let shared = load.schedule(1_000 - offset_ns, 7).unwrap();
            let mut due_times = DueTimes::new(shared.into(), offset_ns, PacketSize::MIN);
            due_times.go_to(settled);
            let mut plain = schedule.first();
            while plain.due_ns() <= now_ns && !plain.is_over(&schedule) {
                plain.advance(&schedule);
            }
            prop_assert_eq!(due_times.due_by(now_ns), plain.place().max(settled));
        }
    }

    #[test]
    fn the_end_of_a_schedule_is_where_its_cursor_is_over() {
        let load = |profile| Load {
            profile,
            duration: Duration::from_secs(1),
            batch: 1,
            seed: 3,
        };
        let rate_millihertz = 10_000_000;
        for profile in [
            Profile::Constant { rate_millihertz },
            Profile::Poisson { rate_millihertz },
        ] {
            let due_times = DueTimes::new(
                load(profile).schedule(5, 0).unwrap().into(),
                0,
                PacketSize::MIN,
            );
            let all = due_times.due_by(u64::MAX);
            assert!(due_times.has_only(all) && !due_times.has_only(all - 1));
        }
        let rare = Profile::Poisson { rate_millihertz: 1 };
        let due_times = DueTimes::new(
            load(rare).schedule(5, 0).unwrap().into(),
            0,
            PacketSize::MIN,
        );
        assert!(due_times.has_only(0), "a client may have no packet at all");
    }
}
