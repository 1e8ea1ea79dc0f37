//! A distribution as the buckets in use: what one client has of it, read once at its end.
//!
//! Ten thousand clients may end at a time, and a [`Histogram`] has room for every bucket, while a
//! client has used few. Times are ns; quantiles are the same as the histogram's.
//!
//! [`Histogram`]: metronome_proto::histogram::Histogram

use metronome_proto::histogram::shown_ns;

/// The buckets in use, by rising index, each with its count.
#[derive(Debug)]
pub(super) struct SparseHistogram(Vec<(usize, u64)>);

impl SparseHistogram {
    /// Takes buckets by rising index; those without a count are left out.
    pub(super) fn new(counts: impl Iterator<Item = (usize, u64)>) -> Self {
        Self(counts.filter(|(_, count)| *count > 0).collect())
    }

    /// All values counted.
    pub(super) fn count(&self) -> u64 {
        let counts = self.0.iter();
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The value at a quantile of 0 to 1, as [`shown_ns`] gives it. 0 when nothing was counted.
    pub(super) fn quantile_ns(&self, quantile: f64) -> u64 {
        let wanted = ((quantile * self.count() as f64).ceil() as u64).max(1);
        let mut sum = 0_u64;
        let reaches = |(_, count): &&(usize, u64)| {
            sum = sum.saturating_add(*count);
            sum >= wanted
        };
        // A damaged ledger's sum may be larger than what a float can count: then it is the last.
        let found = self.0.iter().find(reaches).or(self.0.last());
        found.map_or(0, |(bucket, _)| shown_ns(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn its_figures_are_those_of_the_histogram_with_the_same_values(
            values_ns in prop::collection::vec(prop_oneof![0..5_000_u64, any::<u64>()], 0..300),
            quantile in 0.0001..=1.0,
        ) {
            let mut histogram = Histogram::default();
            values_ns.iter().for_each(|value_ns| histogram.record(*value_ns));
            let counts = histogram.counts().map(|(bucket, _, count)| (bucket, count));
            let sparse = SparseHistogram::new(counts);
            prop_assert_eq!(sparse.count(), histogram.count());
            for quantile in [quantile, 0.99, 0.999, 1.0] {
                prop_assert_eq!(sparse.quantile_ns(quantile), histogram.quantile_ns(quantile));
            }
        }

        #[test]
        fn no_counts_of_a_damaged_ledger_make_a_panic(counts: Vec<u64>, quantile in 0.0..=1.0) {
            let sparse = SparseHistogram::new(counts.into_iter().enumerate());
            let _ = sparse.quantile_ns(quantile);
        }
    }
}
