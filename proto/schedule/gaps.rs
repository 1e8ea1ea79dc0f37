//! Random arrivals: each gap is drawn from the exponential distribution, and packet n is due at the
//! sum of the gaps 0 to n after the start.
//!
//! Gap n is floor(−ln(u) × 10^12 / rate) ns, where u in (0, 1] is made of the upper 53 bits of draw
//! n. Draw n is the n-th 64-bit word of ChaCha with 8 rounds, whose key is the seed and the
//! client's index in the run. The logarithm is that of `libm`, not of the host. So two hosts come
//! to the same ns, and any draw is found without those before it.

use std::{ops::RangeInclusive, time::Duration};

use chacha20::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::profile::NS_PER_1000_S;

/// Mean gaps that no gap is longer than: the longest is that of u = 2^-53, 53 × ln 2 = 36.74 mean
/// gaps, and it is rounded down.
const LONGEST_GAP_MEANS: f64 = 37.0;

/// Fewest and most packets of one client within `elapsed` after any of its packets or its start,
/// whatever the seed: mean ± (10 √mean + 100), where a draw beyond has a probability below 10^-20
/// (Chernoff: e^-50 at any mean), and never fewer than its longest gaps leave.
///
/// For the most the mean is raised by what the gaps lose as they are rounded down, less than a ns
/// each.
#[must_use]
pub fn arrivals_within(rate_millihertz: u64, elapsed: Duration) -> RangeInclusive<u64> {
    let mean = |seconds: f64| rate_millihertz as f64 / 1e3 * seconds;
    let margin = |mean: f64| 10.0 * mean.sqrt() + 100.0;
    let most = |seconds: f64| mean(seconds) + margin(mean(seconds));
    let seconds = elapsed.as_secs_f64();
    // So many gaps have lost at most so many ns. Twice the packets are more than they become.
    let lost_s = 2.0 * most(seconds) / 1e9;
    let mean = mean(seconds);
    let fewest = (mean - margin(mean)).max(mean / LONGEST_GAP_MEANS);
    fewest as u64..=most(seconds + lost_s) as u64
}

/// Draws that are made at once.
pub(super) const DRAWS: usize = 8;

/// Draws of one client, from a multiple of [`DRAWS`] on.
pub(super) type Drawn = [u64; DRAWS];

/// The gaps between the packets of one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gaps {
    seed: u64,
    client: u32,
    rate_millihertz: u64,
}

impl Gaps {
    pub(super) fn new(seed: u64, client: u32, rate_millihertz: u64) -> Self {
        Self {
            seed,
            client,
            rate_millihertz: rate_millihertz.max(1),
        }
    }

    /// The mean, ns.
    pub(super) fn mean_ns(&self) -> u64 {
        (NS_PER_1000_S as u64 / self.rate_millihertz).max(1)
    }

    /// The draws among which that of packet `n` is.
    pub(super) fn draws_of(&self, n: u64) -> Drawn {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..12].copy_from_slice(&self.client.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        // A draw is two 32-bit words.
        random.set_word_pos(2 * u128::from(n - n % DRAWS as u64));
        std::array::from_fn(|_| random.next_u64())
    }

    /// The gap before packet `n`, ns.
    pub(super) fn gap_ns(&self, n: u64, drawn: &Drawn) -> u64 {
        let draw = drawn[(n % DRAWS as u64) as usize];
        let u = ((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-libm::log(u) * NS_PER_1000_S as f64 / self.rate_millihertz as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_gap_is_longer_than_the_longest() {
        for rate_millihertz in [1, 7, 1_000_000, 333_333_333, 1_000_000_000] {
            let longest_ns = Gaps::new(1, 1, rate_millihertz).gap_ns(0, &[0; DRAWS]);
            let means = longest_ns as f64 * rate_millihertz as f64 / NS_PER_1000_S as f64;
            assert!((36.0..LONGEST_GAP_MEANS).contains(&means), "{means}");
        }
    }

    #[test]
    fn the_bounds_of_random_arrivals_are_near_their_mean_and_allow_for_rounding() {
        let second = Duration::from_secs(1);
        assert_eq!(arrivals_within(0, second), 0..=100);
        assert_eq!(arrivals_within(1_000, Duration::ZERO), 0..=100);
        assert_eq!(arrivals_within(1_000, 36 * second), 0..=196);
        // Less than the margin, but not nothing.
        assert_eq!(*arrivals_within(1_000, 75 * second).start(), 2);
        assert_eq!(*arrivals_within(1_000_000, 10 * second).start(), 8_900);
        // A day at 100 kHz: 8.64 × 10^9, and half a ns of each gap of 10 µs is lost.
        let bounds = arrivals_within(100_000_000, 86_400 * second);
        let rounded = 8_640_000_000_u64 + 8_640_000_000 / 20_000;
        assert!((8_639_000_000..8_640_000_000).contains(bounds.start()));
        assert!((rounded + 900_000..rounded + 3_000_000).contains(bounds.end()));
    }
}
