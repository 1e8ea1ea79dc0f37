//! What a caller claims of the wall clocks of the hosts, checked. Times in ns.

use super::FieldError;
use crate::v1;

/// The widest claim that is taken, ns: 1 s. A wider one narrows nothing.
pub const CLOCK_BOUND_NS_MAX: u64 = 1_000_000_000;

/// What may be assumed of the wall clocks beside what exchanges of readings prove.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClockTrust {
    /// Each is right to the greatest error that its kernel claims.
    pub ntp: bool,
    /// All are at most this far apart: 1 to [`CLOCK_BOUND_NS_MAX`].
    pub bound_ns: Option<u64>,
}

impl ClockTrust {
    /// Whether nothing is claimed.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The form of the API; unset where nothing is claimed.
    #[must_use]
    pub fn to_proto(self) -> Option<v1::ClockTrust> {
        (!self.is_none()).then(|| v1::ClockTrust {
            ntp: self.ntp,
            bound_ns: self.bound_ns.and_then(|ns| ns.try_into().ok()),
        })
    }
}

/// The checked form; nothing is claimed by an unset message.
pub(super) fn clock_trust(trust: Option<&v1::ClockTrust>) -> Result<ClockTrust, FieldError> {
    let Some(trust) = trust else {
        return Ok(ClockTrust::default());
    };
    let in_range = |ns: i64| {
        let bound_ns = u64::try_from(ns).ok();
        bound_ns
            .filter(|ns| (1..=CLOCK_BOUND_NS_MAX).contains(ns))
            .ok_or_else(|| {
                let problem = format!("{ns} ns; 1 ns to 1 s are allowed");
                FieldError::out_of_range("clock_trust.bound_ns", problem)
            })
    };
    Ok(ClockTrust {
        ntp: trust.ntp,
        bound_ns: trust.bound_ns.map(in_range).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_kept_as_it_is_and_one_out_of_its_range_is_refused() {
        for (ntp, bound_ns) in [(false, Some(1)), (true, None), (true, Some(1_000_000_000))] {
            let asked = v1::ClockTrust { ntp, bound_ns };
            assert_eq!(clock_trust(Some(&asked)).unwrap().to_proto(), Some(asked));
        }
        assert_eq!(clock_trust(None).unwrap().to_proto(), None);
        assert!(
            clock_trust(Some(&v1::ClockTrust::default()))
                .unwrap()
                .is_none()
        );
        for ns in [0, -1, 1_000_000_001, i64::MIN] {
            let asked = v1::ClockTrust {
                ntp: false,
                bound_ns: Some(ns),
            };
            let refused = clock_trust(Some(&asked)).unwrap_err();
            let sentence = format!("clock_trust.bound_ns: {ns} ns; 1 ns to 1 s are allowed");
            assert_eq!(refused.to_string(), sentence);
        }
    }
}
