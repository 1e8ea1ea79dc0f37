//! The parts of a report, and a client row.

use serde::Serialize;

use super::{
    counts::Counts,
    failure::{Failure, Figures, figures},
    path::{Path, Tcp},
    times::Times,
    values::{self, Word, micros, seconds_of_ns},
};
use crate::{profile::hz, threshold::quantile_name, v1};

/// Whether the figures may be believed.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict<'a> {
    status: Option<Word>,
    reasons: Vec<Reason<'a>>,
    laws: Vec<Law<'a>>,
    notes: Vec<Note<'a>>,
    /// `p99`: what is above it is not known. Null when nothing limits it.
    valid_to: Option<String>,
    punctuality: Option<Punctuality>,
}

#[derive(Clone, Debug, Serialize)]
struct Punctuality {
    limit_us: f64,
    limit_periods: f64,
    late: u64,
    late_percent: f64,
}

impl From<&v1::Punctuality> for Punctuality {
    fn from(of: &v1::Punctuality) -> Self {
        Self {
            limit_us: micros(of.limit_ns),
            limit_periods: of.limit_periods,
            late: of.late,
            late_percent: of.late_percent,
        }
    }
}

impl<'a> From<&'a v1::Verdict> for Verdict<'a> {
    fn from(verdict: &'a v1::Verdict) -> Self {
        Self {
            status: values::verdict(verdict.status),
            reasons: verdict.reasons.iter().map(Reason::from).collect(),
            laws: verdict.laws.iter().map(Law::from).collect(),
            notes: verdict.notes.iter().map(Note::from).collect(),
            valid_to: verdict.valid_to_ppm.map(quantile_name),
            punctuality: verdict.punctuality.as_ref().map(Punctuality::from),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Note<'a> {
    code: Option<Word>,
    sentence: &'a str,
    remedy: &'a str,
    figures: Figures<'a>,
}

impl<'a> From<&'a v1::Note> for Note<'a> {
    fn from(note: &'a v1::Note) -> Self {
        Self {
            code: values::note_code(note.code),
            sentence: &note.sentence,
            remedy: &note.remedy,
            figures: figures(&note.figures),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Reason<'a> {
    code: Option<Word>,
    status: Option<Word>,
    sentence: &'a str,
    remedy: &'a str,
    figures: Figures<'a>,
    failure: Option<Failure<'a>>,
}

impl<'a> From<&'a v1::Reason> for Reason<'a> {
    fn from(reason: &'a v1::Reason) -> Self {
        Self {
            code: values::reason_code(reason.code),
            status: values::verdict(reason.status),
            sentence: &reason.sentence,
            remedy: &reason.remedy,
            figures: figures(&reason.figures),
            failure: reason.failure.as_ref().map(Failure::from),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Law<'a> {
    law: &'a str,
    code: Option<Word>,
    status: Option<Word>,
    sentence: &'a str,
    figures: Figures<'a>,
}

impl<'a> From<&'a v1::Law> for Law<'a> {
    fn from(law: &'a v1::Law) -> Self {
        Self {
            law: &law.law,
            code: values::reason_code(law.code),
            status: values::law(law.status),
            sentence: &law.sentence,
            figures: figures(&law.figures),
        }
    }
}

/// Whether the run passed.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<'a> {
    status: Option<Word>,
    objectives: Vec<Objective<'a>>,
}

impl<'a> From<&'a v1::Outcome> for Outcome<'a> {
    fn from(outcome: &'a v1::Outcome) -> Self {
        Self {
            status: values::outcome(outcome.status),
            objectives: outcome.objectives.iter().map(Objective::from).collect(),
        }
    }
}

/// A number of packets, which is exact however large it is, or a time or a share.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
enum Amount {
    Packets(u64),
    Figure(f64),
}

/// One objective. Limit and observed value are in `unit`: `us`, `packets`, `packets_per_s` or
/// `percent`. `quantile` is `p99.9` for example, `max`, or `mean`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Objective<'a> {
    /// The group that it is of; null of one of the whole run.
    group: Option<&'a str>,
    metric: Option<Word>,
    quantile: Option<String>,
    comparison: Option<Word>,
    limit: Option<Amount>,
    observed: Option<Amount>,
    unit: Option<&'static str>,
    status: Option<Word>,
    source: Option<Word>,
    sentence: &'a str,
    figures: Figures<'a>,
}

