//! What objectives are judged on.

use crate::verdict::{evidence::Evidence, punctuality::Punctuality, rows::Row};

/// What objectives are judged on.
pub(super) struct Judged<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) rows: &'a [Row<'a>],
    pub(super) punctuality: Option<&'a Punctuality>,
    /// Nothing of the run is missing: the verdict is valid.
    pub(super) is_whole: bool,
}

impl Judged<'_> {
    /// Packets that a late generator may have held up, where they may decide the quantile of so
    /// many millionths; else 0.
    pub(super) fn held_up(&self, ppm: u32) -> u64 {
        let held_up = self.punctuality.filter(|of| of.spoils(ppm));
        held_up.map_or(0, |of| u64::try_from(of.held_up()).unwrap_or(u64::MAX))
    }
}
