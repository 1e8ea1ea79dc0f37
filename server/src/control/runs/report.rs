//! The end of a run: its report is made, stored and counted.

use metronome_os::clock;
use metronome_proto::{
    limits::{CLIENTS_PER_MESSAGE_MAX, PAGE_BYTES_MAX},
    plan::Plan,
    run_id::RunId,
    v1::{self, GeneratorCounts, RunState, StopCause},
};
use metronome_telemetry::SampledSpan;
use prost::Message as _;
use tokio::task;
use tracing::{Instrument as _, Span};

use super::{
    credible,
    exemplars::TracedPacket,
    manager::RunManager,
    series::{self, AtTheEnd},
    share_bounds::{self, Added},
    trace_report,
    unstored::UnstoredRun,
};
use crate::{
    control::server_info,
    model::{
        AgentRecords, FinalCounters, MissedThreshold, PacketSeries, RoundTrips,
        run::{EarlyStop, RunStateMachine},
    },
    store::clear_records_of_parts,
    verdict::{Evidence, conclude, failure_of_run, server_paused},
    wall_clock::{self, timestamp},
};

/// A run whose last event has happened, without its report.
pub(super) struct FinishedRun {
    pub(super) id: RunId,
    pub(super) plan: Plan,
    pub(super) run: v1::Run,
    pub(super) agents: Vec<AgentRecords>,
    pub(super) record: Option<FinalCounters>,
    /// What the processes and their hosts did: the server, then the agents.
    pub(super) hosts: Vec<v1::HostSeries>,
    /// What its packets did until the last reading of the ledger before its end.
    pub(super) packets: PacketSeries,
    /// All that the agents have reported of them.
    pub(super) round_trips: Option<RoundTrips>,
    /// What the scheduler granted to the workers while packets came.
    pub(super) worker_priority: v1::ThreadPriority,
    /// What each agent's progress has added to the counters.
    pub(super) reported: Vec<Option<GeneratorCounts>>,
    pub(super) machine: RunStateMachine,
    /// What requested a stop.
    pub(super) stop_cause: Option<StopCause>,
    /// The threshold that did.
    pub(super) missed: Option<MissedThreshold>,
    pub(super) span: Span,
}

/// Notes when the first packet was due, once it was.
pub(super) fn note_start(run: &mut v1::Run, machine: &RunStateMachine) {
    if machine.final_state() == RunState::Ended && run.started_at.is_none() {
        run.started_at = machine.start_at_ns().map(|start_at_ns| {
            let ago_ns = clock::now_ns().saturating_sub(start_at_ns);
            wall_clock::timestamp(wall_clock::unix_ns().saturating_sub(ago_ns) / 1_000_000)
        });
    }
}

/// What the server adds to a report.
struct ServerPart {
    /// HOST:PORT of the data port.
    data_address: String,
    notes: Vec<v1::Note>,
    traced_packets: usize,
}

/// A run in its final state.
struct Concluded {
    run: v1::Run,
    /// The pages of its client rows.
    pages: Vec<v1::ClientRows>,
    /// Those of its series.
    series: Vec<v1::Series>,
    /// What it adds to the counters.
    added: Added,
    /// Its packets that can be looked up in its trace.
    traced: Vec<TracedPacket>,
}

/// Makes the report, or the failure of a run that has none, and stores it, on a thread that may
/// block. `None` when none can be made; else the run in its final state, which is kept in memory
/// for as long as it cannot be stored.
pub(super) async fn conclude_and_store(
    runs: &RunManager,
    finished: FinishedRun,
) -> Option<v1::Run> {
    let id = finished.id;
    let server = ServerPart {
        data_address: runs.server.data_address.to_string(),
        notes: server_notes(runs, &finished),
        traced_packets: runs.server.traced_packets,
    };
    let span = finished.span.clone();
    let work = move || in_final_state(finished, &server);
    let Ok(concluded) = task::spawn_blocking(work).await else {
        tracing::error!("the report could not be made");
        return None;
    };
    let Concluded {
        run,
        pages,
        series,
        added,
        traced,
    } = concluded;
    runs.traced_packets.note(traced);
    if let Some(report) = &run.report {
        let trace = SampledSpan::of(&span);
        let now_unix_ns = wall_clock::unix_ns();
        // First: a scrape that has the run by its verdict has its objectives as well.
        runs.outcome_counters
            .run_ended(report, now_unix_ns, trace.as_ref());
        count_ended(runs, report, &added);
    } else {
        count_failed(runs, &run);
    }
    let storing = runs
        .history
        .store_end(id, UnstoredRun { run, pages, series });
    let span = tracing::info_span!(parent: &span, "store");
    Some(storing.instrument(span).await)
}

