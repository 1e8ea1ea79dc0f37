//! What is known of a spread, and until when a packet is in time: what the packet path and the
//! verdict share. Times are ns.

use metronome_proto::{limits::SPREAD_PROVED_NS, schedule::Schedule};

/// A packet whose spread is understated was further above its client's least than this.
pub(crate) const UNDERSTATED_NS: u64 = 100_000_000;

/// A packet whose spread is not uncertain was above the least at most so much more than it shows.
pub(crate) const UNCERTAIN_NS: u64 = SPREAD_PROVED_NS;

/// The shortest time behind its last due time that a client has for its packets.
const IN_TIME_NS_MIN: u64 = 10_000_000;

/// How long behind its last due time a client has for its packets: until the next one would be due,
/// where that is longer. A rate that changes was lower at another time, which allows nothing here.
pub(crate) fn allowance_ns(schedule: &Schedule) -> u64 {
    schedule.last_gap_ns().max(IN_TIME_NS_MIN)
}
