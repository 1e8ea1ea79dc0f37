//! The one layout of every distribution of times: log-linear, mergeable exactly.
//!
//! Values are nanoseconds. Up to 2 µs the buckets are 8 ns wide; from there each octave has 128
//! of them, so a value is known within 1/128 (< 1 %) from 1 µs to 68 s. It is index by index the
//! layout of an HdrHistogram with lowest 8, highest 2^36 − 1 and 2 significant figures
//! (<http://hdrhistogram.org>), so percentiles and the V2 record come from that library, while a
//! worker's record in shared memory needs no more than [`bucket`].

use hdrhistogram::{
    Histogram as Hdr,
    serialization::{Serializer as _, V2DeflateSerializer},
};

use serde::{Deserialize, Serialize};

use crate::{threshold::PPM, v1};

/// Buckets of one histogram.
pub const BUCKETS: usize = 3456;

/// Longest time that has a bucket of its own, ns: 68.7 s. A longer one counts as this and as
/// saturated.
pub const VALUE_NS_MAX: u64 = (1 << 36) - 1;

/// Most that a bucket counts for in percentiles and records: seven years of 10 million packets a
/// second. A broken worker may have put more into the ledger, and the library's sums would
/// overflow.
const BUCKET_COUNT_MAX: u64 = 1 << 51;

const _: () = assert!(
    BUCKETS as u64 * BUCKET_COUNT_MAX < i64::MAX as u64,
    "the sum of all fits a V2 record"
);

/// The quantiles that the API gives, in millionths: p50, p90, p99, p99.9, p99.99.
pub const QUANTILES_PPM: [u32; 5] = [500_000, 900_000, 990_000, 999_000, 999_900];

/// Values that lie beyond a quantile that is known: fewer are chance.
const BEYOND_MIN: u128 = 10;

const UNIT_BITS: u32 = 3;
const HALF_BITS: u32 = 7;
const SIGNIFICANT_FIGURES: u8 = 2;

/// The bucket of a time: 0 to [`BUCKETS`] − 1 for every `u64`.
#[inline]
#[must_use]
pub fn bucket(value_ns: u64) -> usize {
    let units = value_ns.min(VALUE_NS_MAX) >> UNIT_BITS;
    let magnitude = 63 - (units | 0xFF).leading_zeros();
    let shift = magnitude - HALF_BITS;
    // Below 256 units the shift is 0 and the index is the number of units itself.
    ((shift as usize) << HALF_BITS) + (units >> shift) as usize
}

/// The lowest time that falls into a bucket, ns.
#[must_use]
pub fn bucket_floor_ns(index: usize) -> u64 {
    // Within the first two halves the shift is 0, as it is in `bucket`.
    let shift = (index >> HALF_BITS).saturating_sub(1);
    ((index - (shift << HALF_BITS)) as u64) << shift << UNIT_BITS
}

/// The longest time that falls into a bucket, ns; that of the last one is the longest of all.
#[must_use]
pub fn bucket_top_ns(index: usize) -> u64 {
    bucket_floor_ns(index + 1) - 1
}

/// What stands for the times of a bucket where one is shown, ns: the longest of them, but 0 for the
/// first bucket, which stands for times within 8 ns. Most of these are 0.
#[must_use]
pub fn shown_ns(index: usize) -> u64 {
    if index == 0 { 0 } else { bucket_top_ns(index) }
}

/// How many of `count` values may be longer than the quantile of so many millionths: 1 to 10^6.
#[must_use]
pub fn beyond(ppm: u32, count: u64) -> u64 {
    let share = u128::from(PPM.saturating_sub(ppm));
    let beyond = u128::from(count) * share / u128::from(PPM);
    u64::try_from(beyond).unwrap_or(u64::MAX)
}

/// Whether `count` values are enough to know the quantile of so many millionths: 10 of them lie
/// beyond it. The maximum is that of any number.
#[must_use]
pub fn is_known(ppm: u32, count: u64) -> bool {
    ppm >= PPM || u128::from(count) * u128::from(PPM - ppm) >= BEYOND_MIN * u128::from(PPM)
}

/// The least number of values that is enough to know a quantile below the maximum.
#[must_use]
pub fn count_min(ppm: u32) -> u64 {
    let share = u128::from(PPM.saturating_sub(ppm).max(1));
    (BEYOND_MIN * u128::from(PPM)).div_ceil(share) as u64
}

/// Counts per bucket, and how many values were too long for a bucket. Between processes it goes as
/// its buckets in use; one that does not exist is ignored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Vec<(u32, u64)>", into = "Vec<(u32, u64)>")]
pub struct Histogram {
    counts: Box<[u64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into_boxed_slice(),
        }
    }
}

