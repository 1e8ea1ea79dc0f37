//! How fast each client of a run sends: a steady rate, or as much as its connection takes.

use std::str::FromStr;

/// A rate within the limits of a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rate {
    /// So many packets per 1000 s, 1 to 10^9: exact where a float of Hz would drift.
    Millihertz(u64),
    /// A flood: a packet is due at the moment at which it is written, and the next write follows at
    /// once.
    Max,
}

impl Rate {
    /// Packets per second; 0 for a flood, which promises none.
    #[must_use]
    pub fn hz(self) -> f64 {
        match self {
            Self::Millihertz(millihertz) => millihertz as f64 / 1e3,
            Self::Max => 0.0,
        }
    }
}

/// A rate as a user writes it; its range is the plan's to judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AskedRate {
    /// Packets per second: `10000`, `10k`, `0.5`, `1M`.
    Hz(f64),
    /// `max`.
    Max,
}

impl AskedRate {
    /// Packets per second; 0 for a flood, as the API has it.
    #[must_use]
    pub fn hz(self) -> f64 {
        match self {
            Self::Hz(hz) => hz,
            Self::Max => 0.0,
        }
    }
}

impl FromStr for AskedRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.strip_suffix(['k', 'K', 'M']) {
            _ if text == "max" => return Ok(Self::Max),
            Some(digits) if text.ends_with('M') => (digits, 1e6),
            Some(digits) => (digits, 1e3),
            None => (text, 1.0),
        };
        let number: f64 = digits.parse().map_err(|_| {
            "packets per second are a number such as 10000, 10k or 0.5, or the word max".to_owned()
        })?;
        Ok(Self::Hz(number * factor))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_takes_thousands_and_millions_and_may_be_the_greatest() {
        for (text, hz) in [
            ("10000", 1e4),
            ("10k", 1e4),
            ("10K", 1e4),
            ("0.5k", 500.0),
            ("1M", 1e6),
            ("1e12", 1e12),
        ] {
            assert_eq!(text.parse(), Ok(AskedRate::Hz(hz)), "{text}");
        }
        assert_eq!("max".parse(), Ok(AskedRate::Max));
        for text in ["", "k", "ten", "10kk", "10 k", "10m", "Max", "maximum"] {
            assert!(text.parse::<AskedRate>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_or_is_refused(text: String) {
            let _ = text.parse::<AskedRate>();
        }
    }
}
