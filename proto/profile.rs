//! The load of one client: the only form that it has, from a flag to a pacing thread to a law.
//!
//! A profile gives a [`Schedule`] with a cursor and a period, or none: a packet of a flood is due
//! when it is written. Rates are exact integers in millihertz, packets per 1000 seconds.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    exact::scaled,
    limits::{RATE_MILLIHERTZ_MAX, RATE_MILLIHERTZ_MIN},
    schedule::Schedule,
    v1,
};

/// 1000 s in ns: a rate in millihertz is packets per 1000 s.
pub(crate) const NS_PER_1000_S: u128 = 1_000_000_000_000;

/// When the packets of one client are due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// Packet n is due at start + n / rate.
    Constant {
        /// Packets per 1000 s, 1 to 10^9 in a plan that was checked.
        rate_millihertz: u64,
    },
    /// A packet is due at the moment at which it is written, and the next write follows at once.
    Flood,
}

/// Why a profile of the API is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadProfile {
    /// No shape, or one that this version does not have.
    #[error("the profile has no shape that this version supports; constant and flood are")]
    Unsupported,
    /// A rate out of range.
    #[error("{} packets/s are out of range; 0.001 to 1,000,000 per client are allowed", hz(*.0))]
    Rate(u64),
}

impl Profile {
    /// A steady rate; its range is checked where a plan is.
    #[must_use]
    pub fn constant(rate_millihertz: u64) -> Self {
        Self::Constant { rate_millihertz }
    }

    /// Packets per 1000 s of one client. `None` for a flood, which has no rate.
    #[must_use]
    pub fn rate_millihertz(self) -> Option<u64> {
        match self {
            Self::Constant { rate_millihertz } => Some(rate_millihertz),
            Self::Flood => None,
        }
    }

    /// The schedule of a client whose first packet is due at `start_ns`, over `duration`, in writes
    /// of `batch` packets: floor(rate × duration) packets, at least 1. `None` for a flood.
    #[must_use]
    pub fn schedule(self, start_ns: u64, duration: Duration, batch: u32) -> Option<Schedule> {
        let rate_millihertz = self.rate_millihertz()?;
        let packets = u128::from(rate_millihertz) * duration.as_nanos() / NS_PER_1000_S;
        Some(Schedule {
            start_ns,
            rate_millihertz,
            batch,
            packets: u64::try_from(packets).unwrap_or(u64::MAX).max(1),
        })
    }

    /// The form of the API.
    #[must_use]
    pub fn to_proto(self) -> v1::Profile {
        use v1::profile::Shape;
        let shape = match self {
            Self::Constant { rate_millihertz } => Shape::Constant(v1::Constant { rate_millihertz }),
            Self::Flood => Shape::Flood(v1::Flood {}),
        };
        v1::Profile { shape: Some(shape) }
    }
}

impl TryFrom<&v1::Profile> for Profile {
    type Error = BadProfile;

    fn try_from(profile: &v1::Profile) -> Result<Self, BadProfile> {
        use v1::profile::Shape;
        match profile.shape {
            Some(Shape::Constant(v1::Constant { rate_millihertz })) => {
                if !(RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX).contains(&rate_millihertz) {
                    return Err(BadProfile::Rate(rate_millihertz));
                }
                Ok(Self::Constant { rate_millihertz })
            }
            Some(Shape::Flood(v1::Flood {})) => Ok(Self::Flood),
            None => Err(BadProfile::Unsupported),
        }
    }
}

/// A rate as a user writes it: `10000`, `10k`, `0.5`, `1M`, or `max` for a flood. Its range is
/// checked where a plan is.
impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Flood);
        }
        let (digits, decimals) = match text.strip_suffix(['k', 'K', 'M']) {
            Some(digits) if text.ends_with('M') => (digits, 9),
            Some(digits) => (digits, 6),
            None => (text, 3),
        };
        if let Some(millihertz) = scaled(digits, decimals) {
            return Ok(Self::constant(millihertz));
        }
        let number: f64 = digits.parse().map_err(|_| {
            "packets per second are a number such as 10000, 10k or 0.5, or the word max".to_owned()
        })?;
        let nearest = (number * 10_f64.powi(decimals.cast_signed())).round();
        // Written so that NaN fails it.
        let allowed = RATE_MILLIHERTZ_MIN as f64..=RATE_MILLIHERTZ_MAX as f64;
        if !allowed.contains(&nearest) {
            return Err("0.001 to 1,000,000 packets/s per client are allowed".into());
        }
        Err(format!(
            "rates are written in full and go in steps of 0.001 packets/s; the nearest one is {}",
            hz(nearest as u64)
        ))
    }
}

/// Packets per second, or `max`: the form that [`FromStr`] reads.
impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { rate_millihertz } => write!(formatter, "{}", hz(*rate_millihertz)),
            Self::Flood => formatter.write_str("max"),
        }
    }
}

/// Packets per second from packets per 1000 s.
#[must_use]
pub fn hz(millihertz: u64) -> f64 {
    millihertz as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_takes_thousands_and_millions_and_may_be_the_greatest() {
        for (text, millihertz) in [
            ("10000", 10_000_000),
            ("10k", 10_000_000),
            ("10K", 10_000_000),
            ("0.5k", 500_000),
            // As floats, 1.005 × 10^6 is no whole number.
            ("1.005k", 1_005_000),
            ("1M", 1_000_000_000),
            ("0.001", 1),
            ("33.333", 33_333),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Profile::constant(millihertz)), "{text}");
        }
        assert_eq!("max".parse(), Ok(Profile::Flood));
        for text in [
            "",
            "k",
            "ten",
            "10kk",
            "10 k",
            "10m",
            "Max",
            "maximum",
            "NaN",
            "-1",
            "inf",
            "1e300",
            "0.0014",
            "0.0001",
            "2000.0004",
            "1e3",
        ] {
            assert!(text.parse::<Profile>().is_err(), "{text}");
        }
        for (text, part) in [
            ("0.0014", "the nearest one is 0.001"),
            ("2000.0004", "the nearest one is 2000"),
            ("1e3", "the nearest one is 1000"),
            ("0.0001", "0.001 to 1,000,000"),
            ("1e12", "0.001 to 1,000,000"),
        ] {
            let error = text.parse::<Profile>().unwrap_err();
            assert!(
                error.ends_with(part) || error.starts_with(part),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn what_has_no_shape_or_no_rate_is_no_profile() {
        assert_eq!(
            Profile::try_from(&v1::Profile { shape: None }),
            Err(BadProfile::Unsupported)
        );
        for rate in [0, RATE_MILLIHERTZ_MAX + 1, u64::MAX] {
            let profile = Profile::constant(rate).to_proto();
            assert_eq!(Profile::try_from(&profile), Err(BadProfile::Rate(rate)));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_profile_or_is_refused(text: String) {
            let _ = text.parse::<Profile>();
        }

        #[test]
        fn a_profile_survives_its_text_and_the_api(
            millihertz in RATE_MILLIHERTZ_MIN..=RATE_MILLIHERTZ_MAX,
        ) {
            for profile in [Profile::constant(millihertz), Profile::Flood] {
                prop_assert_eq!(profile.to_string().parse(), Ok(profile));
                prop_assert_eq!(Profile::try_from(&profile.to_proto()), Ok(profile));
            }
        }
    }
}
