//! How runs are named: 64 bits, on the wire as they are and for people as 16 hexadecimal digits.
//!
//! The high 48 bits are the Unix time in ms at which the run was made, or one ms more than those of
//! the newest run where the wall clock has stepped back: so names sort in the order in which runs
//! were made. The low 16 are random. The database refuses the one in 65,536 that two runs of one ms
//! would share.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Serialize};

/// Name of a run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RunId(u64);

impl RunId {
    /// The id of a run made at `unix_ms`.
    #[must_use]
    pub fn new(unix_ms: u64, random: u16) -> Self {
        Self(unix_ms << 16 | u64::from(random))
    }

    /// The id of a run made at `unix_ms`, after the run `newest` of the same history.
    #[must_use]
    pub fn after(newest: Option<Self>, unix_ms: u64, random: u16) -> Self {
        let next_ms = newest.map(|newest| (newest.0 >> 16) + 1);
        // Beyond them there is no later id: a damaged one must not hold all others up.
        let next_ms = next_ms.filter(|ms| *ms < MS_END);
        Self::new(next_ms.map_or(unix_ms, |next| next.max(unix_ms)), random)
    }

    /// From the number on the wire.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number on the wire.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// Ids made from here on, in the year 6429, are no longer in order in the database.
const MS_END: u64 = 1 << 47;

/// The digits of an id.
const DIGITS: usize = 16;

/// The first digits of an id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunIdPrefix {
    /// In lower case.
    digits: String,
    ids: (RunId, RunId),
}

impl RunIdPrefix {
    /// The ids that begin with it: one half of all, or fewer.
    #[must_use]
    pub fn ids(&self) -> RangeInclusive<RunId> {
        self.ids.0..=self.ids.1
    }
}

impl fmt::Display for RunIdPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.digits)
    }
}

/// Not 1 to 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the beginning of a run id is 1 to 16 hexadecimal digits")]
pub struct BadPrefix;

impl FromStr for RunIdPrefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let is_prefix =
            (1..=DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_prefix {
            return Err(BadPrefix);
        }
        let filled = |digit| {
            let rest = DIGITS - text.len();
            let digits = format!("{text}{}", str::repeat(digit, rest));
            digits.parse().map_err(|BadRunId| BadPrefix)
        };
        Ok(Self {
            digits: text.to_ascii_lowercase(),
            ids: (filled("0")?, filled("f")?),
        })
    }
}

/// Not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a run id is 16 hexadecimal digits, as `benchctl runs` lists them")]
pub struct BadRunId;

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        let digits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits {
            return Err(BadRunId);
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| BadRunId)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(bits: u64) {
            let id = RunId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn any_text_parses_or_is_refused(text: String) {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.to_string(), text.to_lowercase());
            }
        }

        #[test]
        fn a_run_that_is_made_later_has_a_higher_id_also_when_the_clock_steps_back(
            newest_ms in 0..MS_END - 1,
            now_ms in 0..MS_END - 1,
            a: u16,
            b: u16,
        ) {
            let newest = RunId::new(newest_ms, a);
            let next = RunId::after(Some(newest), now_ms, b);
            prop_assert!(next > newest && next >= RunId::new(now_ms, b));
            prop_assert_eq!(RunId::after(None, now_ms, b), RunId::new(now_ms, b));
            let damaged = RunId::from_bits(u64::MAX);
            prop_assert_eq!(RunId::after(Some(damaged), now_ms, b), RunId::new(now_ms, b));
        }

        #[test]
        fn the_ids_of_a_prefix_are_those_that_begin_with_it(
            bits: u64,
            other: u64,
            length in 1..17_usize,
        ) {
            let id = RunId::from_bits(bits);
            let prefix: RunIdPrefix = id.to_string()[..length].parse().expect("digits");
            prop_assert!(prefix.ids().contains(&id));
            for other in [RunId::from_bits(other), RunId::from_bits(bits ^ 1 << 40)] {
                let begins = other.to_string().starts_with(&prefix.to_string());
                prop_assert_eq!(prefix.ids().contains(&other), begins);
            }
        }

        #[test]
        fn a_later_run_has_a_higher_id(ms in 0..1_u64 << 47, a: u16, b: u16) {
            prop_assert!(RunId::new(ms, a).to_string() < RunId::new(ms + 1, b).to_string());
        }
    }
}
