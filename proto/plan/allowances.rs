//! Which reasons a plan allows: the run stays valid with them, and a note has them instead.

use std::{fmt, str::FromStr};

use super::FieldError;
use crate::v1::{Allowance, ReasonCode};

/// All that a plan may allow, in the order of the API.
pub const ALLOWANCES: [Allowance; 4] = [
    Allowance::Throttled,
    Allowance::Stolen,
    Allowance::Frozen,
    Allowance::Suspended,
];

impl Allowance {
    /// The name without its prefix, that of the reason: `STOLEN`.
    #[must_use]
    pub fn name(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ALLOWANCE_").unwrap_or(name)
    }

    /// The reason that does not count. `None` of an unspecified one.
    #[must_use]
    pub fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::Unspecified => None,
            Self::Throttled => Some(ReasonCode::Throttled),
            Self::Stolen => Some(ReasonCode::Stolen),
            Self::Frozen => Some(ReasonCode::Frozen),
            Self::Suspended => Some(ReasonCode::Suspended),
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Allowance {
    type Err = String;

    /// By its name, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = ALLOWANCES
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(text));
        named.ok_or_else(|| {
            let names = ALLOWANCES.map(Self::name).join(", ");
            format!("{text:?} cannot be allowed; {names} can")
        })
    }
}

/// The checked form, by rising number.
pub(super) fn allowances(allow: &[i32]) -> Result<Vec<Allowance>, FieldError> {
    let mut allowed = Vec::with_capacity(allow.len().min(ALLOWANCES.len()));
    for (index, number) in allow.iter().enumerate() {
        let path = format!("allow[{index}]");
        let one = match Allowance::try_from(*number) {
            Ok(one) if one != Allowance::Unspecified => one,
            _ => {
                let names = ALLOWANCES.map(Allowance::name).join(", ");
                let problem = format!("{number} cannot be allowed; {names} can");
                return Err(FieldError::unsupported(&path, problem));
            }
        };
        if allowed.contains(&one) {
            let problem = format!("{one} is there twice; once is enough");
            return Err(FieldError::out_of_range(&path, problem));
        }
        allowed.push(one);
    }
    allowed.sort_by_key(|one| *one as i32);
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_that_may_be_allowed_has_its_name_and_no_other_is_taken() {
        for one in ALLOWANCES {
            assert_eq!(one.name().to_lowercase().parse(), Ok(one));
            assert_eq!(one.reason().map(ReasonCode::name), Some(one.name()));
        }
        let refused = "LATENESS".parse::<Allowance>().unwrap_err();
        assert_eq!(
            refused,
            "\"LATENESS\" cannot be allowed; THROTTLED, STOLEN, FROZEN, SUSPENDED can"
        );
    }

    #[test]
    fn allowances_are_sorted_and_one_twice_or_unknown_is_refused() {
        let [throttled, stolen] = [Allowance::Throttled, Allowance::Stolen].map(|it| it as i32);
        let sorted = allowances(&[stolen, throttled]).unwrap();
        assert_eq!(sorted, [Allowance::Throttled, Allowance::Stolen]);
        for (allow, problem) in [
            (vec![stolen, stolen], "allow[1]: STOLEN is there twice"),
            (vec![0], "allow[0]: 0 cannot be allowed"),
            (vec![99], "allow[0]: 99 cannot be allowed"),
        ] {
            let refused = allowances(&allow).unwrap_err().to_string();
            assert!(refused.starts_with(problem), "{refused}");
        }
    }
}
