//! What is allowed of the offset between the clocks of one agent and the server in one run: by the
//! exchanges of readings, and narrower where the plan claims something of the wall clocks.

use super::super::{
    clock_history::ClockHistory,
    clock_window::{ClockWindow, Contradicted, Exchange, Extent},
};

/// A claim that narrows the region by no more than this narrows nothing.
const ROUNDED_NS: i128 = 100;

/// The region that is proved, and the one that is claimed.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) proved: ClockWindow,
    /// The same exchanges with what the plan claims among them. `None` without a claim, and once
    /// it was dropped.
    pub(super) claimed: Option<ClockWindow>,
}

impl Allowed {
    /// The regions of a run, whose plan claims something or does not, behind this history.
    pub(super) fn behind(history: &ClockHistory, has_claim: bool) -> Self {
        let window = || ClockWindow::behind(history.clone());
        Self {
            proved: window(),
            claimed: has_claim.then(window),
        }
    }

    /// Takes exchanges, and what is claimed now, which limits the offset as an exchange does. Those
    /// that exclude a claim drop it, for the whole run.
    pub(super) fn take(
        &mut self,
        exchanges: &[Exchange],
        claim: Option<Exchange>,
    ) -> Result<(), Contradicted> {
        self.proved.take(exchanges)?;
        let with_claim: Vec<_> = exchanges.iter().copied().chain(claim).collect();
        self.claimed = self.claimed.take().and_then(|mut claimed| {
            let is_taken = claimed.take(&with_claim).is_ok();
            is_taken.then_some(claimed)
        });
        Ok(())
    }

    /// All begins anew.
    pub(super) fn clear(&mut self) {
        self.proved = ClockWindow::default();
        self.claimed = self.claimed.take().map(|_| ClockWindow::default());
    }

    /// Whether the history rests in what is allowed.
    pub(super) fn has_history(&self) -> bool {
        self.proved.has_history()
    }

    /// Whether exchanges, or a claim that holds without it, have excluded the history.
    pub(super) fn has_refuted_history(&self) -> bool {
        let claimed = self.claimed.as_ref();
        self.proved.has_refuted_history() || claimed.is_some_and(ClockWindow::has_refuted_history)
    }

    /// What is allowed of the offset at a reading of the agent's clock, and whether a claim has
    /// narrowed it.
    pub(super) fn extent(&self, at_ns: u64) -> Option<(Extent, bool)> {
        let proved = self.proved.extent(at_ns)?;
        let claimed = self.claimed.as_ref().and_then(|of| of.extent(at_ns));
        let extent = claimed.unwrap_or(proved);
        // Two regions of the same exchanges differ by what rounding does.
        let narrowed_ns = (proved.most_ns - proved.least_ns) - (extent.most_ns - extent.least_ns);
        Some((extent, narrowed_ns > ROUNDED_NS))
    }

    /// The drifts that are allowed.
    pub(super) fn drifts(&self) -> Option<(f64, f64)> {
        let claimed = self.claimed.as_ref().and_then(ClockWindow::drifts);
        claimed.or_else(|| self.proved.drifts())
    }
}
