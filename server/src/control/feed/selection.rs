//! Which events a watch is about. Pure.

use metronome_proto::{filter::Filter, run_id::RunId};

use super::event::{Event, OfRun, What};

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// Everything.
    All,
    /// The runs that match at that moment.
    Matching(Filter),
    /// One run until its end; without `changes` its snapshots and its end alone.
    Run { id: RunId, changes: bool },
}

impl Selection {
    /// Whether an event is one of them.
    pub(super) fn has(&self, event: &Event) -> bool {
        match (self, &event.what) {
            (Self::All, _) => true,
            (Self::Matching(filter), What::Of(_, run, _)) => filter.matches(run),
            (Self::Run { id, changes }, What::Of(of, _, what)) => {
                let is_basic = matches!(what, OfRun::Snapshot(_) | OfRun::Ended);
                of == id && (*changes || is_basic)
            }
            (Self::Matching(_) | Self::Run { .. }, What::Agent(_) | What::Worker(_)) => false,
        }
    }

    /// Whether it begins with the present state.
    pub(super) fn has_state(&self) -> bool {
        !matches!(self, Self::Run { changes: false, .. })
    }

    /// Whether the event is the last one.
    pub(super) fn ends_with(&self, event: &Event) -> bool {
        let is_end = matches!(event.what, What::Of(_, _, OfRun::Ended));
        is_end && matches!(self, Self::Run { .. })
    }
}
