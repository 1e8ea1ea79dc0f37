//! What a run has shown of the path between each of its agents and the server, and of their
//! clocks. Pure.
//!
//! A figure that nobody has measured is `None`; times are ns. Whether the load was held is not
//! looked at: what clocks and probes prove does not depend on it.

use metronome_proto::{
    features::PROBES,
    v1::{self, ReasonCode, clock_relation::Relation},
};

use super::trial::{Ground, of_failure, of_reason};

/// The paths of all agents that were to be measured, in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Paths {
    /// Length of the schedule of each run.
    pub(crate) seconds: f64,
    pub(crate) agents: Vec<AgentPath>,
}

/// The path between one agent and the server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AgentPath {
    pub(crate) agent: String,
    /// The version of the agent's program. Empty where it has not reported one.
    pub(crate) version: String,
    /// Whether the agent can probe: one of an earlier version cannot.
    pub(crate) can_probe: bool,
    /// How its clock relates to the server's at the end of the run.
    pub(crate) clock: Option<v1::ClockRelation>,
    /// What its probes have shown. None are sent on the server's own clock.
    pub(crate) probes: Option<v1::Path>,
    /// Bytes of the largest packet of the path, the least of what the agent's kernel has found.
    pub(crate) path_mtu: Option<u32>,
    /// Segments that the agent's host has sent again, of its client and of its probes.
    pub(crate) retransmitted_by_agent: Option<u64>,
    /// Segments that the server's host has sent again to its client.
    pub(crate) retransmitted_by_server: Option<u64>,
    /// How much later its schedule began than that of the first agent of its run, and how far off
    /// that can be.
    pub(crate) start_skew_ns: Option<i64>,
    pub(crate) start_skew_bound_ns: Option<i64>,
    /// How far off a one-way time of this run was at most.
    pub(crate) one_way: Option<Bound>,
    /// How far off a queueing of this run was at most: an estimate.
    pub(crate) queueing_bound_ns: Option<i64>,
    /// Transit and latency are known: its clock was the server's for the whole run.
    pub(crate) has_transit: bool,
    /// The generator was late, which proves nothing against the path.
    pub(crate) late: Option<Ground>,
    /// Why nothing is promised of it.
    pub(crate) refused: Option<Ground>,
}

/// How far off a time can be, in either direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bound {
    pub(crate) ns: i64,
    /// It rests on a claim. Else it is proved.
    pub(crate) is_claimed: bool,
}

impl AgentPath {
    /// Of an agent, nothing but that no run shows its path.
    pub(crate) fn refused(agent: &v1::Agent, failure: &v1::Failure) -> Self {
        Self {
            refused: Some(of_failure(failure)),
            ..Self::of_agent(agent)
        }
    }

    /// What `run` has shown of `agent`, which had a group of its name, and of its one client.
    pub(crate) fn of_run(agent: &v1::Agent, run: &v1::Run, clients: &[v1::ClientReport]) -> Self {
        let report = run.report.as_ref();
        let report = report.filter(|_| run.state() == v1::RunState::Ended);
        let Some(report) = report else {
            return Self {
                refused: Some(without_report(run)),
                ..Self::of_agent(agent)
            };
        };
        let its = report.agents.iter().find(|of| of.agent == agent.name);
        let group = report.groups.iter().find(|of| of.group == agent.name);
        let times = group.and_then(|group| group.times.as_ref());
        let client = clients.iter().find(|client| client.agent == agent.name);
        let probes = its.and_then(|its| its.path.clone());
        let by_client = client.and_then(|client| client.generator_tcp);
        let by_probes = probes.as_ref().map(|probes| probes.tcp);
        let mtus = [by_client, by_probes.flatten()].into_iter().flatten();
        let grounds = grounds_of(report);
        Self {
            clock: its.and_then(|its| its.clock),
            path_mtu: mtus.filter_map(|tcp| tcp.path_mtu).min(),
            retransmitted_by_agent: retransmitted(by_client, by_probes),
            retransmitted_by_server: client.and_then(|client| client.receiver_tcp?.retransmitted),
            start_skew_ns: its.and_then(|its| its.start_skew_ns),
            start_skew_bound_ns: its.and_then(|its| its.start_skew_bound_ns),
            one_way: times.and_then(|times| bound(times.one_way.as_ref()?)),
            queueing_bound_ns: times.and_then(|times| times.queueing.as_ref()?.bound_ns),
            has_transit: times.is_some_and(|times| times.transit.is_some()),
            late: grounds.late,
            refused: refusal_of(agent, its, client).or(grounds.refused),
            probes,
            ..Self::of_agent(agent)
        }
    }

