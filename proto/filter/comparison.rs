//! A filter: comparisons, for which runs they hold, and how they print.

use std::fmt::{self, Write as _};

use super::instant::Instant;
use crate::v1::{self, RunState, VerdictStatus};

/// What the names of verdicts in the API begin with.
pub(super) const VERDICT_PREFIX: &str = "VERDICT_STATUS_";

/// Comparisons that must all hold. The default holds for every run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter(pub(super) Vec<Comparison>);

/// One comparison of a field of a run with a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    State {
        equality: Equality,
        state: RunState,
    },
    /// A run without a verdict matches neither equality.
    Verdict {
        equality: Equality,
        verdict: VerdictStatus,
    },
    /// A run without the label differs from every value.
    Label {
        key: String,
        equality: Equality,
        value: String,
    },
    CreatedAt {
        relation: Relation,
        at: Instant,
    },
}

/// How values without an order are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Equality {
    Equal,
    NotEqual,
}

/// How instants are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Relation {
    Before,
    NotAfter,
    At,
    NotBefore,
    After,
}

impl Filter {
    /// Whether every comparison holds for a run.
    #[must_use]
    pub fn matches(&self, run: &v1::Run) -> bool {
        let report = run.report.as_ref();
        let verdict = report.and_then(|report| report.verdict.as_ref());
        self.matches_with_verdict(run, verdict.map(v1::Verdict::status))
    }

    /// Whether every comparison holds for a run whose report lies elsewhere, except its verdict.
    #[must_use]
    pub fn matches_with_verdict(&self, run: &v1::Run, verdict: Option<VerdictStatus>) -> bool {
        let Self(comparisons) = self;
        comparisons.iter().all(|it| it.holds(run, verdict))
    }
}

impl Comparison {
    fn holds(&self, run: &v1::Run, found: Option<VerdictStatus>) -> bool {
        match self {
            Self::State { equality, state } => equality.holds(run.state() == *state),
            Self::Verdict { equality, verdict } => {
                let known = found.filter(|found| *found != VerdictStatus::Unspecified);
                known.is_some_and(|found| equality.holds(found == *verdict))
            }
            Self::Label {
                key,
                equality,
                value,
            } => equality.holds(run.labels.get(key) == Some(value)),
            Self::CreatedAt { relation, at } => {
                let created_at = run.created_at.as_ref().map(Instant::from);
                created_at.is_some_and(|created_at| relation.holds(created_at, *at))
            }
        }
    }
}

impl Equality {
    fn holds(self, are_equal: bool) -> bool {
        are_equal == (self == Self::Equal)
    }
}

impl Relation {
    fn holds(self, left: Instant, right: Instant) -> bool {
        match self {
            Self::Before => left < right,
            Self::NotAfter => left <= right,
            Self::At => left == right,
            Self::NotBefore => left >= right,
            Self::After => left > right,
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, comparison) in self.0.iter().enumerate() {
            let joint = if place > 0 { " AND " } else { "" };
            write!(formatter, "{joint}{comparison}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { equality, state } => {
                write!(formatter, "state {equality} {}", state.name())
            }
            Self::Verdict { equality, verdict } => {
                write!(formatter, "verdict {equality} {}", verdict_name(*verdict))
            }
            Self::Label {
                key,
                equality,
                value,
            } => {
                write!(formatter, "labels.{key} {equality} ")?;
                write_value(formatter, value)
            }
            Self::CreatedAt { relation, at } => write!(formatter, "created_at {relation} {at}"),
        }
    }
}

impl fmt::Display for Equality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Before => "<",
            Self::NotAfter => "<=",
            Self::At => "=",
            Self::NotBefore => ">=",
            Self::After => ">",
        })
    }
}

/// Writes a value so that it is read back as it is.
fn write_value(formatter: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    if !value.is_empty() && value.chars().all(is_bare) {
        return formatter.write_str(value);
    }
    formatter.write_char('"')?;
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') {
            formatter.write_char('\\')?;
        }
        formatter.write_char(letter)?;
    }
    formatter.write_char('"')
}

/// The name of a verdict without its prefix.
pub(super) fn verdict_name(verdict: VerdictStatus) -> &'static str {
    verdict.as_str_name().trim_start_matches(VERDICT_PREFIX)
}

/// Whether a value with this character needs no quotes for it.
pub(super) fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-')
}
