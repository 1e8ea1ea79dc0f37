//! How runs are named: 64 bits, on the wire as they are and for people as 16 hexadecimal digits.
//!
//! The high 48 bits are the Unix time in ms at which the run was made, so names sort by time; the
//! low 16 are random. The database refuses the one in 65,536 that two runs of one ms would share.

use std::{fmt, str::FromStr};

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

/// Not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a run id is 16 hexadecimal digits, as `benchctl runs` lists them")]
pub struct BadRunId;

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
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
        fn a_later_run_has_a_higher_id(ms in 0..1_u64 << 47, a: u16, b: u16) {
            prop_assert!(RunId::new(ms, a).to_string() < RunId::new(ms + 1, b).to_string());
        }
    }
}