impl From<Vec<(u32, u64)>> for Histogram {
    fn from(counts: Vec<(u32, u64)>) -> Self {
        let mut histogram = Self::default();
        counts
            .into_iter()
            .for_each(|(index, count)| histogram.add_count(index as usize, count));
        histogram
    }
}

impl From<Histogram> for Vec<(u32, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram
            .counts()
            .map(|(index, _, count)| (index as u32, count))
            .collect()
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, value_ns: u64) {
        self.counts[bucket(value_ns)] += 1;
    }

    /// Adds `count` to one bucket; an index that does not exist is ignored.
    pub fn add_count(&mut self, index: usize, count: u64) {
        if let Some(sum) = self.counts.get_mut(index) {
            *sum = sum.saturating_add(count);
        }
    }

    /// The buckets in use: the index of each, the time in its middle, ns, and its count.
    pub fn counts(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        let in_use = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        in_use.map(|(index, &count)| {
            (
                index,
                u64::midpoint(bucket_floor_ns(index), bucket_floor_ns(index + 1)),
                count,
            )
        })
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Raises each bucket to what `other` has, where that is more.
    pub fn raise_to(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count = (*count).max(*other);
        }
    }

    /// What was counted since `earlier`, of each bucket at least 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut more = Self::default();
        let counts = self.counts.iter().zip(&earlier.counts);
        for (more, (now, then)) in more.counts.iter_mut().zip(counts) {
            *more = now.saturating_sub(*then);
        }
        more
    }

    /// All values counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Values in the top bucket, which stands for everything from 68 s on.
    #[must_use]
    pub fn saturated(&self) -> u64 {
        self.counts[BUCKETS - 1]
    }

    /// Values in the buckets from `index` on.
    #[must_use]
    pub fn count_from(&self, index: usize) -> u64 {
        let above = self.counts.iter().skip(index);
        above.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The lowest bucket above which at most `beyond` values lie: that of the quantile which
    /// [`beyond`] gives them for. `None` when there are no more than that.
    #[must_use]
    pub fn bucket_below(&self, beyond: u64) -> Option<usize> {
        let mut above: u64 = 0;
        (0..BUCKETS).rev().find(|index| {
            above = above.saturating_add(self.counts[*index]);
            above > beyond
        })
    }

    /// The value at a quantile of 0 to 1, as [`shown_ns`] gives it. 0 when nothing was counted.
    #[must_use]
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        shown_ns(bucket(self.to_hdr().value_at_quantile(quantile)))
    }

    /// The form in which an agent reports it.
    #[must_use]
    pub fn to_buckets(&self) -> v1::Buckets {
        let in_use = self.counts().map(|(index, _, count)| (index as u32, count));
        let (indices, counts) = in_use.unzip();
        v1::Buckets { indices, counts }
    }

    /// A histogram as an agent has reported it. `None` for what is none: lists of different
    /// lengths, indices that do not rise or do not exist, counts of 0, or more than 2^64 − 1 in
    /// all.
    #[must_use]
    pub fn from_buckets(buckets: &v1::Buckets) -> Option<Self> {
        let v1::Buckets { indices, counts } = buckets;
        let rises = indices.is_sorted_by(|one, next| one < next);
        let exists = indices.last().is_none_or(|last| (*last as usize) < BUCKETS);
        let all = counts
            .iter()
            .try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if indices.len() != counts.len() || !rises || !exists || counts.contains(&0) {
            return None;
        }
        all?;
        let mut histogram = Self::default();
        for (index, count) in indices.iter().zip(counts) {
            histogram.add_count(*index as usize, *count);
        }
        Some(histogram)
    }

    /// The form of the API; `None` without a value. A quantile that so few values do not give is
    /// left out. `with_record` adds the V2 record. How many are missing is the caller's to add.
    #[must_use]
    pub fn distribution(&self, with_record: bool) -> Option<v1::Distribution> {
        let count = self.count();
        let (max, min) = (self.bucket_below(0)?, self.bucket_below(count - 1)?);
        let hdr = self.to_hdr();
        let quantile = |ppm: u32| {
            let bucket = self.bucket_below(beyond(ppm, count))?;
            let ns = signed(shown_ns(bucket));
            is_known(ppm, count).then_some(v1::Quantile { ppm, ns })
        };
        Some(v1::Distribution {
            count,
            quantiles: QUANTILES_PPM.into_iter().filter_map(quantile).collect(),
            min_ns: signed(bucket_floor_ns(min)),
            max_ns: signed(shown_ns(max)),
            mean_ns: hdr.mean(),
            saturated: self.saturated(),
            missing: None,
            hdr_v2_deflated: if with_record {
                record_v2_deflated(&hdr)
            } else {
                Vec::new()
            },
            bound_ns: None,
            bound_is_claimed: false,
        })
    }

    /// The same counts in the library's type.
    #[must_use]
    pub fn to_hdr(&self) -> Hdr<u64> {
        let mut hdr = Hdr::new_with_bounds(1 << UNIT_BITS, VALUE_NS_MAX, SIGNIFICANT_FIGURES)
            .expect("the bounds are constants that the library accepts");
        for (index, &count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            hdr.saturating_record_n(bucket_floor_ns(index), count.min(BUCKET_COUNT_MAX));
        }
        hdr
    }
}

