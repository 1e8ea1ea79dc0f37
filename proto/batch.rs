//! Packets per write, as a flag has it: a number of them, or writes per second as in 200/s. Pure.

use std::str::FromStr;

use crate::{
    limits::{BATCH_MAX, RATE_MILLIHERTZ_MAX},
    profile::Profile,
};

/// Millihertz of 1/s.
const HERTZ: u64 = 1_000;

/// Packets per write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Batch {
    /// 1 to [`BATCH_MAX`].
    Packets(u32),
    /// Writes per second of each client, 1 to the greatest rate: as many packets a write as make
    /// the rate, rounded down, at least one.
    WritesPerSecond(u32),
}

/// The text is no batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "packets per write are a whole number from 1 to {BATCH_MAX}, or follow from writes per second, \
     such as 200/s"
)]
pub struct BadBatch;

/// Writes per second were given for a load without one steady rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0}/s divides a steady rate, and this load has none: give 1 to {BATCH_MAX} packets, or leave \
     --batch out"
)]
pub struct NoRateToDivide(u32);

impl Batch {
    /// Packets per write of a client of this load, at least 1. More than [`BATCH_MAX`] are the
    /// plan's to refuse.
    ///
    /// # Errors
    /// [`NoRateToDivide`] for writes per second of a load without one steady rate.
    pub fn packets(self, profile: Profile) -> Result<u32, NoRateToDivide> {
        match self {
            Self::Packets(packets) => Ok(packets),
            Self::WritesPerSecond(writes) => {
                let rate = profile.steady_millihertz().ok_or(NoRateToDivide(writes))?;
                let packets = rate / (u64::from(writes) * HERTZ);
                Ok(u32::try_from(packets).unwrap_or(u32::MAX).max(1))
            }
        }
    }
}

impl FromStr for Batch {
    type Err = BadBatch;

    fn from_str(text: &str) -> Result<Self, BadBatch> {
        let within = |text: &str, max: u64| {
            let number: u32 = text.parse().ok()?;
            (1..=max).contains(&number.into()).then_some(number)
        };
        let batch = match text.strip_suffix("/s") {
            None => within(text, BATCH_MAX.into()).map(Self::Packets),
            Some(writes) => within(writes, RATE_MILLIHERTZ_MAX / HERTZ).map(Self::WritesPerSecond),
        };
        batch.ok_or(BadBatch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_follow_from_writes_per_second_and_the_rate() {
        let packets = |text: &str, millihertz| {
            let batch: Batch = text.parse().expect("a batch");
            batch.packets(Profile::constant(millihertz))
        };
        assert_eq!(packets("200/s", 10_000_000), Ok(50));
        assert_eq!(packets("200/s", 10_199_999), Ok(50));
        assert_eq!(packets("200/s", 1_000), Ok(1));
        assert_eq!(packets("7", 1_000), Ok(7));
        assert_eq!(Batch::Packets(7).packets(Profile::Flood), Ok(7));
        let refused = Batch::WritesPerSecond(5).packets(Profile::Flood);
        assert_eq!(refused, Err(NoRateToDivide(5)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0",
            "1025",
            "-1",
            "seed",
            "0/s",
            "-1/s",
            "1000001/s",
            "/s",
            "1.5",
            "2/m",
        ] {
            assert_eq!(text.parse::<Batch>(), Err(BadBatch), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_meaning_or_is_refused(text: String) {
            let _ = text.parse::<Batch>();
        }

        #[test]
        fn any_rate_and_writes_make_a_batch(millihertz: u64, writes in 1..=1_000_000_u32) {
            let batch = Batch::WritesPerSecond(writes).packets(Profile::constant(millihertz));
            prop_assert!(batch.is_ok_and(|packets| packets >= 1));
        }
    }
}
