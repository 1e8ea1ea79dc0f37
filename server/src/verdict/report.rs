//! The report: the figures of both ends put together. It judges nothing.

use metronome_proto::{histogram::Histogram, plan::Plan, rate::Rate, v1};

use super::{
    evidence::Evidence,
    rows::{Row, saturated, total},
};
use crate::model::{AgentRecords, WorkerCounters};

pub(super) fn assemble(
    evidence: &Evidence<'_>,
    rows: &[Row<'_>],
    verdict: v1::Verdict,
    laws: Vec<v1::Law>,
) -> v1::Report {
    let packets = packets(rows);
    let elapsed_s = elapsed_s(evidence);
    let times = evidence.counters.map(|counters| &counters.times);
    // A distribution over some of the packets only would be read as one over all of them.
    let one_way = times.filter(|_| {
        evidence
            .agents
            .iter()
            .all(|agent| agent.share.clock.is_same())
    });
    let workers = evidence
        .counters
        .map_or(&[][..], |counters| &counters.workers);
    v1::Report {
        verdict: Some(verdict),
        rate: Some(v1::Rate {
            offered_hz: offered_hz(evidence.plan),
            achieved_hz: ratio(packets.received as f64, elapsed_s),
        }),
        lateness: Some(times.map_or_else(
            || Histogram::default().distribution(true),
            |times| times.lateness.distribution(true),
        )),
        transit: one_way.map(|times| times.transit.distribution(true)),
        latency: one_way.map(|times| times.latency.distribution(true)),
        cpu: Some(cpu(evidence, workers, &packets)),
        packets: Some(packets),
        workers: workers.iter().map(worker_report).collect(),
        agents: evidence
            .agents
            .iter()
            .map(|agent| agent_report(agent, rows))
            .collect(),
        elapsed_s,
        laws,
    }
}

/// `None` for a flood.
fn offered_hz(plan: &Plan) -> Option<f64> {
    match plan.rate {
        Rate::Millihertz(_) => Some(f64::from(plan.clients) * plan.rate_hz()),
        Rate::Max => None,
    }
}

fn packets<'a>(rows: &[Row<'a>]) -> v1::PacketCounts {
    let sum = |figure: fn(&Row<'a>) -> u64| saturated(total(rows, figure));
    v1::PacketCounts {
        scheduled: sum(Row::scheduled),
        sent: sum(Row::sent),
        skipped: sum(Row::skipped),
        received: sum(Row::received),
        lost: sum(Row::lost),
        lost_unacknowledged: sum(Row::lost_unacknowledged),
        lost_unread: sum(Row::lost_unread),
        duplicated: sum(|row| row.counted.map_or(0, |counted| counted.counts.duplicated)),
        reordered: sum(|row| row.counted.map_or(0, |counted| counted.counts.reordered)),
        gaps: sum(|row| row.counted.map_or(0, |counted| counted.counts.gaps)),
        corrupt: sum(|row| row.counted.map_or(0, |counted| counted.counts.corrupt)),
        blocked: sum(Row::blocked),
    }
}

/// From the first packet due to the last one read, seconds; 0 when there was none.
fn elapsed_s(evidence: &Evidence<'_>) -> f64 {
    let reads = evidence
        .counters
        .iter()
        .flat_map(|counters| &counters.clients)
        .map(|count| count.last_read_ns);
    let (Some(start_ns), Some(last_ns)) = (evidence.start_at_ns, reads.max()) else {
        return 0.0;
    };
    seconds(last_ns.saturating_sub(start_ns))
}

fn cpu(evidence: &Evidence<'_>, workers: &[WorkerCounters], packets: &v1::PacketCounts) -> v1::Cpu {
    let finished = || evidence.agents.iter().filter_map(AgentRecords::finished);
    let agent_s: f64 = finished().map(|finished| seconds(finished.cpu_ns)).sum();
    let server_s: f64 = workers.iter().map(|worker| seconds(worker.cpu_ns)).sum();
    let writes = finished()
        .map(|finished| u128::from(finished.writes))
        .sum::<u128>();
    let reads = workers
        .iter()
        .map(|worker| u128::from(worker.reads))
        .sum::<u128>();
    v1::Cpu {
        agent_s,
        server_s,
        agent_ns_per_packet: ratio(agent_s * 1e9, packets.sent as f64),
        server_ns_per_packet: ratio(server_s * 1e9, packets.received as f64),
        packets_per_write: ratio(packets.sent as f64, writes as f64),
        packets_per_read: ratio(packets.received as f64, reads as f64),
    }
}

fn worker_report(count: &WorkerCounters) -> v1::WorkerReport {
    v1::WorkerReport {
        worker: count.worker,
        pid: count.pid,
        packets: count.packets,
        cpu_s: seconds(count.cpu_ns),
        reads: count.reads,
        wakeups: count.wakeups,
        restarts: count.restarts,
        pauses: count.pauses,
        pause_mean_us: ratio(count.paused_ns as f64 / 1e3, count.pauses as f64),
    }
}

fn agent_report(agent: &AgentRecords, rows: &[Row<'_>]) -> v1::AgentReport {
    let own = rows.iter().filter(|row| agent.owns(row.client));
    let finished = agent.finished().cloned().unwrap_or_default();
    v1::AgentReport {
        agent: agent.name.clone(),
        clients: agent.share.clients,
        sent: saturated(own.map(|row| u128::from(row.sent())).sum()),
        cpu_s: seconds(finished.cpu_ns),
        writes: finished.writes,
        error: agent.missing().unwrap_or_default().into(),
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A quotient that is 0 where there is nothing to divide by.
fn ratio(amount: f64, per: f64) -> f64 {
    if per > 0.0 { amount / per } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{PACKETS, Sample};

    #[test]
    fn the_figures_of_a_clean_run_add_up() {
        let conclusion = Sample::of(2, 5).conclude();
        let report = conclusion.report;
        let packets = report.packets.unwrap();
        assert_eq!(
            [packets.scheduled, packets.sent, packets.received],
            [10 * PACKETS; 3]
        );
        assert_eq!(
            [packets.skipped, packets.lost, packets.gaps, packets.corrupt],
            [0; 4]
        );
        assert_eq!(report.elapsed_s, 0.1);
        assert_eq!(
            (
                report.rate.unwrap().offered_hz,
                report.rate.unwrap().achieved_hz
            ),
            (Some(10_000.0), 10_000.0)
        );
        let cpu = report.cpu.unwrap();
        assert_eq!((cpu.agent_s, cpu.server_s), (0.002, 0.001));
        assert_eq!(
            (cpu.agent_ns_per_packet, cpu.server_ns_per_packet),
            (2_000.0, 1_000.0)
        );
        for distribution in [report.lateness, report.transit, report.latency] {
            let distribution = distribution.unwrap();
            assert_eq!(distribution.count, 10 * PACKETS);
            assert!(!distribution.hdr_v2.is_empty());
        }
        assert_eq!(
            report
                .agents
                .iter()
                .map(|agent| (agent.clients, agent.sent))
                .collect::<Vec<_>>(),
            [(5, 500); 2]
        );
        assert_eq!(
            conclusion
                .clients
                .iter()
                .map(|client| client.client)
                .collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
    }
}
