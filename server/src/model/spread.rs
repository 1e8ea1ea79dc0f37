//! What is known of a spread, and until when a packet is in time: what the packet path and the
//! verdict share. Times are ns.

use metronome_proto::{limits::SPREAD_PROVED_NS, threshold::PPM};

/// A packet whose spread is understated was further above its client's least than this.
pub(crate) const UNDERSTATED_NS: u64 = 100_000_000;

/// A packet whose spread is not uncertain was above the least at most so much more than it shows.
pub(crate) const UNCERTAIN_NS: u64 = SPREAD_PROVED_NS;

/// The shortest time behind its last due time that a client has for its packets.
pub(crate) const IN_TIME_NS_MIN: u64 = 10_000_000;

/// Whether the quantile of so many millionths of `packets` spreads is not known: the uncertain ones
/// are more than a tenth of those that may lie beyond it.
pub(crate) fn is_uncertain(ppm: u32, uncertain: u64, packets: u64) -> bool {
    let beyond = u128::from(packets) * u128::from(PPM.saturating_sub(ppm));
    u128::from(uncertain) * 10 * u128::from(PPM) > beyond
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_packets_beyond_a_quantile_may_be_uncertain() {
        for (ppm, uncertain, expected) in [
            (999_000, 1, false),
            (999_000, 2, true),
            (500_000, 500, false),
            (500_000, 501, true),
            (PPM, 0, false),
            (PPM, 1, true),
        ] {
            assert_eq!(is_uncertain(ppm, uncertain, 10_000), expected, "{ppm}");
        }
    }
}
