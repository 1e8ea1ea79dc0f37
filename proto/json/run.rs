//! A run. Its figures are null as long as there is no report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    SCHEMA_VERSION,
    counts::Counts,
    environment::Environment,
    failure::Failure,
    host::{HostUse, Limit},
    path::TcpSummary,
    report::{Agent, Client, Cpu, Group, Outcome, Rate, Receiver, Verdict},
    text,
    times::Times,
    values::{self, Word},
};
use crate::{
    profile::hz,
    threshold::Threshold,
    v1::{self, payload::Source, profile::Shape, target::Kind},
};

/// The run as a JSON object and a line feed. `clients` is `None` where the rows were not fetched.
#[must_use]
pub fn result(run: &v1::Run, clients: Option<&[v1::ClientReport]>) -> String {
    text(&RunResult::new(run, clients))
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult<'a> {
    schema_version: u32,
    run_id: &'a str,
    request_id: &'a str,
    labels: &'a BTreeMap<String, String>,
    state: Option<Word>,
    created_at: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    plan: Option<Plan<'a>>,
    failure: Option<Failure<'a>>,
    stopped: Option<Stopped>,
    unstored: bool,
    verdict: Option<Verdict<'a>>,
    outcome: Option<Outcome<'a>>,
    limit: Option<Limit<'a>>,
    counts: Option<Counts>,
    rate: Option<Rate>,
    elapsed_s: Option<f64>,
    lateness_us: Option<Times>,
    transit_us: Option<Times>,
    latency_us: Option<Times>,
    spread_us: Option<Times>,
    rtt_from_due_us: Option<Times>,
    rtt_from_write_us: Option<Times>,
    one_way_us: Option<Times>,
    queueing_us: Option<Times>,
    probe_rtt_us: Option<Times>,
    generator_tcp: Option<TcpSummary>,
    receiver_tcp: Option<TcpSummary>,
    cpu: Option<Cpu>,
    groups: Option<Vec<Group<'a>>>,
    agents: Option<Vec<Agent<'a>>>,
    receivers: Option<Vec<Receiver<'a>>>,
    environments: Option<Vec<Environment<'a>>>,
    hosts: Option<Vec<HostUse<'a>>>,
    clients: Option<Vec<Client<'a>>>,
}

impl<'a> RunResult<'a> {
    /// A run and, where they were fetched, its client rows.
    #[must_use]
    pub fn new(run: &'a v1::Run, clients: Option<&'a [v1::ClientReport]>) -> Self {
        let report = run.report.as_ref();
        let times = report.and_then(|report| report.times.as_ref());
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: &run.run_id,
            request_id: &run.request_id,
            labels: &run.labels,
            state: values::state(run.state),
            created_at: values::instant(run.created_at.as_ref()),
            started_at: values::instant(run.started_at.as_ref()),
            ended_at: values::instant(run.ended_at.as_ref()),
            plan: run.plan.as_ref().map(Plan::from),
            failure: run.failure.as_ref().map(Failure::from),
            stopped: run.stopped.as_ref().map(Stopped::from),
            unstored: run.unstored,
            verdict: report.and_then(|report| report.verdict.as_ref().map(Verdict::from)),
            outcome: report.and_then(|report| report.outcome.as_ref().map(Outcome::from)),
            limit: report.and_then(|report| report.limit.as_ref().map(Limit::from)),
            counts: report.and_then(|report| report.counts.as_ref().map(Counts::of_both_ends)),
            rate: report.and_then(|report| report.rate.as_ref().map(Rate::from)),
            elapsed_s: report.and_then(|report| values::seconds(report.elapsed.as_ref())),
            lateness_us: times.and_then(|times| times.lateness.as_ref().map(Times::from)),
            transit_us: times.and_then(|times| times.transit.as_ref().map(Times::from)),
            latency_us: times.and_then(|times| times.latency.as_ref().map(Times::from)),
            spread_us: times.and_then(|times| times.spread.as_ref().map(Times::from)),
            rtt_from_due_us: times.and_then(|times| times.rtt_from_due.as_ref().map(Times::from)),
            rtt_from_write_us: times
                .and_then(|times| times.rtt_from_write.as_ref().map(Times::from)),
            one_way_us: times.and_then(|times| times.one_way.as_ref().map(Times::from)),
            queueing_us: times.and_then(|times| times.queueing.as_ref().map(Times::estimated)),
            probe_rtt_us: report.and_then(|report| report.probe_rtt.as_ref().map(Times::from)),
            generator_tcp: report
                .and_then(|report| report.generator_tcp.as_ref().map(TcpSummary::from)),
            receiver_tcp: report
                .and_then(|report| report.receiver_tcp.as_ref().map(TcpSummary::from)),
            cpu: report.and_then(|report| report.cpu.as_ref().map(Cpu::from)),
            groups: rows(report.map(|report| &report.groups[..])),
            agents: rows(report.map(|report| &report.agents[..])),
            receivers: rows(report.map(|report| &report.receivers[..])),
            environments: rows(report.map(|report| &report.environments[..])),
            hosts: rows(report.map(|report| &report.host_uses[..])),
            clients: rows(clients),
        }
    }
}

