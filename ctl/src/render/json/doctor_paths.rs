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
