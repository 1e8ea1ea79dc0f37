//! How an objective came out, with the figures that its sentence is written from.

use metronome_proto::v1::{OutcomeStatus, objective::Observed};

use crate::verdict::sentence::{Figures, write};

/// How one objective came out.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) status: OutcomeStatus,
    /// What the limit was compared with.
    pub(super) observed: Option<Observed>,
    pub(super) sentence: String,
    pub(super) figures: Figures,
}

impl Finding {
    /// What it needs is not known; the sentence gives the reason.
    pub(super) fn not_judged(sentence: &str) -> Self {
        Self {
            status: OutcomeStatus::NotJudged,
            observed: None,
            sentence: sentence.into(),
            figures: Figures::new(),
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