fn rows<'a, M, R: From<&'a M>>(messages: Option<&'a [M]>) -> Option<Vec<R>> {
    messages.map(|messages| messages.iter().map(R::from).collect())
}

/// `None` for one that this version does not have.
fn threshold(threshold: &v1::Threshold) -> Option<String> {
    Threshold::try_from(threshold)
        .ok()
        .map(|threshold| threshold.to_string())
}

/// The load.
#[derive(Clone, Debug, Serialize)]
pub struct Plan<'a> {
    groups: Vec<GroupPlan<'a>>,
    clock_trust: Option<ClockTrust>,
    allow: Vec<Option<Word>>,
    duration_s: Option<f64>,
    warm_up_s: Option<f64>,
    seed: Option<u64>,
    on_agent_loss: Option<Word>,
    threads: u32,
    /// The text of flags: `latency.p99<200us`. Null is one that this version does not have.
    thresholds: Vec<Option<String>>,
    default_objectives: bool,
    requires: &'a [String],
}

impl<'a> From<&'a v1::Plan> for Plan<'a> {
    fn from(plan: &'a v1::Plan) -> Self {
        Self {
            groups: plan.groups.iter().map(GroupPlan::from).collect(),
            duration_s: values::seconds(plan.duration.as_ref()),
            warm_up_s: values::seconds(plan.warm_up.as_ref()),
            seed: (plan.seed > 0).then_some(plan.seed),
            on_agent_loss: values::agent_loss(plan.on_agent_loss),
            threads: plan.threads,
            thresholds: plan.thresholds.iter().map(threshold).collect(),
            clock_trust: plan.clock_trust.as_ref().map(ClockTrust::from),
            allow: plan
                .allow
                .iter()
                .map(|one| values::allowance(*one))
                .collect(),
            default_objectives: !plan.no_default_objectives,
            requires: &plan.requires,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct GroupPlan<'a> {
    name: &'a str,
    clients: u32,
    profile: Option<Profile>,
    packet_bytes: u32,
    payload: Option<Payload<'a>>,
    batch: u32,
    phase: Option<Word>,
    echo_every: Option<u32>,
    agents: Option<Agents<'a>>,
    target: Option<Target<'a>>,
}

impl<'a> From<&'a v1::Group> for GroupPlan<'a> {
    fn from(group: &'a v1::Group) -> Self {
        Self {
            name: &group.name,
            clients: group.clients,
            profile: group
                .profile
                .as_ref()
                .and_then(|profile| profile.shape.as_ref().map(Profile::from)),
            packet_bytes: group.packet_bytes,
            payload: group
                .payload
                .as_ref()
                .and_then(|payload| payload.source.as_ref().map(Payload::from)),
            batch: group.batch,
            phase: values::phase(group.phase),
            echo_every: (group.echo_every > 0).then_some(group.echo_every),
            agents: group.agents.as_ref().map(Agents::from),
            target: group.target.as_ref().map(Target::from),
        }
    }
}

/// The bytes behind the header of each packet. Hashes are in hexadecimal digits.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
enum Payload<'a> {
    Zeros,
    Pattern,
    /// Records that came with the plan.
    Records {
        name: &'a str,
        bytes: u64,
        sha256: String,
    },
    /// A file of the agents. Without a hash it may be any.
    AgentFile {
        name: &'a str,
        sha256: Option<String>,
    },
}

