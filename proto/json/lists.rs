//! Runs, agents, and what was done to a run or a server.

use serde::Serialize;

use super::{
    SCHEMA_VERSION, failure::Failure, report::Clock, run::RunResult, text, values, values::Word,
};
use crate::v1;

/// `benchctl stop`: the runs that are being stopped, and those that had ended, in which there was
/// nothing to stop.
#[must_use]
pub fn stopped(runs: &[v1::Run]) -> String {
    #[derive(Serialize)]
    struct Stopped<'a> {
        schema_version: u32,
        run_ids: Vec<&'a str>,
        already_ended: Vec<AlreadyEnded<'a>>,
    }
    #[derive(Serialize)]
    struct AlreadyEnded<'a> {
        run_id: &'a str,
        state: Option<Word>,
        ended_at: Option<String>,
    }
    let (ended, stopping): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.state().is_final());
    text(&Stopped {
        schema_version: SCHEMA_VERSION,
        run_ids: stopping.iter().map(|run| run.run_id.as_str()).collect(),
        already_ended: ended
            .iter()
            .map(|run| AlreadyEnded {
                run_id: &run.run_id,
                state: values::state(run.state),
                ended_at: values::instant(run.ended_at.as_ref()),
            })
            .collect(),
    })
}

/// `benchctl delete`: the runs that were deleted, and why others could not be.
#[must_use]
pub fn deleted(run_ids: &[String], failures: &[v1::Failure]) -> String {
    #[derive(Serialize)]
    struct Deleted<'a> {
        schema_version: u32,
        run_ids: &'a [String],
        errors: Vec<Failure<'a>>,
    }
    text(&Deleted {
        schema_version: SCHEMA_VERSION,
        run_ids,
        errors: failures.iter().map(Failure::from).collect(),
    })
}

/// `benchctl start --detach`.
#[must_use]
pub fn started(run_id: &str) -> String {
    #[derive(Serialize)]
    struct Started<'a> {
        schema_version: u32,
        run_id: &'a str,
    }
    text(&Started {
        schema_version: SCHEMA_VERSION,
        run_id,
    })
}

/// `benchctl runs`: each as `benchctl show` has it, without its clients; and the ids of those that
/// cannot be read.
#[must_use]
pub fn runs(runs: &[v1::Run], unreadable_run_ids: &[String]) -> String {
    #[derive(Serialize)]
    struct Runs<'a> {
        schema_version: u32,
        runs: Vec<RunResult<'a>>,
        unreadable_run_ids: &'a [String],
    }
    let runs = runs.iter().map(|run| RunResult::new(run, None)).collect();
    text(&Runs {
        schema_version: SCHEMA_VERSION,
        runs,
        unreadable_run_ids,
    })
}

/// `benchctl agents`.
#[must_use]
pub fn agents(agents: &[v1::Agent]) -> String {
    #[derive(Serialize)]
    struct Agents<'a> {
        schema_version: u32,
        agents: Vec<Agent<'a>>,
    }
    text(&Agents {
        schema_version: SCHEMA_VERSION,
        agents: agents.iter().map(Agent::from).collect(),
    })
}

/// A connected agent.
#[derive(Clone, Debug, Serialize)]
pub struct Agent<'a> {
    name: &'a str,
    version: &'a str,
    protocol_version: u32,
    capabilities: &'a [String],
    peer: &'a str,
    connected_at: Option<String>,
    clock: Option<Clock>,
    capacity: Option<Capacity>,
    run_ids: &'a [String],
    state: Option<Word>,
}

impl<'a> From<&'a v1::Agent> for Agent<'a> {
    fn from(agent: &'a v1::Agent) -> Self {
        Self {
            name: &agent.name,
            version: &agent.version,
            protocol_version: agent.protocol_version,
            capabilities: &agent.capabilities,
            peer: &agent.peer,
            connected_at: values::instant(agent.connected_at.as_ref()),
            clock: agent.clock.as_ref().map(Clock::from),
            capacity: agent.capacity.map(Capacity::from),
            run_ids: &agent.run_ids,
            state: values::agent_state(agent.state),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Capacity {
    max_clients: u32,
    cores: u32,
}

impl From<v1::Capacity> for Capacity {
    fn from(capacity: v1::Capacity) -> Self {
        Self {
            max_clients: capacity.max_clients,
            cores: capacity.cores,
        }
    }
}

/// `benchctl server upgrade`.
#[must_use]
pub fn upgraded(pid: u32) -> String {
    #[derive(Serialize)]
    struct Upgraded {
        schema_version: u32,
        pid: u32,
    }
    text(&Upgraded {
        schema_version: SCHEMA_VERSION,
        pid,
    })
}

/// `benchctl server restart-workers`.
#[must_use]
pub fn restarted(workers: u32) -> String {
    #[derive(Serialize)]
    struct Restarted {
        schema_version: u32,
        restarted: u32,
    }
    text(&Restarted {
        schema_version: SCHEMA_VERSION,
        restarted: workers,
    })
}
