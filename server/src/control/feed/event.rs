//! One event, and its form in the API.

use std::sync::Arc;

use metronome_proto::{
    run_id::RunId,
    v1::{self, WatchEventsResponse, watch_events_response::Event as Kind},
};

use crate::wall_clock::timestamp;

/// What has happened. Runs are shared: a snapshot has that of its last change.
#[derive(Debug)]
pub(crate) struct Event {
    /// By the wall clock, ms since 1970.
    pub(super) at_unix_ms: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Of(RunId, Arc<v1::Run>, OfRun),
    Agent(v1::AgentChanged),
    Worker(v1::WorkerChanged),
}

/// What has happened to a run.
#[derive(Debug)]
pub(super) enum OfRun {
    Changed,
    Snapshot(Box<v1::Snapshot>),
    ThresholdFailed(Box<v1::ThresholdFailed>),
    Ended,
}

impl Event {
    /// The run, as it was then. `None` of an agent or a worker.
    pub(super) fn run(&self) -> Option<Arc<v1::Run>> {
        match &self.what {
            What::Of(_, run, _) => Some(Arc::clone(run)),
            What::Agent(_) | What::Worker(_) => None,
        }
    }

    /// The message of the API. `number` is `None` within a present state.
    pub(super) fn to_proto(&self, number: Option<u64>) -> WatchEventsResponse {
        let event = match &self.what {
            What::Of(_, run, OfRun::Changed) => Kind::RunChanged(v1::Run::clone(run)),
            What::Of(_, run, OfRun::Ended) => Kind::RunEnded(v1::Run::clone(run)),
            What::Of(_, _, OfRun::Snapshot(snapshot)) => Kind::Snapshot((**snapshot).clone()),
            What::Of(_, _, OfRun::ThresholdFailed(failed)) => {
                Kind::ThresholdFailed((**failed).clone())
            }
            What::Agent(changed) => Kind::AgentChanged(changed.clone()),
            What::Worker(changed) => Kind::WorkerChanged(*changed),
        };
        WatchEventsResponse {
            number: number.unwrap_or_default(),
            at: Some(timestamp(self.at_unix_ms)),
            event: Some(event),
        }
    }
}