impl<'a> From<&'a Source> for Payload<'a> {
    fn from(source: &'a Source) -> Self {
        match source {
            Source::Zeros(_) => Self::Zeros,
            Source::Pattern(_) => Self::Pattern,
            Source::Records(records) => Self::Records {
                name: &records.name,
                bytes: records.size,
                sha256: values::hex(&records.sha256),
            },
            Source::File(file) => Self::AgentFile {
                name: &file.name,
                sha256: (!file.sha256.is_empty()).then(|| values::hex(&file.sha256)),
            },
        }
    }
}

/// The agents that were chosen.
#[derive(Clone, Debug, Serialize)]
struct Agents<'a> {
    names: &'a [String],
}

impl<'a> From<&'a v1::AgentSelector> for Agents<'a> {
    fn from(agents: &'a v1::AgentSelector) -> Self {
        Self {
            names: &agents.names,
        }
    }
}

/// Where the clients of a group connect. Both are null for a kind that this version does not have.
#[derive(Clone, Debug, Serialize)]
struct Target<'a> {
    kind: Option<&'static str>,
    address: Option<&'a str>,
}

impl<'a> From<&'a v1::Target> for Target<'a> {
    fn from(target: &'a v1::Target) -> Self {
        match &target.kind {
            Some(Kind::Receivers(receivers)) => Self {
                kind: Some("receivers"),
                address: Some(&receivers.address),
            },
            None => Self {
                kind: None,
                address: None,
            },
        }
    }
}

/// The load of one client. Rates are packets per second, times seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Profile {
    /// Packets at even distances.
    Constant {
        /// Packets per second.
        rate_hz: f64,
    },
    /// Independent arrivals.
    Poisson {
        /// Packets per second in the mean.
        rate_hz: f64,
    },
    /// Packets that are due together, again and again.
    Burst {
        /// Packets of a burst.
        packets: u32,
        /// From one burst to the next.
        every_s: Option<f64>,
    },
    /// A rate that changes evenly.
    Ramp {
        /// At the start of the run.
        from_hz: f64,
        /// At its end.
        to_hz: f64,
    },
    /// One rate after the other.
    Steps {
        /// In their order.
        steps: Vec<Step>,
    },
    /// A rate and silence by turns.
    OnOff {
        /// While it is on.
        rate_hz: f64,
        /// How long it is on.
        on_s: Option<f64>,
        /// How long it is silent.
        off_s: Option<f64>,
    },
    /// The client sends as many packets as the path carries.
    Flood,
}

/// One of several rates.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    rate_hz: f64,
    /// How long it stays; null of the last one, which stays to the end.
    duration_s: Option<f64>,
}

impl From<&Shape> for Profile {
    fn from(shape: &Shape) -> Self {
        match shape {
            Shape::Constant(constant) => Self::Constant {
                rate_hz: hz(constant.rate_millihertz),
            },
            Shape::Poisson(poisson) => Self::Poisson {
                rate_hz: hz(poisson.rate_millihertz),
            },
            Shape::Burst(burst) => Self::Burst {
                packets: burst.packets,
                every_s: values::seconds(burst.every.as_ref()),
            },
            Shape::Ramp(ramp) => Self::Ramp {
                from_hz: hz(ramp.from_millihertz),
                to_hz: hz(ramp.to_millihertz),
            },
            Shape::Steps(steps) => Self::Steps {
                steps: (steps.steps.iter())
                    .map(|step| Step {
                        rate_hz: hz(step.rate_millihertz),
                        duration_s: values::seconds(step.duration.as_ref()),
                    })
                    .collect(),
            },
            Shape::OnOff(of) => Self::OnOff {
                rate_hz: hz(of.rate_millihertz),
                on_s: values::seconds(of.on.as_ref()),
                off_s: values::seconds(of.off.as_ref()),
            },
            Shape::Flood(_) => Self::Flood,
        }
    }
}

/// An end before the schedule was over.
#[derive(Clone, Debug, Serialize)]
pub struct Stopped {
    cause: Option<Word>,
}

impl From<&v1::Stopped> for Stopped {
    fn from(stopped: &v1::Stopped) -> Self {
        Self {
            cause: values::stop_cause(stopped.cause),
        }
    }
}

/// What the plan claims of the wall clocks.
#[derive(Clone, Debug, Serialize)]
struct ClockTrust {
    ntp: bool,
    bound_us: Option<f64>,
}

impl From<&v1::ClockTrust> for ClockTrust {
    fn from(trust: &v1::ClockTrust) -> Self {
        Self {
            ntp: trust.ntp,
            bound_us: trust.bound_ns.map(values::micros),
        }
    }
}