/// What the server has to say about itself.
fn server_notes(runs: &RunManager, finished: &FinishedRun) -> Vec<v1::Note> {
    let start_at_ns = finished.machine.start_at_ns();
    let pause_ns = start_at_ns.and_then(|start_at_ns| runs.pauses.longest_since(start_at_ns));
    let mut notes = runs.server.notes.clone();
    notes.extend(pause_ns.map(server_paused));
    notes
}

/// The run as it is from here on.
fn in_final_state(finished: FinishedRun, server: &ServerPart) -> Concluded {
    let FinishedRun {
        plan,
        mut run,
        mut agents,
        record,
        hosts,
        packets,
        round_trips,
        worker_priority,
        reported,
        machine,
        stop_cause,
        missed,
        span,
        ..
    } = finished;
    let final_state = machine.final_state();
    let (stopped, lost) = stopped_by(&machine, stop_cause);
    run.set_state(final_state);
    run.stopped = stopped.map(stopped_in_proto);
    let (pages, series, added, traced) = if final_state == RunState::Failed {
        let failure = failure_of_run(&agents, stopped, lost);
        trace_report::failed(&span, &failure);
        run.failure = Some(failure);
        (Vec::new(), Vec::new(), Added::default(), Vec::new())
    } else {
        if let Some(counters) = &record {
            credible::unset_kernel_figures(&mut agents, counters);
        }
        let evidence = Evidence {
            hosts: &hosts,
            plan: &plan,
            agents: &agents,
            counters: record.as_ref(),
            data_address: &server.data_address,
            start_at_ns: machine.start_at_ns(),
            stopped,
            missed: missed.filter(|_| stopped == Some(StopCause::Threshold)),
            finished_early: machine.finished_early(),
            notes: &server.notes,
        };
        let mut merged =
            tracing::info_span!(parent: &span, "merge").in_scope(|| conclude(&evidence));
        let own = server_info::environment(worker_priority);
        merged.report.environments.insert(0, own);
        let mut clients = merged.clients;
        clients.iter_mut().for_each(credible::unset_attempts);
        let (record, packets_max) = (record.as_ref(), server.traced_packets);
        let traced = trace_report::end(&span, &merged.report, &agents, record, packets_max);
        let last = AtTheEnd {
            at_ns: elapsed_ns(&merged.report).unwrap_or_else(|| since_start_ns(&machine)),
            record,
            round_trips: series::round_trips(&agents).or(round_trips),
        };
        let series = series::pages(packets, last, &merged.report, hosts);
        run.report = Some(merged.report);
        let added = share_bounds::added_at_end(&plan, &agents, &clients, &reported);
        (pages(clients), series, added, traced)
    };
    run.ended_at = Some(timestamp(wall_clock::unix_ms()));
    fit_message(&mut run);
    Concluded {
        run,
        pages,
        series,
        added,
        traced,
    }
}

/// For how long the load went on, ns: no packet was read later. `None` of a run without one.
fn elapsed_ns(report: &v1::Report) -> Option<i64> {
    let elapsed = report.elapsed?;
    let seconds_ns = elapsed.seconds.checked_mul(1_000_000_000)?;
    seconds_ns.checked_add(elapsed.nanos.into())
}