    fn of_agent(agent: &v1::Agent) -> Self {
        Self {
            agent: agent.name.clone(),
            version: agent.version.clone(),
            can_probe: agent.capabilities.iter().any(|name| name == PROBES),
            ..Self::default()
        }
    }

    /// The relation of the clocks, where this version has it.
    pub(crate) fn relation(&self) -> Option<Relation> {
        self.clock?.relation
    }

    /// Probes that no answer came for. `None` where none were sent.
    pub(crate) fn probes_lost(&self) -> Option<u64> {
        let probes = self.probes.as_ref().filter(|of| of.probes_sent > 0)?;
        Some(probes.probes_sent.saturating_sub(probes.probes_answered))
    }
}

/// The sum of both connections; not known where that of one is not.
fn retransmitted(
    by_client: Option<v1::TcpInfo>,
    by_probes: Option<Option<v1::TcpInfo>>,
) -> Option<u64> {
    let of_client = by_client?.retransmitted?;
    let of_probes = match by_probes {
        // None were sent.
        None => 0,
        Some(tcp) => tcp?.retransmitted?,
    };
    Some(of_client.saturating_add(of_probes))
}

fn bound(times: &v1::Distribution) -> Option<Bound> {
    Some(Bound {
        ns: times.bound_ns?,
        is_claimed: times.bound_is_claimed,
    })
}

/// What an agent, or its client, has failed with.
fn refusal_of(
    agent: &v1::Agent,
    report: Option<&v1::AgentReport>,
    client: Option<&v1::ClientReport>,
) -> Option<Ground> {
    let Some(report) = report else {
        let sentence = format!("the report of the run does not have agent {}", agent.name);
        let code = v1::FailureCode::NoFinalReport;
        return Some(of_failure(&v1::Failure::new(code, sentence)));
    };
    let of_client = client.and_then(|client| client.failure.as_ref());
    report.failure.as_ref().or(of_client).map(of_failure)
}

/// Why an ended run is not to be believed.
struct Grounds {
    late: Option<Ground>,
    refused: Option<Ground>,
}

fn grounds_of(report: &v1::Report) -> Grounds {
    let is_known = |status| {
        use v1::VerdictStatus::{Invalid, Partial, Valid};
        [Valid, Partial, Invalid].contains(&status)
    };
    let Some(verdict) = report.verdict.as_ref().filter(|of| is_known(of.status())) else {
        return Grounds {
            late: None,
            refused: Some(ground("INTERNAL", "the run has no verdict")),
        };
    };
    let is_of_verdict = |reason: &&v1::Reason| reason.status() == v1::VerdictStatus::Invalid;
    let invalid: Vec<_> = verdict.reasons.iter().filter(is_of_verdict).collect();
    let is_late = |reason: &&&v1::Reason| {
        use ReasonCode::{ClientLateness, Lateness, Saturated};
        [Lateness, ClientLateness, Saturated].contains(&reason.code())
    };
    let refused = invalid.iter().find(|reason| !is_late(reason));
    let is_unexplained = verdict.status() == v1::VerdictStatus::Invalid && invalid.is_empty();
    Grounds {
        late: invalid.iter().find(is_late).map(|reason| of_reason(reason)),
        refused: match refused {
            None if is_unexplained => Some(ground("INTERNAL", "the run is invalid")),
            reason => reason.map(|reason| of_reason(reason)),
        },
    }
}

fn without_report(run: &v1::Run) -> Ground {
    let failure = run.failure.as_ref().map(of_failure);
    failure.unwrap_or_else(|| ground("INTERNAL", "the run has no report"))
}

