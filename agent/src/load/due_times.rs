//! When the packets of one client are due, from the place on that the client has come to. Pure.
//!
//! A client goes through its schedule place by place, with a cursor: so no packet costs a division.
//! Where places were skipped, or where the kernel took less than was stamped, the cursor is made
//! anew from the closed form.

use metronome_proto::schedule::{Cursor, Schedule};

use super::send_buffer::packets_per_write_max;

/// The schedule of one client, the client's phase included, and a place in it.
#[derive(Clone, Debug)]
pub(crate) struct DueTimes {
    schedule: Schedule,
    cursor: Cursor,
    packets_per_write_max: u64,
}

impl DueTimes {
    /// Before the first packet.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            cursor: schedule.first(),
            packets_per_write_max: packets_per_write_max(schedule.batch()),
        }
    }

    /// How many packets are due by `now_ns`.
    pub(super) fn due_by(&self, now_ns: u64) -> u64 {
        self.schedule.due_by(now_ns).unwrap_or(0)
    }

    /// Most packets of one write.
    #[inline]
    pub(super) fn packets_per_write_max(&self) -> u64 {
        self.packets_per_write_max
    }

    /// When the packet at `place` is due, ns. From there on [`DueTimes::take`] goes.
    #[inline]
    pub(super) fn go_to(&mut self, place: u64) -> u64 {
        if self.cursor.place() != place {
            self.cursor = self.schedule.resume(place, 0);
        }
        self.cursor.due_ns()
    }

    /// When the packet at the present place is due, ns; goes on to the next one.
    #[inline]
    pub(super) fn take(&mut self) -> u64 {
        let due_ns = self.cursor.due_ns();
        self.cursor.advance(&self.schedule);
        due_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn due_times_are_those_of_the_formula_however_the_client_goes_through_its_places(
            start_ns in 0..1_u64 << 50,
            rate_millihertz in 1..=1_000_000_000_u64,
            batch in 1..=1024_u32,
            moves in prop::collection::vec((0..3_000_u64, 0..3_000_u64), 1..50),
        ) {
            let schedule = Schedule { start_ns, rate_millihertz, batch, packets: u64::MAX };
            let mut due_times = DueTimes::new(schedule);
            let mut settled = 0;
            for (stamped, skipped) in moves {
                prop_assert_eq!(due_times.go_to(settled), schedule.due_at(settled));
                for place in settled..settled + stamped {
                    prop_assert_eq!(due_times.take(), schedule.due_at(place));
                }
                // The kernel has taken a half, and some places behind that are skipped.
                settled += stamped / 2 + skipped;
            }
        }
    }
}
