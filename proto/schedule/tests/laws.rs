//! Random arrivals keep the laws of an exponential distribution, and those of one client depend on
//! those of no other.
//!
//! Each test has fixed seeds, so its result is always the same. The bounds are those of a test that
//! would refuse good gaps in less than 1 of 100 cases.

use std::collections::HashSet;

use super::*;

const GAPS: usize = 1_000_000;

/// Gaps of due times, ns: from one packet of a client to the next.
fn gaps(seed: u64, client: u32, rate_millihertz: u64, number: usize) -> Vec<u64> {
    let load = Load {
        profile: Profile::Poisson { rate_millihertz },
        duration: Duration::from_secs(24 * 60 * 60),
        batch: 1,
        seed,
    };
    let schedule = load.schedule(0, client).unwrap();
    let (mut cursor, mut last_ns) = (schedule.first(), 0);
    let mut gaps = Vec::with_capacity(number);
    for _ in 0..number {
        gaps.push(cursor.due_ns() - last_ns);
        last_ns = cursor.due_ns();
        cursor.advance(&schedule);
    }
    assert!(!cursor.is_over(&schedule), "all within the duration");
    gaps
}

/// The seeds, clients and rates whose gaps are judged.
const JUDGED: [(u64, u32, u64); 3] = [
    (1, 0, 100_000_000),
    (42, 7, 10_000_000),
    (crate::limits::SEED_MAX, 9_999, 1_000_000),
];

#[test]
fn a_million_gaps_pass_the_test_of_kolmogorov_and_smirnov_at_1_percent() {
    for (seed, client, rate_millihertz) in JUDGED {
        let mut gaps = gaps(seed, client, rate_millihertz, GAPS);
        gaps.sort_unstable();
        let distance = distance(&gaps, rate_millihertz as f64 / 1e12);
        // The 99 % quantile of the distribution of the distance, for many gaps.
        let allowed = 1.628 / (GAPS as f64).sqrt();
        assert!(distance < allowed, "{distance} of {seed}, {client}");
        // The test can refuse: gaps of a rate that is 0.5 % higher do not pass.
        let of_another = self::distance(&gaps, rate_millihertz as f64 * 1.005 / 1e12);
        assert!(of_another > allowed, "{of_another}");
    }
}

/// The greatest distance between the distribution of sorted gaps and that of the law.
fn distance(sorted: &[u64], rate_per_ns: f64) -> f64 {
    let number = sorted.len() as f64;
    let distances = sorted.iter().enumerate().map(|(index, gap_ns)| {
        // A gap is rounded down: its middle is half a ns later.
        let law = 1.0 - (-rate_per_ns * (*gap_ns as f64 + 0.5)).exp();
        let (below, above) = (index as f64 / number, (index + 1) as f64 / number);
        (law - below).abs().max((law - above).abs())
    });
    distances.fold(0.0, f64::max)
}

#[test]
fn the_mean_and_the_variance_are_those_of_the_law() {
    for (seed, client, rate_millihertz) in JUDGED {
        let mean_ns = 1e12 / rate_millihertz as f64;
        let gaps = gaps(seed, client, rate_millihertz, GAPS);
        let units: Vec<f64> = gaps
            .iter()
            .map(|gap| (*gap as f64 + 0.5) / mean_ns)
            .collect();
        let mean = units.iter().sum::<f64>() / GAPS as f64;
        let variance = units.iter().map(|unit| (unit - mean).powi(2)).sum::<f64>() / GAPS as f64;
        // 2.6 standard errors: 1 / sqrt(n) of the mean, sqrt(8 / n) of the variance.
        let error = 2.6 / (GAPS as f64).sqrt();
        assert!((mean - 1.0).abs() < error, "{mean} of {seed}, {client}");
        assert!(
            (variance - 1.0).abs() < error * 8_f64.sqrt(),
            "{variance} of {seed}, {client}"
        );
    }
}

#[test]
fn no_two_clients_and_no_two_seeds_share_their_gaps() {
    // So long that two different draws hardly ever make the same gap.
    let of = |seed, client| gaps(seed, client, 1, 8);
    let mut seen = HashSet::new();
    let pairs = (0..2_000).map(|client| (42, client));
    let pairs = pairs.chain((1_000..2_000).map(|seed| (seed, 7)));
    // The words of a key: none stands for another.
    let pairs = pairs.chain([(7, 42), (42 << 32, 7), (7 << 32 | 42, 0), (42 | 1 << 40, 7)]);
    for (seed, client) in pairs {
        for gap in of(seed, client) {
            assert!(
                seen.insert(gap),
                "{gap} of {seed}, {client} was seen before"
            );
        }
    }
}

#[test]
fn the_gaps_of_a_client_depend_neither_on_each_other_nor_on_those_of_the_next_client() {
    let mean_ns = 1e12 / 10_000_000_f64;
    let units = |seed, client| -> Vec<f64> {
        let gaps = gaps(seed, client, 10_000_000, GAPS);
        gaps.iter().map(|gap| *gap as f64 / mean_ns - 1.0).collect()
    };
    let (one, next, later) = (units(42, 7), units(42, 8), units(43, 7));
    let correlation = |left: &[f64], right: &[f64]| {
        let products = left.iter().zip(right).map(|(left, right)| left * right);
        products.sum::<f64>() / left.len() as f64
    };
    let error = 2.6 / (GAPS as f64).sqrt();
    for lag in [1, 2, 7, 8, 9, 16] {
        let own = correlation(&one[lag..], &one[..GAPS - lag]);
        assert!(own.abs() < error, "{own} at a lag of {lag}");
    }
    for (name, other) in [("client", next), ("seed", later)] {
        let common = correlation(&one, &other);
        assert!(common.abs() < error, "{common} with the next {name}");
    }
}
