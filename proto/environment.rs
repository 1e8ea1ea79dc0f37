//! Where the processes of a run ran: the words of its enums, and one priority for many threads.

use crate::v1::{EnvironmentRole, ThreadPriority};

/// Longest text of a `v1::Environment`, bytes.
pub const TEXT_BYTES_MAX: usize = 64;

impl EnvironmentRole {
    /// The name in lower case, without its prefix: `agent`. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Agent => Some("agent"),
            Self::Server => Some("server"),
        }
    }
}

impl ThreadPriority {
    /// The name in lower case, without its prefix: `real_time`. `None` when it is not known.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Ordinary => Some("ordinary"),
            Self::RaisedNice => Some("raised_nice"),
            Self::RealTime => Some("real_time"),
            Self::Mixed => Some("mixed"),
        }
    }

    /// That of threads of which some have this one and some the other, or each at its time. One
    /// that is not known adds nothing.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unspecified, one) | (one, Self::Unspecified) => one,
            (one, other) if one == other => one,
            _ => Self::Mixed,
        }
    }

    /// Whether it is known that no thread was a real-time one at any time.
    #[must_use]
    pub fn is_without_real_time(self) -> bool {
        matches!(self, Self::Ordinary | Self::RaisedNice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ThreadPriority as P;

    #[test]
    fn one_priority_is_that_of_all_and_several_are_mixed() {
        let all = |of: &[P]| of.iter().fold(P::Unspecified, |all, one| all.with(*one));
        assert_eq!(all(&[]), P::Unspecified);
        assert_eq!(
            all(&[P::Unspecified, P::RealTime, P::RealTime]),
            P::RealTime
        );
        assert_eq!(all(&[P::RealTime, P::RaisedNice, P::RealTime]), P::Mixed);
        assert_eq!(all(&[P::Mixed, P::RealTime]), P::Mixed);
        assert_eq!(all(&[P::RealTime, P::Mixed]), P::Mixed);
        assert!(!P::Mixed.is_without_real_time() && !P::Unspecified.is_without_real_time());
    }
}
