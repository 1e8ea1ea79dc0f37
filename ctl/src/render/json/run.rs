//! A run as one JSON object. docs/result.schema.json describes it; a test keeps the two together.

use metronome_proto::v1;
use serde::Serialize;

use super::object::{SCHEMA_VERSION, text};
use crate::render::values;

/// The run as a JSON object and a line feed.
pub(crate) fn result(run: &v1::Run, clients: &[v1::ClientReport]) -> String {
    text(&RunResult::new(run, clients))
}

/// One run. The figures are null as long as there is no report.
#[derive(Debug, Serialize)]
pub(super) struct RunResult<'a> {
    schema_version: u32,
    run_id: &'a str,
    request_id: &'a str,
    label: &'a str,
    state: &'static str,
    created_at: Option<String>,
    ended_at: Option<String>,
    plan: Option<Plan<'a>>,
    verdict: Option<Verdict<'a>>,
    elapsed_s: Option<f64>,
    packets: Option<Packets>,
    rate: Option<Rate>,
    lateness_us: Option<Times>,
    transit_us: Option<Times>,
    latency_us: Option<Times>,
    cpu: Option<Cpu>,
    laws: Vec<Law<'a>>,
    clients: Vec<Client<'a>>,
    workers: Vec<Worker>,
    agents: Vec<Agent<'a>>,
}

impl<'a> RunResult<'a> {
    pub(super) fn new(run: &'a v1::Run, clients: &'a [v1::ClientReport]) -> Self {
        let report = run.report.as_ref();
        let times =
            |of: fn(&v1::Report) -> Option<&v1::Distribution>| report.and_then(of).map(Times::from);
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: &run.run_id,
            request_id: &run.request_id,
            label: &run.label,
            state: values::state(run),
            created_at: values::instant(run.created_at.as_ref()),
            ended_at: values::instant(run.ended_at.as_ref()),
            plan: run.plan.as_ref().map(Plan::from),
            verdict: report
                .and_then(|report| report.verdict.as_ref())
                .map(Verdict::from),
            elapsed_s: report.map(|report| report.elapsed_s),
            packets: report.map(|report| Packets::from(&report.packets.unwrap_or_default())),
            rate: report.map(|report| Rate::from(&report.rate.unwrap_or_default())),
            lateness_us: times(|report| report.lateness.as_ref()),
            transit_us: times(|report| report.transit.as_ref()),
            latency_us: times(|report| report.latency.as_ref()),
            cpu: report.map(|report| Cpu::from(&report.cpu.unwrap_or_default())),
            laws: report.map_or_else(Vec::new, |report| {
                report.laws.iter().map(Law::from).collect()
            }),
            clients: clients.iter().map(Client::from).collect(),
            workers: report.map_or_else(Vec::new, |report| {
                report.workers.iter().map(Worker::from).collect()
            }),
            agents: report.map_or_else(Vec::new, |report| {
                report.agents.iter().map(Agent::from).collect()
            }),
        }
    }
}

#[derive(Debug, Serialize)]
struct Plan<'a> {
    clients: u32,
    rate_hz: Option<f64>,
    flood: bool,
    duration_s: f64,
    batch: u32,
    phase: &'static str,
    threads: u32,
    agents: &'a [String],
    target: &'a str,
}

impl<'a> From<&'a v1::Plan> for Plan<'a> {
    fn from(plan: &'a v1::Plan) -> Self {
        Self {
            clients: plan.clients,
            rate_hz: (!plan.flood).then_some(plan.rate_hz),
            flood: plan.flood,
            duration_s: values::seconds(plan.duration.as_ref()),
            batch: plan.batch.max(1),
            phase: values::phase(plan.phase()),
            threads: plan.threads.max(1),
            agents: &plan.agents,
            target: &plan.target,
        }
    }
}

#[derive(Debug, Serialize)]
struct Verdict<'a> {
    status: &'static str,
    reasons: Vec<Reason<'a>>,
    notes: &'a [String],
}

impl<'a> From<&'a v1::Verdict> for Verdict<'a> {
    fn from(verdict: &'a v1::Verdict) -> Self {
        Self {
            status: values::status(verdict.status()),
            reasons: verdict.reasons.iter().map(Reason::from).collect(),
            notes: &verdict.notes,
        }
    }
}

#[derive(Debug, Serialize)]
struct Reason<'a> {
    code: &'a str,
    status: &'static str,
    text: &'a str,
}

impl<'a> From<&'a v1::Reason> for Reason<'a> {
    fn from(reason: &'a v1::Reason) -> Self {
        Self {
            code: &reason.code,
            status: values::status(reason.status()),
            text: &reason.text,
        }
    }
}