fn record_v2_deflated(hdr: &Hdr<u64>) -> Vec<u8> {
    let mut record = Vec::new();
    V2DeflateSerializer::new()
        .serialize(hdr, &mut record)
        .expect("writing to memory cannot fail");
    record
}

/// Times in the API are signed; none of ours is that long.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spans_of_time() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..4096_u64,
            0..VALUE_NS_MAX,
            any::<u64>(),
            (0..64_u32).prop_map(|bit| 1 << bit)
        ]
    }

    proptest! {
        #[test]
        fn every_value_has_a_bucket_and_lies_in_it(value in spans_of_time()) {
            let index = bucket(value);
            prop_assert!(index < BUCKETS);
            let known = value.min(VALUE_NS_MAX);
            prop_assert!(bucket_floor_ns(index) <= known);
            if index + 1 < BUCKETS {
                prop_assert!(known < bucket_floor_ns(index + 1));
            }
            prop_assert!(known <= bucket_top_ns(index));
            prop_assert_eq!(bucket(bucket_top_ns(index)), index);
            prop_assert_eq!(shown_ns(index), if index == 0 { 0 } else { bucket_top_ns(index) });
        }

        #[test]
        fn a_histogram_goes_between_processes_as_it_is(
            values in prop::collection::vec(spans_of_time(), 0..50),
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            let in_use = Vec::from(histogram.clone());
            prop_assert_eq!(in_use.iter().map(|(_, count)| count).sum::<u64>(), histogram.count());
            prop_assert!(in_use.iter().all(|(_, count)| *count > 0));
            prop_assert_eq!(Histogram::from(in_use), histogram.clone());
            let reported = histogram.to_buckets();
            prop_assert_eq!(Histogram::from_buckets(&reported), Some(histogram));
        }

        #[test]
        fn the_middle_of_a_bucket_lies_in_it(value in spans_of_time()) {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let counts: Vec<_> = histogram.counts().collect();
            let [(index, middle_ns, 1)] = counts[..] else {
                return Err(TestCaseError::fail(format!("{counts:?}")));
            };
            prop_assert_eq!(index, bucket(value));
            let below_ns = middle_ns - bucket_floor_ns(index);
            prop_assert!(bucket_top_ns(index).abs_diff(middle_ns + below_ns) <= 1);
        }

        #[test]
        fn buckets_are_narrower_than_one_percent_from_a_microsecond_on(
            index in bucket(1_000)..BUCKETS - 1,
        ) {
            let (low, high) = (bucket_floor_ns(index), bucket_floor_ns(index + 1));
            prop_assert!((high - low) * 100 <= low, "{low}..{high}");
        }

        #[test]
        fn the_layout_is_the_librarys(values in prop::collection::vec(spans_of_time(), 1..50)) {
            let mut ours = Histogram::default();
            let mut theirs = Hdr::<u64>::new_with_bounds(8, VALUE_NS_MAX, 2).unwrap();
            // The library remembers whether the longest of all was 0 or 1 to 7 ns; a bucket cannot.
            for &value in values.iter().chain(&[8]) {
                ours.record(value);
                theirs.saturating_record(value.min(VALUE_NS_MAX));
            }
            prop_assert_eq!(ours.to_hdr(), theirs);
        }

        #[test]
        fn a_quantile_is_the_top_of_the_bucket_of_the_value_at_its_rank(
            mut values in prop::collection::vec(0..VALUE_NS_MAX, 1..300),
            ppm in 1..=PPM,
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            let count = values.len() as u64;
            let at = values[(count - 1 - beyond(ppm, count)) as usize];
            prop_assert_eq!(histogram.bucket_below(beyond(ppm, count)), Some(bucket(at)));
            prop_assert!(bucket_floor_ns(bucket(at)) <= at && at <= bucket_top_ns(bucket(at)));
            let longer = values.iter().filter(|value| bucket(**value) > bucket(at)).count();
            prop_assert_eq!(histogram.count_from(bucket(at) + 1), longer as u64);
            prop_assert!(longer as u64 <= beyond(ppm, count));
            let distribution = histogram.distribution(false).unwrap();
            prop_assert!(distribution.quantiles.is_sorted_by_key(|of| (of.ppm, of.ns)));
            prop_assert!(distribution.quantiles.iter().all(|of| of.ns <= distribution.max_ns));
            let (min_ns, max_ns) = (distribution.min_ns as u64, distribution.max_ns as u64);
            prop_assert_eq!(min_ns, bucket_floor_ns(bucket(values[0])));
            prop_assert_eq!(max_ns, shown_ns(bucket(values[values.len() - 1])));
            prop_assert_eq!(histogram.quantile_ns(1.0), max_ns);
            let in_top = values.iter().filter(|value| bucket(**value) == BUCKETS - 1).count();
            prop_assert_eq!(histogram.saturated(), in_top as u64);
            for ppm in QUANTILES_PPM {
                let is_shown = distribution.quantiles.iter().any(|of| of.ppm == ppm);
                prop_assert_eq!(is_shown, beyond(ppm, count) >= 10);
                prop_assert_eq!(is_shown, count >= count_min(ppm));
            }
        }

        #[test]
        fn merging_loses_nothing(
            a in prop::collection::vec(spans_of_time(), 0..50),
            b in prop::collection::vec(spans_of_time(), 0..50),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|&value| histogram.record(value));
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }

    #[test]
    fn what_is_no_list_of_buckets_is_no_histogram() {
        let of = |indices: &[u32], counts: &[u64]| {
            let (indices, counts) = (indices.to_vec(), counts.to_vec());
            Histogram::from_buckets(&v1::Buckets { indices, counts })
        };
        let last = BUCKETS as u32 - 1;
        assert_eq!(of(&[], &[]), Some(Histogram::default()));
        assert!(of(&[3, last], &[1, u64::MAX - 1]).is_some());
        for (indices, counts) in [
            (&[3][..], &[][..]),
            (&[3, 3], &[1, 1]),
            (&[4, 3], &[1, 1]),
            (&[last + 1], &[1]),
            (&[3], &[0]),
            (&[3, 4], &[1, u64::MAX]),
        ] {
            assert_eq!(of(indices, counts), None, "{indices:?} {counts:?}");
        }
    }

    #[test]
    fn counts_that_no_worker_can_have_counted_saturate_and_never_panic() {
        let mut histogram = Histogram::default();
        (0..BUCKETS).for_each(|index| histogram.add_count(index, u64::MAX));
        let distribution = histogram.distribution(true).unwrap();
        assert_eq!(distribution.count, u64::MAX);
        assert!(!distribution.hdr_v2_deflated.is_empty());
    }

    #[test]
    fn the_record_is_one_that_the_library_reads_back() {
        let mut histogram = Histogram::default();
        for value in [0, 999, 1_000, 55_555, 10_u64.pow(9), u64::MAX] {
            histogram.record(value);
        }
        let distribution = histogram.distribution(true).unwrap();
        let read: Hdr<u64> = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut distribution.hdr_v2_deflated.as_slice())
            .unwrap();
        assert_eq!(read, histogram.to_hdr());
        assert_eq!((distribution.count, distribution.saturated), (6, 1));
        histogram.record(VALUE_NS_MAX + 1);
        assert_eq!(histogram.saturated(), 2);
        assert_eq!(distribution.quantiles, [], "six values give no quantile");
    }

    #[test]
    fn a_quantile_needs_ten_values_beyond_it_and_is_at_most_the_maximum() {
        for (count, known) in [
            (19, &[][..]),
            (20, &[500_000]),
            (999, &[500_000, 900_000]),
            (1_000, &[500_000, 900_000, 990_000]),
            (9_999, &[500_000, 900_000, 990_000]),
            (10_000, &[500_000, 900_000, 990_000, 999_000]),
            (100_000, &QUANTILES_PPM),
        ] {
            let mut histogram = Histogram::default();
            histogram.add_count(0, count);
            let distribution = histogram.distribution(false).unwrap();
            let quantiles = distribution.quantiles.iter();
            let (ppms, times): (Vec<_>, Vec<_>) = quantiles.map(|of| (of.ppm, of.ns)).unzip();
            assert_eq!(ppms, known, "{count}");
            // All are 0 to 7 ns.
            assert!(times.iter().all(|ns| *ns == 0));
            assert_eq!((distribution.min_ns, distribution.max_ns), (0, 0));
            assert_eq!(histogram.quantile_ns(0.5), 0);
        }
        assert_eq!(
            QUANTILES_PPM.map(count_min),
            [20, 100, 1_000, 10_000, 100_000]
        );
    }

    #[test]
    fn an_empty_histogram_is_no_distribution() {
        assert_eq!(Histogram::default().distribution(true), None);
    }
}