/// How long ago the first packet was due, ns; 0 of a run that never started.
fn since_start_ns(machine: &RunStateMachine) -> i64 {
    let start_ns = machine.start_at_ns();
    start_ns.map_or(0, |start_ns| {
        clock::now_ns().saturating_sub(start_ns).cast_signed()
    })
}

/// What stopped the run before its schedule was over, and which agent was lost with that.
fn stopped_by(
    machine: &RunStateMachine,
    requested: Option<StopCause>,
) -> (Option<StopCause>, Option<usize>) {
    match machine.stopped() {
        None => (None, None),
        Some(EarlyStop::Requested) => (Some(requested.unwrap_or(StopCause::Operator)), None),
        Some(EarlyStop::AgentLost(agent)) => (Some(StopCause::AgentLost), Some(agent)),
    }
}

fn stopped_in_proto(cause: StopCause) -> v1::Stopped {
    v1::Stopped {
        cause: cause.into(),
    }
}

/// A run has to fit a message. With long lists of agents in its plan, and with many groups, it may
/// not: then it goes without the records of the distributions of groups and agents, whose quantiles
/// stay, as does the record of all clients together.
fn fit_message(run: &mut v1::Run) {
    if run.encoded_len() > PAGE_BYTES_MAX
        && let Some(report) = &mut run.report
    {
        clear_records_of_parts(report);
        // The series has them.
        let totals = report.host_uses.iter_mut();
        totals.for_each(|of| of.total.iter_mut().for_each(|total| total.threads.clear()));
    }
}

/// Client rows in pages that each fit a message.
fn pages(clients: Vec<v1::ClientReport>) -> Vec<v1::ClientRows> {
    let mut pages: Vec<v1::ClientRows> = Vec::new();
    let mut bytes = 0;
    for client in clients {
        bytes += client.encoded_len();
        let current = pages
            .last_mut()
            .filter(|page| page.clients.len() < CLIENTS_PER_MESSAGE_MAX && bytes <= PAGE_BYTES_MAX);
        match current {
            Some(page) => page.clients.push(client),
            None => {
                bytes = client.encoded_len();
                pages.push(v1::ClientRows {
                    clients: vec![client],
                });
            }
        }
    }
    pages
}

/// Counts a run that has ended.
fn count_ended(runs: &RunManager, report: &v1::Report, added: &Added) {
    let verdict = report.verdict.as_ref();
    let verdict = verdict.map(v1::Verdict::status).unwrap_or_default();
    let counts = report.counts.unwrap_or_default();
    let received = counts.receiver.map(|receiver| receiver.received);
    // Signed: a trace would show other whole numbers as text.
    let signed = |packets: u64| i64::try_from(packets).unwrap_or(i64::MAX);
    tracing::info!(
        received = received.map(signed),
        lost = counts.lost.map(signed),
        "run has ended: {}",
        verdict.word().unwrap_or_default()
    );
    for (agent, (sent, skipped)) in report.agents.iter().zip(&added.agents) {
        runs.agent_counters
            .agent_sent(&agent.agent, *sent, *skipped);
    }
    let retransmitted = |end: Option<&v1::TcpSummary>| end.and_then(|of| of.retransmitted);
    let ends = [&report.generator_tcp, &report.receiver_tcp];
    let ends = ends.map(|end| retransmitted(end.as_ref()).unwrap_or(0));
    runs.verdict_counters.run_ended(verdict, added.lost, ends);
    runs.verdict_counters.groups_ended(&added.groups);
    let is_believed = verdict != v1::VerdictStatus::Invalid;
    let round_trips = Some(&added.round_trips).filter(|_| is_believed);
    runs.reply_counters
        .run_ended(round_trips, added.replies_unexpected);
    if is_believed {
        runs.reply_counters.probes_ended(&report.agents);
    }
}

