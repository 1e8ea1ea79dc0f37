//! When each packet of a constant rate is due: a formula, so there is no drift, and a test needs
//! no clock.
//!
//! Packets go in batches of `batch`; all packets of a batch are due when its first one is. Packet
//! `n` is therefore due `(n - n % batch) / rate` after the start. A [`Cursor`] walks the same
//! places one by one, without a division.

const NANOS_PER_1000_SECONDS: u128 = 1_000_000_000_000;

/// The schedule of one client, from [`crate::profile::Profile::schedule`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// When packet 0 is due, ns of CLOCK_MONOTONIC; the client's phase is in it.
    pub start_ns: u64,
    /// Packets per 1000 s, 1 to 10^9: exact where a float of Hz would drift.
    pub rate_millihertz: u64,
    /// Packets per write, 1 to 1024.
    pub batch: u32,
    /// How many packets in all.
    pub packets: u64,
}

impl Schedule {
    /// When packet `n` (from 0) is due. Saturates at the end of the clock.
    #[inline]
    #[must_use]
    pub fn due_at(&self, n: u64) -> u64 {
        let first_of_batch = n - n % u64::from(self.batch);
        self.start_ns.saturating_add(self.offset_of(first_of_batch))
    }

    /// How many packets are due by `now_ns`: 0 to `packets`.
    #[must_use]
    pub fn due_by(&self, now_ns: u64) -> u64 {
        let Some(elapsed) = now_ns.checked_sub(self.start_ns) else {
            return 0;
        };
        // The packets n with floor(n * 10^12 / rate) <= elapsed are those below this quotient.
        let batch = u128::from(self.batch);
        let scaled = (u128::from(elapsed) + 1) * u128::from(self.rate_millihertz);
        let batches = scaled.div_ceil(NANOS_PER_1000_SECONDS * batch);
        u64::try_from(batches * batch)
            .unwrap_or(u64::MAX)
            .min(self.packets)
    }

    /// The time between two batches, ns, rounded down; at least 1.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        self.offset_of(u64::from(self.batch)).max(1)
    }

    /// When the last packet is due.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.due_at(self.packets.saturating_sub(1))
    }

    /// How much later than the run's start a client may start: less than a period, and so little
    /// that its last packet is due within `duration_ns`. A phase is below this, or 0.
    #[must_use]
    pub fn room_ns(&self, duration_ns: u64) -> u64 {
        let last_ns = self.end_ns().saturating_sub(self.start_ns);
        self.period_ns().min(duration_ns.saturating_sub(last_ns))
    }

    /// The cursor at packet `place`, which may be behind the last one.
    #[must_use]
    pub fn cursor(&self, place: u64) -> Cursor {
        let batch = u64::from(self.batch);
        let step = u128::from(batch) * NANOS_PER_1000_SECONDS;
        let rate = u128::from(self.rate_millihertz);
        let first_of_batch = place - place % batch;
        let elapsed = u128::from(first_of_batch) * NANOS_PER_1000_SECONDS;
        Cursor {
            place,
            due_ns: self.due_at(place),
            in_batch: (place % batch) as u32,
            batch: self.batch,
            // At most 1024 × 10^12.
            step_ns: (step / rate) as u64,
            step_remainder: (step % rate) as u64,
            remainder: (elapsed % rate) as u64,
            rate_millihertz: self.rate_millihertz,
        }
    }

    #[inline]
    fn offset_of(&self, n: u64) -> u64 {
        // u128: at 10 kHz `n * 10^12` overflows a u64 after half an hour.
        let offset = u128::from(n) * NANOS_PER_1000_SECONDS / u128::from(self.rate_millihertz);
        u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

/// A place in a schedule with its due time. It only moves forward.
///
/// Due times are sums of integers with the remainder carried on, so they are those of the formula
/// to the nanosecond, however far the cursor has gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    place: u64,
    due_ns: u64,
    in_batch: u32,
    batch: u32,
    /// Nanoseconds of a batch, and what is left of the division, in 1 / rate_millihertz ns.
    step_ns: u64,
    step_remainder: u64,
    remainder: u64,
    rate_millihertz: u64,
}