fn ground(code: &str, sentence: &str) -> Ground {
    Ground {
        code: code.into(),
        sentence: sentence.into(),
        remedy: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use metronome_proto::v1::{FailureCode, VerdictStatus};

    use super::*;

    pub(crate) fn agent(name: &str) -> v1::Agent {
        v1::Agent {
            name: name.into(),
            version: "0.1.0".into(),
            capabilities: vec![PROBES.into()],
            ..v1::Agent::default()
        }
    }

    pub(crate) fn on_clock(relation: Relation) -> Option<v1::ClockRelation> {
        let relation = Some(relation);
        Some(v1::ClockRelation { relation })
    }

    /// A path of 69 µs to an agent an hour ahead.
    pub(crate) fn far() -> AgentPath {
        AgentPath::of_run(&agent("far"), &run(VerdictStatus::Valid), &[client("far")])
    }

    /// An agent on the server's clock, measured together with [`far`].
    pub(crate) fn near() -> AgentPath {
        AgentPath::of_run(
            &agent("near"),
            &run(VerdictStatus::Valid),
            &[client("near")],
        )
    }

    fn times(bound_ns: i64) -> v1::Distribution {
        v1::Distribution {
            count: 600,
            bound_ns: Some(bound_ns),
            ..v1::Distribution::default()
        }
    }

    fn tcp(retransmitted: u64, path_mtu: u32) -> v1::TcpInfo {
        v1::TcpInfo {
            retransmitted: Some(retransmitted),
            path_mtu: Some(path_mtu),
            ..v1::TcpInfo::default()
        }
    }

    fn client(agent: &str) -> v1::ClientReport {
        v1::ClientReport {
            agent: agent.into(),
            generator_tcp: Some(tcp(0, 1_500)),
            receiver_tcp: Some(tcp(0, 9_000)),
            ..v1::ClientReport::default()
        }
    }

    fn probed() -> v1::Path {
        let quantile = |ppm, ns| v1::Quantile { ppm, ns };
        let rtt = v1::Distribution {
            count: 1_094,
            quantiles: vec![quantile(500_000, 90_100), quantile(990_000, 120_000)],
            min_ns: 69_100,
            max_ns: 1_050_000,
            ..v1::Distribution::default()
        };
        v1::Path {
            probes_sent: 1_094,
            probes_answered: 1_094,
            probe_rtt: Some(rtt),
            contradictions: 0,
            tcp: Some(tcp(0, 1_420)),
        }
    }

    fn run(verdict: VerdictStatus) -> v1::Run {
        let offset = v1::OffsetClock {
            offset_ns: -3_600_000_000_000,
            bound_ns: 25_500,
            drift_ppb: -1_320,
            drift_bound_ppb: 4_857,
            bound_is_claimed: false,
        };
        let same = v1::SameClock {
            bound_ns: Some(12_100),
        };
        let report = |agent: &str, clock, path| v1::AgentReport {
            agent: agent.into(),
            clock: on_clock(clock),
            path,
            start_skew_ns: Some(0),
            start_skew_bound_ns: Some(50_300),
            ..v1::AgentReport::default()
        };
        let group = |name: &str, times| v1::GroupReport {
            group: name.into(),
            times: Some(times),
            ..v1::GroupReport::default()
        };
        let between = v1::Times {
            one_way: Some(times(53_000)),
            queueing: Some(times(8_000)),
            ..v1::Times::default()
        };
        let on_one = v1::Times {
            transit: Some(v1::Distribution::default()),
            ..v1::Times::default()
        };
        let report = v1::Report {
            verdict: Some(v1::Verdict {
                status: verdict.into(),
                ..v1::Verdict::default()
            }),
            agents: vec![
                report("far", Relation::Offset(offset), Some(probed())),
                report("near", Relation::Same(same), None),
            ],
            groups: vec![group("far", between), group("near", on_one)],
            ..v1::Report::default()
        };
        v1::Run {
            state: v1::RunState::Ended.into(),
            report: Some(report),
            ..v1::Run::default()
        }
    }

    fn code(path: &AgentPath) -> Option<&str> {
        path.refused.as_ref().map(|ground| ground.code.as_str())
    }

    #[test]
    fn each_agent_has_its_own_figures_of_a_run_of_several() {
        let (far, near) = (far(), near());
        assert_eq!(far.one_way.map(|of| of.ns), Some(53_000));
        assert_eq!(far.queueing_bound_ns, Some(8_000));
        assert_eq!((near.one_way, near.queueing_bound_ns), (None, None));
        assert!(near.has_transit && !far.has_transit);
        assert_eq!((far.path_mtu, near.path_mtu), (Some(1_420), Some(1_500)));
        assert_eq!((far.probes_lost(), near.probes_lost()), (Some(0), None));
        assert_eq!((code(&far), code(&near)), (None, None));
    }

    #[test]
    fn a_sum_of_which_a_part_is_not_known_is_not_known() {
        let of = |client: v1::ClientReport, probes: Option<v1::TcpInfo>| {
            let mut run = run(VerdictStatus::Valid);
            let report = run.report.as_mut().unwrap();
            report.agents[0].path.as_mut().unwrap().tcp = probes;
            let path = AgentPath::of_run(&agent("far"), &run, &[client]);
            (path.retransmitted_by_agent, path.path_mtu)
        };
        let silent = || v1::ClientReport {
            generator_tcp: None,
            ..client("far")
        };
        let three = tcp(3, 1_280);
        assert_eq!(of(client("far"), Some(three)), (Some(3), Some(1_280)));
        assert_eq!(of(client("far"), None), (None, Some(1_500)));
        assert_eq!(of(silent(), Some(three)), (None, Some(1_280)));
        assert_eq!(of(silent(), None), (None, None));
        let nobody = AgentPath::of_run(&agent("far"), &run(VerdictStatus::Valid), &[]);
        assert_eq!(nobody.retransmitted_by_server, None);
    }

    #[test]
    fn a_run_that_shows_nothing_or_is_not_to_be_believed_promises_nothing() {
        let of = |run: &v1::Run| AgentPath::of_run(&agent("far"), run, &[client("far")]);
        let failed = v1::Run {
            state: v1::RunState::Failed.into(),
            failure: Some(v1::Failure::new(FailureCode::NoRoute, "no route")),
            // What a failed run has of a report is no report.
            ..run(VerdictStatus::Valid)
        };
        assert_eq!(code(&of(&failed)), Some("NO_ROUTE"));
        assert_eq!(of(&failed).one_way, None);
        assert_eq!(code(&of(&v1::Run::default())), Some("INTERNAL"));
        for verdict in [VerdictStatus::Unspecified, VerdictStatus::Invalid] {
            assert_eq!(code(&of(&run(verdict))), Some("INTERNAL"), "{verdict:?}");
        }
        let valid = run(VerdictStatus::Valid);
        let absent = AgentPath::of_run(&agent("other"), &valid, &[]);
        assert_eq!(code(&absent), Some("NO_FINAL_REPORT"));
        let gone = v1::ClientReport {
            failure: Some(v1::Failure::new(FailureCode::ConnectionBroken, "broken")),
            ..client("far")
        };
        let gone = AgentPath::of_run(&agent("far"), &valid, &[gone]);
        assert_eq!(code(&gone), Some("CONNECTION_BROKEN"));
    }

    #[test]
    fn a_late_generator_proves_nothing_against_the_path_and_a_broken_law_does() {
        let of = |codes: &[ReasonCode]| {
            let reason = |code: &ReasonCode| v1::Reason {
                code: (*code).into(),
                status: VerdictStatus::Invalid.into(),
                sentence: "a sentence".into(),
                ..v1::Reason::default()
            };
            let mut run = run(VerdictStatus::Invalid);
            let verdict = run.report.as_mut().and_then(|of| of.verdict.as_mut());
            verdict.unwrap().reasons = codes.iter().map(reason).collect();
            AgentPath::of_run(&agent("far"), &run, &[client("far")])
        };
        let late = of(&[ReasonCode::Lateness]);
        assert_eq!((late.late.is_some(), code(&late)), (true, None));
        let broken = of(&[ReasonCode::Lateness, ReasonCode::BytesDiffer]);
        assert_eq!(code(&broken), Some("BYTES_DIFFER"));
    }

    #[test]
    fn an_agent_that_no_run_had_has_its_name_and_the_reason() {
        let old = v1::Agent {
            capabilities: Vec::new(),
            ..agent("old")
        };
        let failure = v1::Failure::new(FailureCode::Unsupported, "no warm_up");
        let path = AgentPath::refused(&old, &failure);
        assert_eq!(
            (path.agent.as_str(), code(&path)),
            ("old", Some("UNSUPPORTED"))
        );
        assert!(!path.can_probe && path.probes_lost().is_none());
    }
}