impl<'a> From<&'a v1::Objective> for Objective<'a> {
    fn from(objective: &'a v1::Objective) -> Self {
        use v1::{objective::Observed, threshold::Limit};
        let threshold = objective.threshold.unwrap_or_default();
        let time = |ns| Amount::Figure(micros(ns));
        let percent = |ppm: u32| Amount::Figure(f64::from(ppm) / 1e4);
        Self {
            group: (!objective.group.is_empty()).then_some(objective.group.as_str()),
            metric: values::metric(threshold.metric),
            quantile: threshold.statistic_name(),
            comparison: values::comparison(threshold.comparison),
            limit: threshold.limit.map(|limit| match limit {
                Limit::Ns(ns) => time(ns),
                Limit::Count(count) => Amount::Packets(count),
                Limit::SharePpm(ppm) => percent(ppm),
            }),
            observed: objective.observed.map(|observed| match observed {
                Observed::ObservedNs(ns) => time(ns),
                Observed::ObservedCount(count) => Amount::Packets(count),
                Observed::ObservedSharePpm(ppm) => percent(ppm),
            }),
            unit: threshold.limit.map(|limit| match limit {
                Limit::Ns(_) => "us",
                Limit::Count(_) if threshold.metric() == v1::Metric::Rate => "packets_per_s",
                Limit::Count(_) => "packets",
                Limit::SharePpm(_) => "percent",
            }),
            status: values::outcome(objective.status),
            source: values::objective_source(objective.source),
            sentence: &objective.sentence,
            figures: figures(&objective.figures),
        }
    }
}

/// Packets per second of all clients together.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    offered_hz: Option<f64>,
    achieved_hz: Option<f64>,
}

impl From<&v1::Rate> for Rate {
    fn from(rate: &v1::Rate) -> Self {
        Self {
            offered_hz: rate.offered_millihertz.map(hz),
            achieved_hz: rate.achieved_millihertz.map(hz),
        }
    }
}

/// CPU time of both ends, including the kernel's share.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    generator_s: Option<f64>,
    receiver_s: Option<f64>,
    generator_ns_per_packet: Option<f64>,
    receiver_ns_per_packet: Option<f64>,
    packets_per_write: Option<f64>,
    packets_per_read: Option<f64>,
}

impl From<&v1::Cpu> for Cpu {
    fn from(cpu: &v1::Cpu) -> Self {
        Self {
            generator_s: cpu.generator_ns.map(seconds_of_ns),
            receiver_s: cpu.receiver_ns.map(seconds_of_ns),
            generator_ns_per_packet: cpu.generator_ns_per_packet,
            receiver_ns_per_packet: cpu.receiver_ns_per_packet,
            packets_per_write: cpu.packets_per_write,
            packets_per_read: cpu.packets_per_read,
        }
    }
}

/// The clients of one group.
#[derive(Clone, Debug, Serialize)]
pub struct Group<'a> {
    group: &'a str,
    clients: u32,
    counts: Option<Counts>,
    rate: Option<Rate>,
    lateness_us: Option<Times>,
    transit_us: Option<Times>,
    latency_us: Option<Times>,
    spread_us: Option<Times>,
    rtt_from_due_us: Option<Times>,
    rtt_from_write_us: Option<Times>,
    one_way_us: Option<Times>,
    queueing_us: Option<Times>,
    /// What the verdict has for the run, for the quantiles of this group.
    valid_to: Option<String>,
    punctuality: Option<Punctuality>,
}