#[derive(Debug, Serialize)]
struct Packets {
    scheduled: u64,
    sent: u64,
    skipped: u64,
    received: u64,
    lost: u64,
    lost_unacknowledged: u64,
    lost_unread: u64,
    duplicated: u64,
    reordered: u64,
    gaps: u64,
    corrupt: u64,
    blocked: u64,
}

impl From<&v1::PacketCounts> for Packets {
    fn from(packets: &v1::PacketCounts) -> Self {
        Self {
            scheduled: packets.scheduled,
            sent: packets.sent,
            skipped: packets.skipped,
            received: packets.received,
            lost: packets.lost,
            lost_unacknowledged: packets.lost_unacknowledged,
            lost_unread: packets.lost_unread,
            duplicated: packets.duplicated,
            reordered: packets.reordered,
            gaps: packets.gaps,
            corrupt: packets.corrupt,
            blocked: packets.blocked,
        }
    }
}

#[derive(Debug, Serialize)]
struct Rate {
    offered_hz: Option<f64>,
    achieved_hz: f64,
}

impl From<&v1::Rate> for Rate {
    fn from(rate: &v1::Rate) -> Self {
        Self {
            offered_hz: rate.offered_hz,
            achieved_hz: rate.achieved_hz,
        }
    }
}

#[derive(Debug, Serialize)]
struct Times {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
    mean: f64,
    count: u64,
    saturated: u64,
}

impl From<&v1::Distribution> for Times {
    fn from(times: &v1::Distribution) -> Self {
        Self {
            p50: times.p50_us,
            p90: times.p90_us,
            p99: times.p99_us,
            p99_9: times.p99_9_us,
            p99_99: times.p99_99_us,
            max: times.max_us,
            mean: times.mean_us,
            count: times.count,
            saturated: times.saturated,
        }
    }
}

#[derive(Debug, Serialize)]
struct Cpu {
    agent_s: f64,
    server_s: f64,
    agent_ns_per_packet: f64,
    server_ns_per_packet: f64,
    packets_per_write: f64,
    packets_per_read: f64,
}

impl From<&v1::Cpu> for Cpu {
    fn from(cpu: &v1::Cpu) -> Self {
        Self {
            agent_s: cpu.agent_s,
            server_s: cpu.server_s,
            agent_ns_per_packet: cpu.agent_ns_per_packet,
            server_ns_per_packet: cpu.server_ns_per_packet,
            packets_per_write: cpu.packets_per_write,
            packets_per_read: cpu.packets_per_read,
        }
    }
}

#[derive(Debug, Serialize)]
struct Law<'a> {
    law: &'a str,
    holds: bool,
    figures: &'a str,
}

impl<'a> From<&'a v1::Law> for Law<'a> {
    fn from(law: &'a v1::Law) -> Self {
        Self {
            law: &law.law,
            holds: law.holds,
            figures: &law.figures,
        }
    }
}

#[derive(Debug, Serialize)]
struct Client<'a> {
    client: u32,
    agent: &'a str,
    worker: u32,
    scheduled: u64,
    sent: u64,
    skipped: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    corrupt: u64,
    lateness_p99_us: f64,
    transit_p99_us: f64,
    latency_p99_us: f64,
    latency_max_us: f64,
    attempts: u32,
    error: Option<&'a str>,
}

impl<'a> From<&'a v1::ClientReport> for Client<'a> {
    fn from(client: &'a v1::ClientReport) -> Self {
        Self {
            client: client.client,
            agent: &client.agent,
            worker: client.worker,
            scheduled: client.scheduled,
            sent: client.sent,
            skipped: client.skipped,
            received: client.received,
            lost: client.lost,
            duplicated: client.duplicated,
            reordered: client.reordered,
            corrupt: client.corrupt,
            lateness_p99_us: client.lateness_p99_us,
            transit_p99_us: client.transit_p99_us,
            latency_p99_us: client.latency_p99_us,
            latency_max_us: client.latency_max_us,
            attempts: client.attempts,
            error: non_empty(&client.error),
        }
    }
}

#[derive(Debug, Serialize)]
struct Worker {
    worker: u32,
    pid: u32,
    packets: u64,
    cpu_s: f64,
    reads: u64,
    wakeups: u64,
    restarts: u32,
    pauses: u64,
    pause_mean_us: f64,
}

impl From<&v1::WorkerReport> for Worker {
    fn from(worker: &v1::WorkerReport) -> Self {
        Self {
            worker: worker.worker,
            pid: worker.pid,
            packets: worker.packets,
            cpu_s: worker.cpu_s,
            reads: worker.reads,
            wakeups: worker.wakeups,
            restarts: worker.restarts,
            pauses: worker.pauses,
            pause_mean_us: worker.pause_mean_us,
        }
    }
}

