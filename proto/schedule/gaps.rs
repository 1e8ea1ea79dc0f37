//! Random arrivals: each gap is drawn from the exponential distribution, and packet n is due at the
//! sum of the gaps 0 to n after the start.
//!
//! Gap n is floor(−ln(u) × 10^12 / rate) ns, where u in (0, 1] is made of the upper 53 bits of draw
//! n. Draw n is the n-th 64-bit word of ChaCha with 8 rounds, whose key is the seed and the
//! client's index in the run. The logarithm is that of `libm`, not of the host. So two hosts come
//! to the same ns, and any draw is found without those before it.

use chacha20::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::profile::NS_PER_1000_S;

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
