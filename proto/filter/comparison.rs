//! A filter: comparisons, for which runs they hold, and how they print.

use std::{
    fmt::{self, Write as _},
    ops::RangeInclusive,
};

use super::instant::Instant;
use crate::{
    run_id::{RunId, RunIdPrefix},
    v1::{self, OutcomeStatus, RunState, VerdictStatus},
};

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
    /// A run without an outcome matches neither equality.
    Outcome {
        equality: Equality,
        outcome: OutcomeStatus,
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
    RunId {
        equality: Equality,
        prefix: RunIdPrefix,
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

/// What a filter looks at in a report. Unspecified where there is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Judged {
    /// Whether its figures may be believed.
    pub verdict: VerdictStatus,
    /// Whether it passed.
    pub outcome: OutcomeStatus,
}

impl Judged {
    /// The part of a report, if there is one.
    #[must_use]
    pub fn of(report: Option<&v1::Report>) -> Self {
        let verdict = report.and_then(|report| report.verdict.as_ref());
        let outcome = report.and_then(|report| report.outcome.as_ref());
        Self {
            verdict: verdict.map(v1::Verdict::status).unwrap_or_default(),
            outcome: outcome.map(v1::Outcome::status).unwrap_or_default(),
        }
    }
}

impl Filter {
    /// Whether every comparison holds for a run.
    #[must_use]
    pub fn matches(&self, run: &v1::Run) -> bool {
        self.matches_judged(run, Judged::of(run.report.as_ref()))
    }

    /// The filter that holds for the runs whose ids begin so, and no other.
    #[must_use]
    pub fn of_prefix(prefix: RunIdPrefix) -> Self {
        Self(vec![Comparison::RunId {
            equality: Equality::Equal,
            prefix,
        }])
    }

    /// No run outside of these matches. `None` when it may be any, or none at all.
    #[must_use]
    pub fn ids(&self) -> Option<RangeInclusive<RunId>> {
        self.0.iter().find_map(|comparison| match comparison {
            Comparison::RunId {
                equality: Equality::Equal,
                prefix,
            } => Some(prefix.ids()),
            _ => None,
        })
    }

    /// Whether every comparison holds for a run whose report lies elsewhere, except what is taken
    /// from it here.
    #[must_use]
    pub fn matches_judged(&self, run: &v1::Run, judged: Judged) -> bool {
        let Self(comparisons) = self;
        comparisons.iter().all(|it| it.holds(run, judged))
    }
}

impl Comparison {
    fn holds(&self, run: &v1::Run, judged: Judged) -> bool {
        match self {
            Self::State { equality, state } => equality.holds(run.state() == *state),
            Self::Verdict { equality, verdict } => {
                judged.verdict != VerdictStatus::Unspecified
                    && equality.holds(judged.verdict == *verdict)
            }
            Self::Outcome { equality, outcome } => {
                judged.outcome != OutcomeStatus::Unspecified
                    && equality.holds(judged.outcome == *outcome)
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
            Self::RunId { equality, prefix } => {
                let id = run.run_id.parse::<RunId>();
                equality.holds(id.is_ok_and(|id| prefix.ids().contains(&id)))
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
                write!(formatter, "verdict {equality} {}", verdict.name())
            }
            Self::Outcome { equality, outcome } => {
                write!(formatter, "outcome {equality} {}", outcome.name())
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
            Self::RunId { equality, prefix } => write!(formatter, "run_id {equality} {prefix}"),
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

/// Whether a value with this character needs no quotes for it.
pub(super) fn is_bare(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | ':' | '-')
}