impl<'a> From<&'a v1::GroupReport> for Group<'a> {
    fn from(group: &'a v1::GroupReport) -> Self {
        let times = group.times.as_ref();
        Self {
            group: &group.group,
            clients: group.clients,
            counts: group.counts.as_ref().map(Counts::of_both_ends),
            rate: group.rate.as_ref().map(Rate::from),
            lateness_us: times.and_then(|times| times.lateness.as_ref().map(Times::from)),
            transit_us: times.and_then(|times| times.transit.as_ref().map(Times::from)),
            latency_us: times.and_then(|times| times.latency.as_ref().map(Times::from)),
            spread_us: times.and_then(|times| times.spread.as_ref().map(Times::from)),
            rtt_from_due_us: times.and_then(|times| times.rtt_from_due.as_ref().map(Times::from)),
            rtt_from_write_us: times
                .and_then(|times| times.rtt_from_write.as_ref().map(Times::from)),
            one_way_us: times.and_then(|times| times.one_way.as_ref().map(Times::from)),
            queueing_us: times.and_then(|times| times.queueing.as_ref().map(Times::estimated)),
            valid_to: group.valid_to_ppm.map(quantile_name),
            punctuality: group.punctuality.as_ref().map(Punctuality::from),
        }
    }
}

/// How the clock of an agent relates to the server's.
#[derive(Clone, Debug, Serialize)]
pub struct Clock {
    /// Null for a relation that this version does not have.
    relation: Option<&'static str>,
    /// How far off the relation can be. Null where there is none.
    bound_us: Option<f64>,
    /// The server's reading less the agent's. Null unless the relation is an offset, as the
    /// drift is.
    offset_us: Option<f64>,
    drift_ppm: Option<f64>,
    drift_bound_ppm: Option<f64>,
    /// `proved` or `claimed`. Null where there is no bound.
    bound_is: Option<&'static str>,
}

impl From<&v1::ClockRelation> for Clock {
    fn from(clock: &v1::ClockRelation) -> Self {
        use v1::clock_relation::Relation;
        let (bound_ns, offset) = match clock.relation {
            Some(Relation::Same(same)) => (same.bound_ns, None),
            Some(Relation::Offset(offset)) => (Some(offset.bound_ns), Some(offset)),
            Some(Relation::Unknown(_)) | None => (None, None),
        };
        let is_claimed = offset.is_some_and(|offset| offset.bound_is_claimed);
        Self {
            relation: values::clock(Some(clock)),
            bound_us: bound_ns.map(micros),
            offset_us: offset.map(|offset| micros(offset.offset_ns)),
            drift_ppm: offset.map(|offset| ppm(offset.drift_ppb)),
            drift_bound_ppm: offset.map(|offset| ppm(offset.drift_bound_ppb)),
            bound_is: bound_ns.map(|_| values::bound_is(is_claimed)),
        }
    }
}

/// Parts per 10^6, from parts per 10^9.
fn ppm(ppb: i64) -> f64 {
    ppb as f64 / 1e3
}

/// One agent and its part of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Agent<'a> {
    agent: &'a str,
    clients: u32,
    clock: Option<Clock>,
    counts: Option<Counts>,
    cpu_s: Option<f64>,
    writes: Option<u64>,
    oversleep_max_us: Option<f64>,
    payloads: Vec<PayloadRead<'a>>,
    path: Option<Path>,
    start_skew_us: Option<f64>,
    start_skew_bound_us: Option<f64>,
    failure: Option<Failure<'a>>,
}

impl<'a> From<&'a v1::AgentReport> for Agent<'a> {
    fn from(agent: &'a v1::AgentReport) -> Self {
        Self {
            agent: &agent.agent,
            clients: agent.clients,
            clock: agent.clock.as_ref().map(Clock::from),
            counts: agent
                .counts
                .as_ref()
                .map(|counts| Counts::of_list(Some(counts))),
            cpu_s: agent.cpu_ns.map(seconds_of_ns),
            writes: agent.writes,
            oversleep_max_us: agent.oversleep_max_ns.map(micros),
            payloads: agent.payloads.iter().map(PayloadRead::from).collect(),
            path: agent.path.as_ref().map(Path::from),
            start_skew_us: agent.start_skew_ns.map(micros),
            start_skew_bound_us: agent.start_skew_bound_ns.map(micros),
            failure: agent.failure.as_ref().map(Failure::from),
        }
    }
}

/// A file that an agent has read for the payload of a group.
#[derive(Clone, Debug, Serialize)]
struct PayloadRead<'a> {
    group: &'a str,
    bytes: u64,
    /// In hexadecimal digits.
    sha256: String,
}