fn count_failed(runs: &RunManager, run: &v1::Run) {
    let failure = run.failure.clone().unwrap_or_default();
    let code = failure.code().name();
    tracing::warn!(code, "run has failed: {}", failure.sentence);
    runs.verdict_counters.run_failed();
    runs.outcome_counters.ended_without_report();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use metronome_proto::{
        MESSAGE_BYTES_MAX,
        limits::{AGENTS_MAX, FEATURES_MAX, GROUPS_MAX, SEED_MAX, STEPS_MAX, TARGET_BYTES_MAX},
        packet_size::PacketSize,
        payload::Payload,
        plan::Group,
        profile::Profile,
    };

    use super::*;
    use crate::{
        model::{AgentShare, ClockRelation},
        testing::plan_of,
    };

    /// The longest failure that a peer can put into a message of records.
    fn hostile_failure() -> v1::Failure {
        let figures = (0..100).map(|number| {
            let text = "\u{1F4A5}".repeat(100);
            (format!("figure_{number}"), text.as_str().into())
        });
        v1::Failure {
            code: v1::FailureCode::AgentPortsFull.into(),
            sentence: "\u{1F4A5}".repeat(1_000),
            remedy: "x".repeat(1_000),
            figures: figures.chain([("n".repeat(200), 7_u32.into())]).collect(),
        }
    }

    fn plan(clients: u32) -> Plan {
        plan_of(vec![Group {
            packet_size: PacketSize::MIN,
            payload: Payload::Zeros,
            echo_every: None,
            name: "g".repeat(63),
            clients,
            profile: Profile::constant(1_000_000),
            batch: 1,
            phase: v1::Phase::Staggered,
            agents: Vec::new(),
            target: String::new(),
            thresholds: Vec::new(),
        }])
    }

    fn agent(clients: u32) -> AgentRecords {
        let share = AgentShare::of(0..clients, ClockRelation::Same);
        AgentRecords::new("a".repeat(63), share)
    }

    /// The rows of a run with one agent, and their pages.
    fn rows_and_pages(agent: AgentRecords) -> (Vec<v1::ClientReport>, Vec<v1::ClientRows>) {
        let evidence = Evidence {
            hosts: &[],
            plan: &plan(agent.share.clients()),
            agents: &[agent],
            counters: None,
            data_address: "192.0.2.7:8888",
            start_at_ns: None,
            stopped: None,
            missed: None,
            finished_early: &BTreeMap::new(),
            notes: &[],
        };
        let rows = conclude(&evidence).clients;
        (rows.clone(), pages(rows))
    }

    #[track_caller]
    fn assert_fit(rows: &[v1::ClientReport], pages: Vec<v1::ClientRows>) {
        for page in &pages {
            assert!((1..=CLIENTS_PER_MESSAGE_MAX).contains(&page.clients.len()));
            let response = v1::ExportRunResponse {
                part: Some(v1::export_run_response::Part::ClientRows(page.clone())),
            };
            assert!(response.encoded_len() <= MESSAGE_BYTES_MAX);
        }
        let all: Vec<_> = pages.into_iter().flat_map(|page| page.clients).collect();
        assert_eq!(all, rows);
    }

    #[test]
    fn every_client_is_on_one_page_of_at_most_1000() {
        for (clients, expected) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
            let rows: Vec<_> = (0..clients)
                .map(|client| v1::ClientReport {
                    client,
                    ..v1::ClientReport::default()
                })
                .collect();
            let pages = pages(rows.clone());
            assert_eq!(pages.len(), expected);
            assert_fit(&rows, pages);
        }
    }

    #[test]
    fn a_page_fits_a_message_however_long_the_failures_of_a_peer_are() {
        let clients = 2_500;
        let mut reporting = agent(clients);
        let record = |client| v1::ClientRecord {
            client,
            digest: u64::MAX,
            acknowledged: Some(u64::MAX),
            kernel_acknowledged_bytes: Some(u64::MAX),
            attempts: u32::MAX,
            failure: Some(hostile_failure()),
            ..v1::ClientRecord::default()
        };
        reporting.take(v1::ClientRecords {
            run_id: String::new(),
            clients: (0..clients).map(record).collect(),
        });
        // Its clients have its failure when it gives no record of them.
        let mut missing = agent(clients);
        missing.fail(hostile_failure());
        for agent in [reporting, missing] {
            let (rows, pages) = rows_and_pages(agent);
            assert_eq!(rows.len(), clients as usize);
            assert_fit(&rows, pages);
        }
    }

    /// The largest plan that there can be: every list as long as it may be.
    fn largest_plan() -> v1::Plan {
        let names = (0..AGENTS_MAX).map(|number| format!("{number:a<63}"));
        let agents = v1::AgentSelector {
            names: names.collect(),
        };
        let step = |index: usize| v1::Step {
            rate_millihertz: 1_000_000,
            duration: (index + 1 < STEPS_MAX).then_some(prost_types::Duration {
                seconds: 60,
                nanos: 999_999_999,
            }),
        };
        let steps: Vec<_> = (0..STEPS_MAX).map(step).collect();
        let receivers = v1::Receivers {
            address: format!("{}:8888", "x".repeat(TARGET_BYTES_MAX - 5)),
        };
        let group = |number: usize| v1::Group {
            name: format!("{number:g<63}"),
            clients: 1,
            profile: Some(v1::Profile {
                shape: Some(v1::profile::Shape::Steps(v1::Steps {
                    steps: steps.clone(),
                })),
            }),
            agents: Some(agents.clone()),
            target: Some(v1::Target {
                kind: Some(v1::target::Kind::Receivers(receivers.clone())),
            }),
            ..v1::Group::default()
        };
        v1::Plan {
            groups: (0..GROUPS_MAX).map(group).collect(),
            duration: Some(prost_types::Duration {
                seconds: 24 * 60 * 60,
                nanos: 0,
            }),
            seed: SEED_MAX,
            requires: vec!["groups".into(); FEATURES_MAX],
            ..v1::Plan::default()
        }
    }

    #[test]
    fn a_run_with_the_largest_plan_fits_a_message_before_and_after_its_end() {
        let mut run = v1::Run {
            plan: Some(largest_plan()),
            ..v1::Run::default()
        };
        assert!(Plan::try_from(run.plan.as_ref().unwrap()).is_ok());
        assert!(run.encoded_len() < MESSAGE_BYTES_MAX / 2, "room is left");
        let times = |bytes| {
            let distribution = Some(v1::Distribution {
                count: 1,
                hdr_v2_deflated: vec![7; bytes],
                ..v1::Distribution::default()
            });
            v1::Times {
                rtt_from_due: distribution.clone(),
                rtt_from_write: distribution.clone(),
                lateness: distribution.clone(),
                transit: distribution.clone(),
                latency: distribution.clone(),
                spread: distribution.clone(),
                one_way: distribution.clone(),
                queueing: distribution,
            }
        };
        let has_records = |run: &v1::Run| {
            let groups = &run.report.as_ref().unwrap().groups;
            let times = groups[GROUPS_MAX - 1].times.as_ref().unwrap();
            !times.spread.as_ref().unwrap().hdr_v2_deflated.is_empty()
        };
        for (bytes, fits) in [(1_000, true), (15_000, false)] {
            let group = v1::GroupReport {
                times: Some(times(bytes)),
                ..v1::GroupReport::default()
            };
            run.report = Some(v1::Report {
                groups: vec![group; GROUPS_MAX],
                times: Some(times(bytes)),
                ..v1::Report::default()
            });
            fit_message(&mut run);
            assert_eq!(has_records(&run), fits);
            assert!(run.encoded_len() <= PAGE_BYTES_MAX);
            let report = run.report.as_ref().unwrap();
            assert_eq!(
                report.times,
                Some(times(bytes)),
                "that of all clients stays"
            );
            assert_eq!(report.groups.len(), GROUPS_MAX);
        }
    }

    #[test]
    fn pages_are_cut_by_their_bytes_too() {
        let failure = v1::Failure::new(v1::FailureCode::NoRoute, "x".repeat(2_000));
        let rows = vec![
            v1::ClientReport {
                failure: Some(failure),
                ..v1::ClientReport::default()
            };
            1_000
        ];
        let pages = pages(rows.clone());
        assert_eq!(pages.len(), 3);
        assert_fit(&rows, pages);
    }
}
