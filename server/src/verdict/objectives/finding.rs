//! How an objective came out, with the figures that its sentence is written from.

use metronome_proto::v1::{Comparison, OutcomeStatus, objective::Observed};

use crate::verdict::sentence::{Figures, write};

/// How one objective came out.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) status: OutcomeStatus,
    /// What the limit was compared with.
    pub(super) observed: Option<Observed>,
    pub(super) sentence: String,
    pub(super) figures: Figures,
    /// It is not judged since there are too few packets, which is no fault of the run.
    pub(super) is_excused: bool,
}

impl Finding {
    /// What it needs is not known; the sentence gives the reason.
    pub(super) fn not_judged(sentence: &str) -> Self {
        Self {
            status: OutcomeStatus::NotJudged,
            observed: None,
            sentence: sentence.into(),
            figures: Figures::new(),
            is_excused: false,
        }
    }

    /// With the sentence of a template.
    pub(super) fn new(
        status: OutcomeStatus,
        observed: Option<Observed>,
        template: &str,
        figures: Figures,
    ) -> Self {
        Self {
            status,
            observed,
            sentence: write(template, &figures),
            figures,
            is_excused: false,
        }
    }
}

/// Met or missed.
pub(super) fn status(holds: bool) -> OutcomeStatus {
    if holds {
        OutcomeStatus::Held
    } else {
        OutcomeStatus::NotHeld
    }
}

/// The limit of a comparison as a part of a sentence: `at most {limit}`.
pub(super) fn bound(comparison: Comparison, limit: &str) -> String {
    let words = match comparison {
        Comparison::Less => "less than ",
        Comparison::LessOrEqual => "at most ",
        Comparison::Greater => "more than ",
        Comparison::GreaterOrEqual => "at least ",
        Comparison::Equal | Comparison::Unspecified => "",
    };
    format!("{words}{limit}")
}
