//! The JSON objects of `runs`, `agents`, `stop`, `start --detach`, and of what is done to a server.

use metronome_proto::v1;
use serde::Serialize;

use super::{
    object::{SCHEMA_VERSION, text},
    run::RunResult,
};
use crate::render::values;

/// `benchctl stop`.
pub(crate) fn stopped(run_ids: &[String]) -> String {
    #[derive(Serialize)]
    struct Stopped<'a> {
        schema_version: u32,
        run_ids: &'a [String],
    }
    text(&Stopped {
        schema_version: SCHEMA_VERSION,
        run_ids,
    })
}

/// `benchctl start --detach`.
pub(crate) fn started(run_id: &str) -> String {
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

/// `benchctl runs`: each as `benchctl show` has it, without its clients.
pub(crate) fn runs(runs: &[v1::Run]) -> String {
    #[derive(Serialize)]
    struct Runs<'a> {
        schema_version: u32,
        runs: Vec<RunResult<'a>>,
    }
    let runs = runs.iter().map(|run| RunResult::new(run, &[])).collect();
    text(&Runs {
        schema_version: SCHEMA_VERSION,
        runs,
    })
}

/// `benchctl agents`.
pub(crate) fn agents(agents: &[v1::Agent]) -> String {
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

#[derive(Serialize)]
struct Agent<'a> {
    name: &'a str,
    version: &'a str,
    peer: &'a str,
    connected_at: Option<String>,
    shares_clock: bool,
    clients_max: u32,
    cores: u32,
    run_ids: &'a [String],
}

impl<'a> From<&'a v1::Agent> for Agent<'a> {
    fn from(agent: &'a v1::Agent) -> Self {
        Self {
            name: &agent.name,
            version: &agent.version,
            peer: &agent.peer,
            connected_at: values::instant(agent.connected_at.as_ref()),
            shares_clock: agent.shares_clock,
            clients_max: agent.clients_max,
            cores: agent.cores,
            run_ids: &agent.run_ids,
        }
    }
}

/// `benchctl server upgrade`.
pub(crate) fn upgraded(pid: u32) -> String {
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
pub(crate) fn restarted(workers: u32) -> String {
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    fn object(text: &str) -> Value {
        serde_json::from_str(text).expect("one JSON object")
    }

    #[test]
    fn runs_are_listed_as_they_are_shown() {
        let run = run_of_the_front_page();
        let listed = object(&runs(std::slice::from_ref(&run)));
        assert_eq!(
            listed["runs"][0],
            object(&crate::render::json::run::result(&run, &[]))
        );
    }

    #[test]
    fn nothing_stopped_is_an_empty_list() {
        assert_eq!(object(&stopped(&[]))["run_ids"], Value::Array(Vec::new()));
        assert_eq!(
            object(&started("0199f0c2a1b2c3d4"))["run_id"],
            "0199f0c2a1b2c3d4"
        );
    }
}
