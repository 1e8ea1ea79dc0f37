//! Which events a watch is about. Pure.

use std::collections::BTreeSet;

use metronome_proto::{filter::Filter, run_id::RunId};

use super::event::{Event, OfRun, What};

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// Everything.
    All,
    /// Runs from the first event on with which they match, to their end.
    Matching(Matching),
    /// One run until its end; without `changes` its snapshots and its end alone.
    Run { id: RunId, changes: bool },
}

/// The runs of a filter. A run that has matched once is followed to its end, whatever becomes of
/// it: of `state = running` the end is what a watcher waits for.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    filter: Filter,
    /// Those that have matched and have not ended.
    followed: BTreeSet<RunId>,
}

impl Matching {
    /// Those of a filter, and those that a watcher was following when it broke off.
    pub(crate) fn new(filter: Filter, followed: BTreeSet<RunId>) -> Self {
        Self { filter, followed }
    }
}

impl Selection {
    /// Whether an event is one of them.
    pub(super) fn has(&self, event: &Event) -> bool {
        match (self, &event.what) {
            (Self::All, _) => true,
            (Self::Matching(of), What::Of(id, run, _)) => {
                of.followed.contains(id) || of.filter.matches(run)
            }
            (Self::Run { id, changes }, What::Of(of, _, what)) => {
                let is_basic = matches!(what, OfRun::Snapshot(_) | OfRun::Ended);
                of == id && (*changes || is_basic)
            }
            (Self::Matching(_) | Self::Run { .. }, What::Agent(_) | What::Worker(_)) => false,
        }
    }

    /// Goes on behind an event: a run of which it is one is followed from now on, until it ends.
    pub(super) fn pass(&mut self, event: &Event) {
        if !self.has(event) {
            return;
        }
        if let (Self::Matching(of), What::Of(id, _, what)) = (self, &event.what) {
            match what {
                OfRun::Ended => of.followed.remove(id),
                OfRun::Changed | OfRun::Snapshot(_) | OfRun::ThresholdFailed(_) => {
                    of.followed.insert(*id)
                }
            };
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
