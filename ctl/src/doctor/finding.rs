//! What was found: the fact, how bad it is, and the cure.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Level {
    /// Nothing is wrong.
    Fine,
    /// Figures may suffer.
    Warning,
    /// The load cannot be held or not be trusted.
    Problem,
}

/// One thing looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// What was looked at: a short stable name.
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// The fact.
    pub(crate) observed: String,
    /// What to do about it, when there is something to do.
    pub(crate) cure: Option<String>,
}

impl Finding {
    /// A finding without a cure.
    pub(crate) fn fine(check: &'static str, observed: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Fine,
            observed: observed.into(),
            cure: None,
        }
    }

    /// A finding that figures may suffer from.
    pub(crate) fn warning(
        check: &'static str,
        observed: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level: Level::Warning,
            observed: observed.into(),
            cure: Some(cure.into()),
        }
    }

    /// A finding with which the load cannot be held or its figures not be trusted.
    pub(crate) fn problem(
        check: &'static str,
        observed: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level: Level::Problem,
            observed: observed.into(),
            cure: Some(cure.into()),
        }
    }
}
