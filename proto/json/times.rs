//! Distributions of times, in microseconds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::micros;
use crate::{histogram::QUANTILES_PPM, v1};

/// A distribution of times. Its percentiles are known within 1 % from 1 µs to 68 s.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    count: u64,
    percentiles: BTreeMap<String, Option<f64>>,
    min: f64,
    max: f64,
    mean: f64,
    saturated: u64,
}

impl From<&v1::Distribution> for Times {
    fn from(times: &v1::Distribution) -> Self {
        let percentiles = quantiles(times).into_iter();
        Self {
            count: times.count,
            percentiles: percentiles
                .map(|(ppm, ns)| (percentile(ppm, '_'), ns.map(micros)))
                .collect(),
            min: micros(times.min_ns),
            max: micros(times.max_ns),
            mean: times.mean_ns / 1e3,
            saturated: times.saturated,
        }
    }
}

/// The quantiles of a distribution by millionths, ns: those that it has, and those of this version
/// that it does not have, which are not known.
#[must_use]
pub fn quantiles(times: &v1::Distribution) -> BTreeMap<u32, Option<i64>> {
    let expected = QUANTILES_PPM.map(|ppm| (ppm, None)).into_iter();
    let known = times.quantiles.iter();
    expected
        .chain(known.map(|quantile| (quantile.ppm, Some(quantile.ns))))
        .collect()
}

/// One quantile of a distribution, ns. `None` where it is not known.
#[must_use]
pub fn quantile_ns(times: &v1::Distribution, ppm: u32) -> Option<i64> {
    quantiles(times).get(&ppm).copied().flatten()
}

/// The name of a quantile: 999000 ppm are `p99_9` with `_` for the point.
#[must_use]
pub fn percentile(ppm: u32, point: char) -> String {
    let (whole, fraction) = (ppm / 10_000, ppm % 10_000);
    if fraction == 0 {
        return format!("p{whole}");
    }
    let fraction = format!("{fraction:04}");
    format!("p{whole}{point}{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_has_the_name_of_its_percentile() {
        let names = QUANTILES_PPM.map(|ppm| percentile(ppm, '_'));
        assert_eq!(names, ["p50", "p90", "p99", "p99_9", "p99_99"]);
        assert_eq!(percentile(999_900, '.'), "p99.99");
        assert_eq!(percentile(50_000, '.'), "p5");
        assert_eq!(percentile(1, '.'), "p0.0001");
    }

    #[test]
    fn a_quantile_that_is_left_out_is_not_known_and_one_more_is_kept() {
        let quantile = |ppm, ns| v1::Quantile { ppm, ns };
        let times = v1::Distribution {
            quantiles: vec![quantile(500_000, 4_100), quantile(999_990, 7)],
            ..v1::Distribution::default()
        };
        assert_eq!(quantile_ns(&times, 500_000), Some(4_100));
        assert_eq!(quantile_ns(&times, 999_000), None);
        assert_eq!(quantile_ns(&times, 999_990), Some(7));
        assert_eq!(quantiles(&times).len(), QUANTILES_PPM.len() + 1);
    }
}