#[derive(Debug, Serialize)]
struct Agent<'a> {
    agent: &'a str,
    clients: u32,
    sent: u64,
    cpu_s: f64,
    writes: u64,
    error: Option<&'a str>,
}

impl<'a> From<&'a v1::AgentReport> for Agent<'a> {
    fn from(agent: &'a v1::AgentReport) -> Self {
        Self {
            agent: &agent.agent,
            clients: agent.clients,
            sent: agent.sent,
            cpu_s: agent.cpu_s,
            writes: agent.writes,
            error: non_empty(&agent.error),
        }
    }
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    fn object(run: &v1::Run) -> Value {
        let clients = [v1::ClientReport {
            agent: "bench1-7".into(),
            attempts: 1,
            ..v1::ClientReport::default()
        }];
        serde_json::from_str(&result(run, &clients)).expect("one JSON object")
    }

    #[track_caller]
    fn fits_the_schema(object: &Value) {
        let schema = serde_json::from_str(include_str!("../../../../docs/result.schema.json"))
            .expect("JSON");
        let validator = jsonschema::draft202012::new(&schema).expect("a schema of draft 2020-12");
        let problems: Vec<String> = validator
            .iter_errors(object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }

    #[track_caller]
    fn breaks_the_schema(object: &Value) {
        let schema = serde_json::from_str(include_str!("../../../../docs/result.schema.json"))
            .expect("JSON");
        assert!(
            !jsonschema::draft202012::is_valid(&schema, object),
            "{object:#}"
        );
    }

    #[test]
    fn every_kind_of_run_fits_the_schema() {
        fits_the_schema(&object(&run_of_the_front_page()));
        let mut invalid = run_of_the_front_page();
        if let Some(report) = &mut invalid.report {
            report.transit = None;
            report.latency = None;
            report.verdict = Some(v1::Verdict {
                status: v1::VerdictStatus::Invalid.into(),
                reasons: vec![v1::Reason {
                    code: "LATENESS".into(),
                    status: v1::VerdictStatus::Invalid.into(),
                    text: "Lateness p99.9 is 1,204 µs.".into(),
                }],
                notes: vec!["Agent and server do not share a clock.".into()],
            });
        }
        fits_the_schema(&object(&invalid));
        for state in [
            v1::RunState::Preparing,
            v1::RunState::Running,
            v1::RunState::Aborted,
        ] {
            let run = v1::Run {
                state: state.into(),
                report: None,
                ended_at: None,
                ..run_of_the_front_page()
            };
            fits_the_schema(&object(&run));
        }
    }

    #[test]
    fn the_schema_is_strict() {
        let fitting = object(&run_of_the_front_page());
        for field in fitting.as_object().expect("an object").keys() {
            let mut lacking = fitting.clone();
            lacking.as_object_mut().expect("an object").remove(field);
            breaks_the_schema(&lacking);
        }
        for (pointer, value) in [
            ("/verdict", Value::Null),
            ("/verdict/status", "fine".into()),
            ("/packets/lost", (-1).into()),
            ("/packets/sent", 0.5.into()),
            ("/run_id", "7".into()),
            ("/schema_version", 2.into()),
            ("/lateness_us/p50", "4 us".into()),
        ] {
            let mut wrong = fitting.clone();
            *wrong.pointer_mut(pointer).expect(pointer) = value;
            breaks_the_schema(&wrong);
        }
        let mut more = fitting;
        more["packets"]["mislaid"] = 1.into();
        breaks_the_schema(&more);
    }

    #[test]
    fn counts_beyond_32_bits_are_exact_to_the_last_digit() {
        let mut run = run_of_the_front_page();
        let count = (1 << 40) + 7;
        if let Some(report) = &mut run.report {
            report.packets = Some(v1::PacketCounts {
                received: count,
                ..v1::PacketCounts::default()
            });
            report.latency = Some(v1::Distribution {
                count,
                ..v1::Distribution::default()
            });
        }
        let object = object(&run);
        assert_eq!(
            (
                &object["packets"]["received"],
                &object["latency_us"]["count"]
            ),
            (&count.into(), &count.into())
        );
        fits_the_schema(&object);
    }

    #[test]
    fn figures_are_the_reports() {
        let object = object(&run_of_the_front_page());
        assert_eq!(object["packets"]["received"], 1_000_000);
        assert_eq!(object["plan"]["duration_s"], 10.0);
        assert_eq!(object["latency_us"]["p99_99"], 402.0);
        assert_eq!(object["latency_us"]["count"], 1_000_000);
        assert_eq!(object["cpu"]["agent_ns_per_packet"], 1520.0);
        assert_eq!(object["created_at"], "2026-01-02T03:04:05.000Z");
        assert_eq!(object["clients"][0]["error"], Value::Null);
    }
}
