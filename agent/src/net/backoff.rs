//! How long to wait before the next try: 0.5 s, then 1.5 times as long each time, up to 2 s.
//!
//! Pure. The caller brings the jitter, without which ten thousand clients that failed together
//! would come back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;

/// The wait after `failures` failed tries (from 1): 3/4 of the nominal one for a `jitter` of 0, up
/// to 5/4 for a `jitter` of 1. `jitter` is a random number.
pub(crate) fn wait_after(failures: u32, jitter: f64) -> Duration {
    let growths = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let nominal_s = (FIRST.as_secs_f64() * GROWTH.powi(growths)).min(LONGEST.as_secs_f64());
    Duration::from_secs_f64(nominal_s * (0.75 + jitter.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_wait_is_within_its_bounds(failures: u32, jitter in 0.0..=1.0_f64) {
            let wait = wait_after(failures, jitter);
            prop_assert!(wait >= FIRST.mul_f64(0.75) && wait <= LONGEST.mul_f64(1.25), "{wait:?}");
        }
    }

    #[test]
    fn waits_grow_by_half_up_to_two_seconds() {
        let waits_ms: Vec<u128> = (1..=6)
            .map(|failures| wait_after(failures, 0.5).as_millis())
            .collect();
        assert_eq!(waits_ms, [500, 750, 1125, 1687, 2000, 2000]);
    }
}