impl<'a> From<&'a v1::PayloadRead> for PayloadRead<'a> {
    fn from(read: &'a v1::PayloadRead) -> Self {
        Self {
            group: &read.group,
            bytes: read.size,
            sha256: values::hex(&read.sha256),
        }
    }
}

/// One server that read packets.
#[derive(Clone, Debug, Serialize)]
pub struct Receiver<'a> {
    receiver: &'a str,
    data_address: &'a str,
    workers: Vec<Worker>,
}

impl<'a> From<&'a v1::ReceiverReport> for Receiver<'a> {
    fn from(receiver: &'a v1::ReceiverReport) -> Self {
        Self {
            receiver: &receiver.receiver,
            data_address: &receiver.data_address,
            workers: receiver.workers.iter().map(Worker::from).collect(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Worker {
    worker: u32,
    /// `None` where it had no process when the run ended.
    pid: Option<u32>,
    packets: u64,
    cpu_s: Option<f64>,
    reads: Option<u64>,
    wakeups: Option<u64>,
    restarts: u32,
    pauses: Option<u64>,
    pause_mean_us: Option<f64>,
}

impl From<&v1::WorkerReport> for Worker {
    fn from(worker: &v1::WorkerReport) -> Self {
        Self {
            worker: worker.worker,
            pid: (worker.pid != 0).then_some(worker.pid),
            packets: worker.packets,
            cpu_s: worker.cpu_ns.map(seconds_of_ns),
            reads: worker.reads,
            wakeups: worker.wakeups,
            restarts: worker.restarts,
            pauses: worker.pauses,
            pause_mean_us: worker.pause_mean_ns.map(micros),
        }
    }
}

/// One client.
#[derive(Clone, Debug, Serialize)]
pub struct Client<'a> {
    client: u32,
    group: &'a str,
    agent: &'a str,
    worker: Option<u32>,
    counts: Option<Counts>,
    attempts: Option<u32>,
    lateness_p99_us: Option<f64>,
    transit_p99_us: Option<f64>,
    latency_p99_us: Option<f64>,
    latency_max_us: Option<f64>,
    spread_p99_us: Option<f64>,
    rtt_from_due_p99_us: Option<f64>,
    rtt_from_write_p99_us: Option<f64>,
    one_way_p99_us: Option<f64>,
    queueing_p99_us: Option<f64>,
    generator_tcp: Option<Tcp>,
    receiver_tcp: Option<Tcp>,
    failure: Option<Failure<'a>>,
}

impl<'a> From<&'a v1::ClientReport> for Client<'a> {
    fn from(client: &'a v1::ClientReport) -> Self {
        Self {
            client: client.client,
            group: &client.group,
            agent: &client.agent,
            worker: client.worker,
            counts: client.counts.as_ref().map(Counts::of_both_ends),
            attempts: client.attempts,
            lateness_p99_us: client.lateness_p99_ns.map(micros),
            transit_p99_us: client.transit_p99_ns.map(micros),
            latency_p99_us: client.latency_p99_ns.map(micros),
            latency_max_us: client.latency_max_ns.map(micros),
            spread_p99_us: client.spread_p99_ns.map(micros),
            rtt_from_due_p99_us: client.rtt_from_due_p99_ns.map(micros),
            rtt_from_write_p99_us: client.rtt_from_write_p99_ns.map(micros),
            one_way_p99_us: client.one_way_p99_ns.map(micros),
            queueing_p99_us: client.queueing_p99_ns.map(micros),
            generator_tcp: client.generator_tcp.as_ref().map(Tcp::from),
            receiver_tcp: client.receiver_tcp.as_ref().map(Tcp::from),
            failure: client.failure.as_ref().map(Failure::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::Threshold;

    #[test]
    fn a_number_of_packets_keeps_all_of_its_digits() {
        let threshold: Threshold = "lost<18446744073709551615".parse().unwrap();
        let objective = v1::Objective {
            threshold: Some(threshold.to_proto()),
            observed: Some(v1::objective::Observed::ObservedCount(u64::MAX - 1)),
            ..v1::Objective::default()
        };
        let text = serde_json::to_string(&Objective::from(&objective)).unwrap();
        assert!(
            text.contains(r#""limit":18446744073709551615,"observed":18446744073709551614,"#),
            "{text}"
        );
    }
}
