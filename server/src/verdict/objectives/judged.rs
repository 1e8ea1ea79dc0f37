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

#[cfg(test)]
impl<'a> Judged<'a> {
    /// A run of which nothing is missing and no packet was late.
    pub(super) fn whole(evidence: &'a Evidence<'a>, rows: &'a [Row<'a>]) -> Self {
        Self {
            evidence,
            rows,
            punctuality: None,
            is_whole: true,
        }
    }
}

impl Judged<'_> {
    /// Packets that a late generator may have delayed, where they may decide the quantile of so
    /// many millionths; else 0.
    pub(super) fn delayed(&self, ppm: u32) -> u64 {
        let spoilt = self.punctuality.filter(|of| of.spoils(ppm));
        spoilt.map_or(0, |of| u64::try_from(of.delayed()).unwrap_or(u64::MAX))
    }
}
