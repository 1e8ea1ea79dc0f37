//! When each packet is due: a formula, so there is no drift, and a test needs no clock.
//!
//! Packets go in batches of `batch`; all packets of a batch are due when its first one is. Packet
//! `n` is therefore due `(n - n % batch) / rate` after the start.

const NANOS_PER_1000_SECONDS: u128 = 1_000_000_000_000;

/// The schedule of one client.
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

    #[inline]
    fn offset_of(&self, n: u64) -> u64 {
        // u128: at 10 kHz `n * 10^12` overflows a u64 after half an hour.
        let offset = u128::from(n) * NANOS_PER_1000_SECONDS / u128::from(self.rate_millihertz);
        u64::try_from(offset).unwrap_or(u64::MAX)
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
