//! A distribution as monitoring systems take it: the ledger's histogram in few buckets.

use metronome_proto::histogram::{Histogram, bucket};

use super::{bounds::BOUNDS_NS, exemplar::Exemplars};

/// A distribution of times.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Buckets {
    /// Times in each bucket alone, the last one those above every bound.
    pub(crate) counts: Vec<u64>,
    /// Within 1 %.
    pub(crate) sum_s: f64,
    pub(crate) count: u64,
    /// Values that have a trace, by bucket.
    pub(crate) exemplars: Exemplars,
}

impl Buckets {
    /// With values that have a trace.
    pub(crate) fn with_exemplars(self, exemplars: Exemplars) -> Self {
        Self { exemplars, ..self }
    }
}

impl From<&Histogram> for Buckets {
    fn from(histogram: &Histogram) -> Self {
        let mut counts = vec![0_u64; BOUNDS_NS.len() + 1];
        let mut sum_s = 0.0;
        let tops = BOUNDS_NS.map(bucket);
        let mut counted = 0_u64;
        for (index, middle_ns, count) in histogram.counts() {
            let position = tops.partition_point(|top| *top < index);
            // A damaged ledger may hold more than can be counted. The forms of metrics add the
            // buckets up, so what is beyond 2^64 - 1 in sum is left out of them.
            let count = count.min(u64::MAX - counted);
            counted += count;
            counts[position] += count;
            sum_s += middle_ns as f64 / 1e9 * count as f64;
        }
        Self {
            counts,
            sum_s,
            count: counted,
            exemplars: Exemplars::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_buckets_of_a_damaged_ledger_can_still_be_added_up() {
        let mut histogram = Histogram::default();
        for time_ns in [1, 1_000_000, 1_000_000_000] {
            histogram.add_count(bucket(time_ns), u64::MAX - 7);
        }
        let buckets = Buckets::from(&histogram);
        let sum = buckets
            .counts
            .iter()
            .try_fold(0, |sum: u64, count| sum.checked_add(*count));
        assert_eq!((sum, buckets.count), (Some(u64::MAX), u64::MAX));
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_bucket_whose_bound_it_keeps_to_within_a_percent(
            values in prop::collection::vec(0..20_000_000_000_u64, 1..50),
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.record(*value));
            let buckets = Buckets::from(&histogram);
            prop_assert_eq!(buckets.count, values.len() as u64);
            prop_assert_eq!(buckets.counts.iter().sum::<u64>(), buckets.count);
            for (index, bound_ns) in BOUNDS_NS.iter().enumerate() {
                let counted: u64 = buckets.counts[..=index].iter().sum();
                let surely = values.iter().filter(|value| **value <= *bound_ns).count() as u64;
                let perhaps = values
                    .iter()
                    .filter(|value| **value as f64 <= *bound_ns as f64 * 1.01)
                    .count() as u64;
                prop_assert!(
                    (surely..=perhaps).contains(&counted),
                    "{surely} {counted} {perhaps} up to {bound_ns}"
                );
            }
            let sum_s = values.iter().sum::<u64>() as f64 / 1e9;
            prop_assert!(
                (buckets.sum_s - sum_s).abs() <= sum_s * 0.01 + 1e-8 * values.len() as f64
            );
        }
    }
}
