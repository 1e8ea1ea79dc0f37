//! An event of a server's feed: one line of `-o ndjson`, and the data of one server-sent event.
//!
//! What it carries are the very objects that other commands print: a run, a snapshot, an agent, a
//! worker.

use serde::Serialize;

use super::{
    SCHEMA_VERSION, line,
    lists::Agent,
    report::Objective,
    run::RunResult,
    server::Worker,
    snapshot::Snapshot,
    values::{self, Word},
};
use crate::v1::{self, watch_events_response::Event as Kind};

/// The event as a JSON object in one line, without the line feed.
#[must_use]
pub fn event(event: &v1::WatchEventsResponse) -> String {
    line(&Event::from(event))
}

/// The kind of an event as its JSON has it in `event`: `run_changed`. `None` for one that this
/// version does not have.
#[must_use]
pub fn kind(event: &v1::WatchEventsResponse) -> Option<&'static str> {
    event.event.as_ref().map(|kind| match kind {
        Kind::Present(_) => "present",
        Kind::Snapshot(_) => "snapshot",
        Kind::RunChanged(_) => "run_changed",
        Kind::RunEnded(_) => "run_ended",
        Kind::AgentChanged(_) => "agent_changed",
        Kind::WorkerChanged(_) => "worker_changed",
        Kind::ThresholdFailed(_) => "threshold_failed",
    })
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    schema_version: u32,
    /// `None` in a present state, but for the last event of it.
    number: Option<u64>,
    at: Option<String>,
    #[serde(flatten)]
    what: What<'a>,
}

/// What has happened, named by `event`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What<'a> {
    Present {
        missed: bool,
        run_ids: &'a [String],
        agents: &'a [String],
        workers: &'a [u32],
    },
    Snapshot {
        snapshot: Box<Snapshot<'a>>,
    },
    RunChanged {
        run: Box<RunResult<'a>>,
    },
    RunEnded {
        run: Box<RunResult<'a>>,
    },
    AgentChanged {
        change: Option<Word>,
        agent: Option<Agent<'a>>,
    },
    WorkerChanged {
        change: Option<Word>,
        worker: Option<Worker>,
    },
    ThresholdFailed {
        run_id: &'a str,
        ended_run: bool,
        objective: Option<Objective<'a>>,
    },
    /// One that this version does not have.
    Unknown,
}

impl<'a> From<&'a v1::WatchEventsResponse> for Event<'a> {
    fn from(event: &'a v1::WatchEventsResponse) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            number: (event.number > 0).then_some(event.number),
            at: values::instant(event.at.as_ref()),
            what: event.event.as_ref().map_or(What::Unknown, What::from),
        }
    }
}

impl<'a> From<&'a Kind> for What<'a> {
    fn from(kind: &'a Kind) -> Self {
        match kind {
            Kind::Present(state) => Self::Present {
                missed: state.missed,
                run_ids: &state.run_ids,
                agents: &state.agents,
                workers: &state.workers,
            },
            Kind::Snapshot(snapshot) => Self::Snapshot {
                snapshot: Box::new(Snapshot::from(snapshot)),
            },
            Kind::RunChanged(run) => Self::RunChanged {
                run: Box::new(RunResult::new(run, None)),
            },
            Kind::RunEnded(run) => Self::RunEnded {
                run: Box::new(RunResult::new(run, None)),
            },
            Kind::AgentChanged(changed) => Self::AgentChanged {
                change: values::agent_change(changed.change),
                agent: changed.agent.as_ref().map(Agent::from),
            },
            Kind::WorkerChanged(changed) => Self::WorkerChanged {
                change: values::worker_change(changed.change),
                worker: changed.worker.as_ref().map(Worker::from),
            },
            Kind::ThresholdFailed(failed) => Self::ThresholdFailed {
                run_id: &failed.run_id,
                ended_run: failed.ended_run,
                objective: failed.objective.as_ref().map(Objective::from),
            },
        }
    }
}
