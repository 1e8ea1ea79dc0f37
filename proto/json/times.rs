//! Distributions of times, in microseconds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::values::{self, micros};
use crate::{histogram::QUANTILES_PPM, threshold::quantile_name, v1};

/// A distribution of times. Its percentiles are known within 1 % from 1 µs to 68 s.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    count: u64,
    percentiles: BTreeMap<String, Option<f64>>,
    min: f64,
    max: f64,
    mean: f64,
    saturated: u64,
    missing: Option<u64>,
    /// How far off each value of a time between clocks can be. Null for a time of one clock.
    bound: Option<f64>,
    /// `proved` or `claimed`, or `estimated` of a queueing. Null where there is no bound.
    bound_is: Option<&'static str>,
}

impl Times {
    /// Those whose bound is an estimate.
    pub(super) fn estimated(times: &v1::Distribution) -> Self {
        let known = Self::from(times);
        Self {
            bound_is: known.bound_is.map(|_| values::ESTIMATED),
            ..known
        }
    }
}

impl From<&v1::Distribution> for Times {
    fn from(times: &v1::Distribution) -> Self {
        let percentiles = quantiles(times).into_iter();
        Self {
            count: times.count,
            percentiles: percentiles
                .map(|(ppm, ns)| (quantile_name(ppm).replace('.', "_"), ns.map(micros)))
                .collect(),
            min: micros(times.min_ns),
            max: micros(times.max_ns),
            mean: times.mean_ns / 1e3,
            saturated: times.saturated,
            missing: times.missing,
            bound: times.bound_ns.map(micros),
            bound_is: times
                .bound_ns
                .map(|_| values::bound_is(times.bound_is_claimed)),
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

#[cfg(test)]
mod tests {
    use super::*;

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
