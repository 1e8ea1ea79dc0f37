//! How long to wait before the next try: 0.5 s, then 1.5 times as long each time, up to 2 s.
//!
//! Pure but for [`jitter`]: without it ten thousand clients that failed together would come back
//! together.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2);
const GROWTH: f64 = 1.5;

/// The wait after `failures` tries (from 1) have failed: between 3/4 and 5/4 of the nominal one, as
/// `jitter` of 0 to 1 has it.
pub(crate) fn wait_after(failures: u32, jitter: f64) -> Duration {
    let growths = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let nominal_s = (FIRST.as_secs_f64() * GROWTH.powi(growths)).min(LONGEST.as_secs_f64());
    Duration::from_secs_f64(nominal_s * (0.75 + jitter.clamp(0.0, 1.0) / 2.0))
}

/// A random number of 0 to 1.
pub(crate) fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(4) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.5,
    }
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
