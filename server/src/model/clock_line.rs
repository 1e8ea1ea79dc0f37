//! What the server's clock reads when an agent's reads something, as a straight line: what a
//! worker needs to take the times of packets between two clocks. Pure; times in ns.
//!
//! A line is made of exchanges of readings, stored in the ledger before the packets that it is
//! used for, and never changed: so a replay takes the same times. Absent: how far off it can be,
//! which the maker of the line follows up, since it depends on how long the line was in use.

use serde::{Deserialize, Serialize};

/// A line through the offsets of two clocks, and one through the least times of the path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ClockLine {
    /// Packets written before this reading of the agent's clock have no time by this line.
    pub(crate) from_ns: u64,
    /// Nor have those written after this one.
    pub(crate) until_ns: u64,
    /// The reading of the agent's clock at which `offset_ns` holds.
    pub(crate) at_ns: u64,
    /// The server's reading less the agent's.
    pub(crate) offset_ns: i64,
    /// How much faster the server's clock runs, parts per 10^9.
    pub(crate) drift_ppb: i32,
    /// The server's reading at the fastest arrival less the agent's at the sending, where that is
    /// known.
    pub(crate) floor: Option<Floor>,
}

/// The line of the fastest arrivals.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Floor {
    /// The server's reading at the arrival less the agent's at the sending, at `at_ns` of the
    /// line.
    pub(crate) offset_ns: i64,
    /// How much that grows, parts per 10^9.
    pub(crate) drift_ppb: i32,
}

/// The time of a packet above the fastest arrivals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Queueing {
    /// 0 where it was faster.
    pub(crate) ns: u64,
    /// It was faster than the floor.
    pub(crate) is_below: bool,
}

impl ClockLine {
    /// From write to read, by the centre of the line. `None` where the line does not reach; 0
    /// where the centre has the packet read before it was written.
    #[inline]
    pub(crate) fn one_way_ns(&self, written_ns: u64, read_ns: u64) -> Option<u64> {
        let away_ns = self.away_ns(written_ns)?;
        let offset_ns = at(self.offset_ns, self.drift_ppb, away_ns);
        Some(u64::try_from(difference(read_ns, written_ns) - offset_ns).unwrap_or(0))
    }

    /// From write to read above the floor. `None` where the line does not reach, or has no floor.
    #[inline]
    pub(crate) fn queueing_ns(&self, written_ns: u64, read_ns: u64) -> Option<Queueing> {
        let (floor, away_ns) = (self.floor?, self.away_ns(written_ns)?);
        let floor_ns = at(floor.offset_ns, floor.drift_ppb, away_ns);
        let above_ns = difference(read_ns, written_ns) - floor_ns;
        Some(Queueing {
            ns: u64::try_from(above_ns).unwrap_or(0),
            is_below: above_ns < 0,
        })
    }

    /// The offset that the line has at a reading of the agent's clock, also where it does not
    /// reach.
    pub(crate) fn offset_at(&self, at_ns: u64) -> i128 {
        at(
            self.offset_ns,
            self.drift_ppb,
            difference(at_ns, self.at_ns),
        )
    }

    /// The same of the floor.
    pub(crate) fn floor_at(&self, at_ns: u64) -> Option<i128> {
        let Floor {
            offset_ns,
            drift_ppb,
        } = self.floor?;
        Some(at(offset_ns, drift_ppb, difference(at_ns, self.at_ns)))
    }

    #[inline]
    fn away_ns(&self, written_ns: u64) -> Option<i128> {
        let reaches = (self.from_ns..=self.until_ns).contains(&written_ns);
        reaches.then(|| difference(written_ns, self.at_ns))
    }
}

#[inline]
fn difference(of_ns: u64, less_ns: u64) -> i128 {
    i128::from(of_ns) - i128::from(less_ns)
}

#[inline]
fn at(offset_ns: i64, drift_ppb: i32, away_ns: i128) -> i128 {
    i128::from(offset_ns) + away_ns * i128::from(drift_ppb) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: ClockLine = ClockLine {
        from_ns: 1_000_000_000,
        until_ns: 21_000_000_000,
        at_ns: 11_000_000_000,
        offset_ns: -5_000,
        drift_ppb: 1_000,
        floor: Some(Floor {
            offset_ns: -4_000,
            drift_ppb: 2_000,
        }),
    };

    #[test]
    fn the_times_of_a_packet_are_those_of_the_line_at_the_instant_of_its_writing() {
        let written_ns = 12_000_000_000;
        // One second on, the offset is 1 us more, and the floor 2.
        assert_eq!(
            LINE.one_way_ns(written_ns, written_ns + 6_000),
            Some(10_000)
        );
        let queueing = |read_ns| LINE.queueing_ns(written_ns, read_ns).unwrap();
        assert_eq!(queueing(written_ns + 6_000).ns, 8_000);
        let below = queueing(written_ns - 2_001);
        assert_eq!((below.ns, below.is_below), (0, true));
        assert!(!queueing(written_ns - 2_000).is_below);
        assert_eq!(LINE.one_way_ns(written_ns, written_ns - 5_000), Some(0));
    }

    #[test]
    fn a_packet_beyond_the_line_has_no_time() {
        for (written_ns, has_one) in [
            (LINE.from_ns - 1, false),
            (LINE.from_ns, true),
            (LINE.until_ns, true),
            (LINE.until_ns + 1, false),
        ] {
            assert_eq!(LINE.one_way_ns(written_ns, u64::MAX).is_some(), has_one);
            assert_eq!(LINE.queueing_ns(written_ns, u64::MAX).is_some(), has_one);
        }
        let without = ClockLine {
            floor: None,
            ..LINE
        };
        assert_eq!(without.queueing_ns(LINE.at_ns, LINE.at_ns), None);
    }

    proptest! {
        #[test]
        fn numbers_that_may_be_anything_are_no_panic(
            numbers: (u64, u64, u64, i64, i32, i64, i32), written_ns: u64, read_ns: u64,
        ) {
            let (from_ns, until_ns, at_ns, offset_ns, drift_ppb, floor_ns, floor_ppb) = numbers;
            let floor = Some(Floor { offset_ns: floor_ns, drift_ppb: floor_ppb });
            let line = ClockLine { from_ns, until_ns, at_ns, offset_ns, drift_ppb, floor };
            let one_way = line.one_way_ns(written_ns, read_ns);
            let queueing = line.queueing_ns(written_ns, read_ns);
            prop_assert_eq!(one_way.is_some(), queueing.is_some());
        }
    }
}
