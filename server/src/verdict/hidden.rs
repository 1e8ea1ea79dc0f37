//! What the spreads of a run do not show: packets that were further above the least than their
//! spread shows, and packets that have no spread, since there was nothing to compare them with.
//! The table of a report and the objectives take it from here.

use metronome_proto::threshold::PPM;

use super::rows::{Row, total};

/// Packets whose spread is not what it was. That of every packet may be as much as
/// [`UNCERTAIN_NS`](crate::model::UNCERTAIN_NS) less than it was besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hidden {
    /// All packets that were received after the warm-up, with a spread or without.
    pub(super) received: u64,
    /// Packets above [`UNDERSTATED_NS`](crate::model::UNDERSTATED_NS) whose spread does not show
    /// it, as the workers found.
    pub(super) understated_by_workers: u64,
    /// The same with all packets of clients that were held up as a whole, some of which may show
    /// it.
    pub(super) understated_at_most: u64,
    /// Packets whose spread may be less than it was by any time.
    pub(super) uncertain: u64,
    /// Packets without a spread that nothing was compared with.
    pub(super) unmeasured: u64,
}

impl Hidden {
    /// What the spreads of these clients do not show.
    pub(super) fn of(rows: &[Row<'_>]) -> Self {
        let sum = |figure: fn(&Row<'_>) -> Option<u64>| {
            u64::try_from(total(rows, figure)).unwrap_or(u64::MAX)
        };
        Self {
            received: sum(|row| row.measured_received()),
            understated_by_workers: sum(|row| row.counted?.counts.spread_understated),
            understated_at_most: sum(|row| row.receiver?.spread_understated),
            uncertain: sum(|row| row.receiver?.spread_uncertain),
            unmeasured: sum(|row| row.unmeasured()),
        }
    }

    /// Packets that may have been above any limit, whatever their spread shows.
    pub(super) fn anywhere(&self) -> u64 {
        self.uncertain.saturating_add(self.unmeasured)
    }

    /// Whether the quantile of so many millionths is known: those that may have been anywhere are
    /// at most a tenth of the packets that may lie beyond it.
    pub(super) fn shows(&self, ppm: u32) -> bool {
        let beyond = u128::from(self.received) * u128::from(PPM.saturating_sub(ppm));
        u128::from(self.anywhere()) * 10 * u128::from(PPM) <= beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{
        rows::pair,
        samples::{PACKETS, Sample, set_timed},
    };

    #[test]
    fn a_tenth_of_the_packets_beyond_a_quantile_may_have_been_anywhere() {
        for (ppm, anywhere, expected) in [
            (999_000, 1, true),
            (999_000, 2, false),
            (500_000, 500, true),
            (500_000, 501, false),
            (PPM, 0, true),
            (PPM, 1, false),
        ] {
            for uncertain in [0, 1, anywhere] {
                let uncertain = uncertain.min(anywhere);
                let hidden = Hidden {
                    received: 10_000,
                    uncertain,
                    unmeasured: anywhere - uncertain,
                    ..Hidden::default()
                };
                assert_eq!(hidden.shows(ppm), expected, "{ppm} {hidden:?}");
            }
        }
    }

    #[test]
    fn a_packet_without_a_spread_is_measured_where_it_is_the_first_of_several_alone() {
        for (received, with_spread, unmeasured) in [
            (0, 0, 0),
            (1, 0, 1),
            (2, 1, 0),
            (2, 0, 2),
            (PACKETS, PACKETS - 1, 0),
            (PACKETS, PACKETS - 2, 2),
        ] {
            let mut sample = Sample::of(1, 1);
            sample.counted(0, |counted| {
                counted.counts.received = received;
                set_timed(counted, [received, received, received, with_spread]);
            });
            let evidence = sample.evidence();
            let found = Hidden::of(&pair(&evidence)).unmeasured;
            assert_eq!(found, unmeasured, "{with_spread} of {received}");
        }
        let mut sample = Sample::of(1, 1);
        sample.flood();
        let evidence = sample.evidence();
        assert_eq!(Hidden::of(&pair(&evidence)).unmeasured, 0);
    }
}