impl Cursor {
    /// The number of the packet, from 0.
    #[inline]
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place
    }

    /// When the packet is due, ns. Saturates at the end of the clock.
    #[inline]
    #[must_use]
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Moves on to the next packet.
    #[inline]
    pub fn advance(&mut self) {
        self.place += 1;
        self.in_batch += 1;
        if self.in_batch == self.batch {
            self.enter_batch();
        }
    }

    /// Moves on to the first packet of the next batch.
    #[inline]
    pub fn advance_batch(&mut self) {
        self.place += u64::from(self.batch - self.in_batch);
        self.enter_batch();
    }

    #[inline]
    fn enter_batch(&mut self) {
        self.in_batch = 0;
        self.due_ns = self.due_ns.saturating_add(self.step_ns);
        // Both are below the rate, at most 10^9.
        self.remainder += self.step_remainder;
        if self.remainder >= self.rate_millihertz {
            self.remainder -= self.rate_millihertz;
            self.due_ns = self.due_ns.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedules() -> impl Strategy<Value = Schedule> {
        (
            0..1_u64 << 50,
            1..=1_000_000_000_u64,
            1..=1024_u32,
            1..1_u64 << 40,
        )
            .prop_map(|(start_ns, rate_millihertz, batch, packets)| Schedule {
                start_ns,
                rate_millihertz,
                batch,
                packets,
            })
    }

    proptest! {
        #[test]
        fn due_by_counts_exactly_the_packets_whose_time_has_come(
            schedule in schedules(),
            elapsed in 0..1_u64 << 50,
        ) {
            let now = schedule.start_ns + elapsed;
            let due = schedule.due_by(now);
            prop_assert!(due >= 1 && due <= schedule.packets);
            prop_assert!(schedule.due_at(due - 1) <= now);
            if due < schedule.packets {
                prop_assert!(schedule.due_at(due) > now);
            }
        }

        #[test]
        fn a_cursor_goes_through_the_places_of_the_formula_to_the_nanosecond(
            schedule in schedules(),
            place in 0..1_u64 << 40,
            steps in 0..3_000_u64,
        ) {
            let mut cursor = schedule.cursor(place);
            for n in place..place + steps {
                prop_assert_eq!((cursor.place(), cursor.due_ns()), (n, schedule.due_at(n)));
                cursor.advance();
            }
            prop_assert_eq!(cursor, schedule.cursor(place + steps));
        }

        #[test]
        fn a_cursor_goes_from_batch_to_batch_as_from_packet_to_packet(
            schedule in schedules(),
            place in 0..1_u64 << 40,
            steps in 0..300_u64,
        ) {
            let mut cursor = schedule.cursor(place);
            for _ in 0..steps {
                cursor.advance_batch();
                prop_assert_eq!(cursor, schedule.cursor(cursor.place()));
                prop_assert_eq!(cursor.place() % u64::from(schedule.batch), 0);
            }
            let batches = place / u64::from(schedule.batch) + steps;
            prop_assert!(steps == 0 || cursor.place() == batches * u64::from(schedule.batch));
        }

        #[test]
        fn the_room_is_a_period_or_what_the_duration_leaves_behind_the_last_packet(
            schedule in schedules(),
            left_ns in 0..1_u64 << 50,
        ) {
            let lasts_ns = schedule.end_ns() - schedule.start_ns;
            let room_ns = schedule.room_ns(lasts_ns + left_ns);
            prop_assert!(room_ns <= schedule.period_ns() && room_ns <= left_ns);
            prop_assert!(room_ns == schedule.period_ns() || room_ns == left_ns);
            prop_assert_eq!(schedule.room_ns(lasts_ns.saturating_sub(1)), 0);
        }

        #[test]
        fn due_times_never_fall_and_packets_of_a_batch_share_one(
            schedule in schedules(),
            n in 0..1_u64 << 40,
        ) {
            prop_assert!(schedule.due_at(n) <= schedule.due_at(n + 1));
            let first = n - n % u64::from(schedule.batch);
            prop_assert_eq!(schedule.due_at(n), schedule.due_at(first));
        }
    }

    #[test]
    fn ten_kilohertz_is_a_packet_every_100_microseconds_for_ever() {
        let schedule = Schedule {
            start_ns: 1_000,
            rate_millihertz: 10_000_000,
            batch: 1,
            packets: u64::MAX,
        };
        for n in [0, 1, 2, 9_999, 10_000, 36_000_000, 864_000_000_000] {
            assert_eq!(schedule.due_at(n), 1_000 + n * 100_000);
        }
        assert_eq!(schedule.due_by(999), 0);
        assert_eq!(schedule.due_by(1_000), 1);
        assert_eq!(schedule.due_by(100_999), 1);
        assert_eq!(schedule.due_by(101_000), 2);
    }

    #[test]
    fn a_batch_goes_every_batch_periods_and_the_last_one_may_be_short() {
        let schedule = Schedule {
            start_ns: 0,
            rate_millihertz: 10_000_000,
            batch: 50,
            packets: 120,
        };
        assert_eq!(schedule.period_ns(), 5_000_000);
        assert_eq!(schedule.due_by(0), 50);
        assert_eq!(schedule.due_by(4_999_999), 50);
        assert_eq!(schedule.due_by(5_000_000), 100);
        assert_eq!(schedule.due_by(10_000_000), 120);
        assert_eq!(schedule.end_ns(), 10_000_000);
    }
}
