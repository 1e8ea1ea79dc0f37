//! The bounds of the buckets that all distributions are exported in.

/// Upper bounds of the buckets, ns: 1, 2, 5 in each decade from 1 µs to 10 s. A time within 1 %
/// above a bound may count below it, which is the resolution of the ledger.
pub(super) const BOUNDS_NS: [u64; 22] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The same, seconds.
pub(crate) fn bounds_s() -> impl Iterator<Item = f64> {
    BOUNDS_NS.iter().map(|bound_ns| *bound_ns as f64 / 1e9)
}

/// The bucket that a time lies in, by its exact value; the last one has no bound.
pub(super) fn index_of(time_ns: u64) -> usize {
    BOUNDS_NS.partition_point(|bound_ns| *bound_ns < time_ns)
}
