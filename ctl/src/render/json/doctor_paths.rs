//! The JSON object of `doctor --agents`. What was not measured is null.

use metronome_proto::json::{
    SCHEMA_VERSION,
    path::Path,
    report::Clock,
    text,
    values::{self, micros},
};
use serde::Serialize;

use super::doctor::{Found, status};
use crate::doctor::{
    finding::Finding,
    judge::path::promise,
    path::{AgentPath, Paths},
};

/// The paths, what can be promised of each, and the findings.
pub(crate) fn paths(paths: &Paths, findings: &[Finding]) -> String {
    text(&DoctorPaths {
        schema_version: SCHEMA_VERSION,
        status: status(findings),
        duration_s: paths.seconds,
        paths: paths.agents.iter().map(Measured::from).collect(),
        findings: findings.iter().map(Found::from).collect(),
    })
}

#[derive(Serialize)]
struct DoctorPaths<'a> {
    schema_version: u32,
    status: &'static str,
    duration_s: f64,
    paths: Vec<Measured<'a>>,
    findings: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Measured<'a> {
    agent: &'a str,
    version: &'a str,
    can_probe: bool,
    promise: String,
    clock: Option<Clock>,
    path: Option<Path>,
    probes_lost: Option<u64>,
    path_mtu: Option<u32>,
    retransmitted_by_agent: Option<u64>,
    retransmitted_by_server: Option<u64>,
    start_skew_us: Option<f64>,
    start_skew_bound_us: Option<f64>,
    one_way_bound_us: Option<f64>,
    one_way_bound_is: Option<&'static str>,
    queueing_bound_us: Option<f64>,
    /// The code of why nothing is promised.
    failure: Option<&'a str>,
}

impl<'a> From<&'a AgentPath> for Measured<'a> {
    fn from(path: &'a AgentPath) -> Self {
        Self {
            agent: &path.agent,
            version: &path.version,
            can_probe: path.can_probe,
            promise: promise(path),
            clock: path.clock.as_ref().map(Clock::from),
            path: path.probes.as_ref().map(Path::from),
            probes_lost: path.probes_lost(),
            path_mtu: path.path_mtu,
            retransmitted_by_agent: path.retransmitted_by_agent,
            retransmitted_by_server: path.retransmitted_by_server,
            start_skew_us: path.start_skew_ns.map(micros),
            start_skew_bound_us: path.start_skew_bound_ns.map(micros),
            one_way_bound_us: path.one_way.map(|bound| micros(bound.ns)),
            one_way_bound_is: path.one_way.map(|of| values::bound_is(of.is_claimed)),
            queueing_bound_us: path.queueing_bound_ns.map(micros),
            failure: path.refused.as_ref().map(|ground| ground.code.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        doctor::{
            judge,
            path::tests::{far, near},
        },
        render::json::assert_valid,
    };

    fn object(agents: Vec<AgentPath>) -> Value {
        let findings = judge::path::paths(&agents);
        let seconds = 22.0;
        assert_valid(&super::paths(&Paths { seconds, agents }, &findings))
    }

    #[test]
    fn a_path_is_its_figures_and_its_promise() {
        let object = object(vec![far(), near()]);
        for (place, expected) in [
            ("/status", "ok".into()),
            ("/paths/0/agent", "far".into()),
            ("/paths/0/one_way_bound_us", 53.0.into()),
            ("/paths/0/one_way_bound_is", "proved".into()),
            ("/paths/0/clock/offset_us", (-3.6e9).into()),
            ("/paths/0/path/probe_rtt_us/percentiles/p99", 120.0.into()),
            ("/paths/0/probes_lost", 0.into()),
            ("/paths/0/path_mtu", 1_420.into()),
            ("/paths/1/clock/relation", "same".into()),
            ("/paths/1/clock/offset_us", Value::Null),
            ("/paths/1/path", Value::Null),
            ("/paths/1/probes_lost", Value::Null),
            ("/paths/1/one_way_bound_us", Value::Null),
        ] {
            assert_eq!(object.pointer(place), Some(&expected), "{place}");
        }
    }

    #[test]
    fn what_is_not_known_is_null() {
        let object = object(vec![AgentPath::default()]);
        let path = object["paths"][0].as_object().expect("a path");
        let known: Vec<_> = path.iter().filter(|(_, of)| !of.is_null()).collect();
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["agent", "can_probe", "promise", "version"]);
        assert_eq!(object["status"], "warning");
    }
}
