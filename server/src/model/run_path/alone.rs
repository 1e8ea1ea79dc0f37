//! What is shown of a path when the history from before its run turns out to be wrong: all that
//! the probes prove alone.

use super::{
    super::{clock_history::ClockHistory, clock_window::Extent},
    allowed::Allowed,
    figures::{PathBounds, PathFigures},
};

/// The same as a run's path has with the history.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) allowed: Allowed,
    /// How far off the lines were that were judged. `None` before the first one.
    worst: Option<PathBounds>,
    /// What was allowed of the offset at the start.
    pub(super) at_start: Option<Extent>,
}

impl Alone {
    /// That of a run whose plan claims something of the wall clocks, or does not.
    pub(super) fn new(has_claim: bool) -> Self {
        Self {
            allowed: Allowed::behind(&ClockHistory::default(), has_claim),
            worst: None,
            at_start: None,
        }
    }

    /// A line that was in use was as far off as this.
    pub(super) fn note(&mut self, bounds: Option<PathBounds>) {
        self.worst = self
            .worst
            .into_iter()
            .chain(bounds)
            .reduce(PathBounds::with);
    }

    /// Whether the history that is part of `behind` is excluded by what was read since: probes,
    /// or a claim with which they agree.
    pub(super) fn refutes(&self, behind: &Allowed) -> bool {
        let is_claim_kept = self.allowed.claimed.is_some();
        let drops_claim = is_claim_kept && behind.claimed.is_none();
        behind.has_refuted_history() || drops_claim
    }

    /// Puts its bounds into the place of those with the history.
    pub(super) fn show_in(&self, figures: &mut PathFigures) {
        figures.one_way_bound_ns = self.worst.map(|worst| worst.one_way_ns);
        figures.queueing_bound_ns = self.worst.and_then(|worst| worst.queueing_ns);
        figures.is_claimed = self.worst.is_some_and(|worst| worst.is_claimed);
    }
}
