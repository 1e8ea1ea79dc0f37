//! A run in which everything went well, for tests to spoil.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metronome_proto::{
    counters::CounterList as _,
    histogram::Histogram,
    plan::{Group, Plan},
    profile::Profile,
    v1::{self, Failure, FailureCode, LawStatus, ReasonCode},
};

use super::{Conclusion, conclude, evidence::Evidence};
use crate::model::{
    AgentRecords, AgentShare, ClientCounters, ClientEnd, ClockRelation, FinalCounters, PerTime,
    Times, WorkerCounters,
};

/// Packets of each client.
pub(super) const PACKETS: u64 = 100;

/// Times of each client: its first packet has no spread.
const TIMED: [u64; 4] = [PACKETS, PACKETS, PACKETS, PACKETS - 1];

/// When the sample's run starts, ns.
pub(super) const START_NS: u64 = 1_000_000_000;

/// Both ends' records of a run of 100 packets per client at 1 kHz, two workers.
pub(super) struct Sample {
    pub(super) plan: Plan,
    pub(super) agents: Vec<AgentRecords>,
    pub(super) counters: Option<FinalCounters>,
    pub(super) start_at_ns: Option<u64>,
    pub(super) stopped: Option<v1::StopCause>,
    pub(super) finished_early: BTreeMap<usize, u64>,
    pub(super) notes: Vec<v1::Note>,
}

impl Sample {
    /// `agents` agents with `clients_each` clients each.
    pub(super) fn of(agents: u32, clients_each: u32) -> Self {
        let clients = agents * clients_each;
        let agent = |index: u32| {
            let first = index * clients_each;
            let mut agent = AgentRecords::new(
                format!("agent-{index}"),
                AgentShare::of(first..first + clients_each, ClockRelation::Same),
            );
            let records = (first..first + clients_each).map(clean_record).collect();
            agent.take(v1::ClientRecords {
                run_id: String::new(),
                clients: records,
            });
            agent.finish(v1::Finished {
                cpu_ns: Some(1_000_000),
                writes: Some(PACKETS),
                oversleep_max_ns: Some(1_000),
                ..v1::Finished::default()
            });
            agent
        };
        Self {
            plan: Plan {
                group: Group {
                    name: "default".into(),
                    clients,
                    profile: Profile::constant(1_000_000),
                    batch: 1,
                    phase: v1::Phase::Staggered,
                    agents: Vec::new(),
                    target: String::new(),
                },
                duration: Duration::from_millis(PACKETS),
                threads: 1,
                thresholds: Vec::new(),
                has_default_objectives: true,
                on_agent_loss: metronome_proto::v1::AgentLoss::Continue,
                requires: Vec::new(),
            },
            agents: (0..agents).map(agent).collect(),
            counters: Some(clean_counters(clients)),
            start_at_ns: Some(START_NS),
            stopped: None,
            finished_early: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            plan: &self.plan,
            agents: &self.agents,
            counters: self.counters.as_ref(),
            start_at_ns: self.start_at_ns,
            data_address: "192.0.2.7:8888",
            stopped: self.stopped,
            finished_early: &self.finished_early,
            notes: &self.notes,
        }
    }

    pub(super) fn conclude(&self) -> Conclusion {
        conclude(&self.evidence())
    }

    /// Changes what its agent reported of one client.
    pub(super) fn reported(&mut self, client: u32, change: impl FnOnce(&mut v1::ClientRecord)) {
        let agent = self
            .agents
            .iter_mut()
            .find(|agent| agent.owns(client))
            .expect("a client of the sample");
        let mut clients: Vec<_> = agent
            .clients()
            .filter_map(|client| agent.record(client).cloned())
            .collect();
        change(
            clients
                .iter_mut()
                .find(|record| record.client == client)
                .expect("a client of the sample"),
        );
        let finished = agent
            .finished()
            .cloned()
            .expect("the sample's agents finish");
        *agent = AgentRecords::new(agent.name.clone(), agent.share.clone());
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        agent.finish(finished);
    }

    /// Changes the packets that its agent reported of one client.
    pub(super) fn reported_counts(
        &mut self,
        client: u32,
        change: impl FnOnce(&mut v1::GeneratorCounts),
    ) {
        self.reported(client, |reported| {
            change(reported.counts.as_mut().expect("the sample has counts"));
        });
    }

    /// Changes the last report of one agent.
    pub(super) fn last_report(&mut self, agent: usize, change: impl FnOnce(&mut v1::Finished)) {
        let agent = &mut self.agents[agent];
        let finished = agent.finished().cloned();
        let mut finished = finished.expect("the sample's agents finish");
        change(&mut finished);
        let clients = agent.records().cloned().collect();
        *agent = AgentRecords::new(agent.name.clone(), agent.share.clone());
        agent.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        agent.finish(finished);
    }

    /// One agent has never reported anything.
    pub(super) fn forget_agent(&mut self, agent: usize) {
        let agent = &mut self.agents[agent];
        *agent = AgentRecords::new(agent.name.clone(), agent.share.clone());
    }

    /// Changes what the workers counted of one client.
    pub(super) fn counted(&mut self, client: u32, change: impl FnOnce(&mut ClientCounters)) {
        change(&mut self.counters().clients[client as usize]);
    }

    pub(super) fn counters(&mut self) -> &mut FinalCounters {
        self.counters.as_mut().expect("the sample has counters")
    }

    /// One agent's clock is not the server's: none of its one-way times are counted.
    pub(super) fn forget_clock(&mut self, agent: usize) {
        self.agents[agent].share.clock = ClockRelation::Unknown;
        for client in self.agents[agent].clients().collect::<Vec<_>>() {
            self.counted(client, |counted| counted.counts.read_before_written = None);
        }
        self.retime();
    }

    /// Every packet received has the times that it must have, 10 µs each; the first has no spread.
    pub(super) fn retime(&mut self) {
        let is_paced = self.plan.first_group().profile != Profile::Flood;
        let ours = self
            .agents
            .iter()
            .filter(|of| of.is_recorded_on_our_clock());
        let ours: BTreeSet<u32> = ours.flat_map(AgentRecords::clients).collect();
        let mut sums = [0; 4];
        let counters = self.counters();
        for counted in &mut counters.clients {
            let received = counted.counts.received;
            let paced = if is_paced { received } else { 0 };
            let one_way = if ours.contains(&counted.client) {
                received
            } else {
                0
            };
            set_timed(counted, [paced, one_way, one_way, paced.saturating_sub(1)]);
            sums = std::array::from_fn(|kind| sums[kind] + counted.timed.0[kind]);
        }
        let [lateness, transit, latency, spread] = sums.map(|count| times(count).lateness);
        counters.times = Times {
            lateness,
            transit,
            latency,
            spread,
        };
    }

    /// The same packets as a flood: none has a place in a schedule, and none is late.
    pub(super) fn flood(&mut self) {
        self.plan.groups[0].profile = Profile::Flood;
        for client in 0..self.plan.clients() {
            self.counted(client, |counted| {
                let counts = &mut counted.counts;
                (counts.off_schedule, counts.left_out) = (None, None);
                counts.in_time = None;
                (counts.spread_understated, counts.spread_uncertain) = (None, None);
                counted.least_ns = None;
            });
        }
        self.retime();
    }

    /// So many packets of a client were due, and all of them came.
    pub(super) fn send(&mut self, client: u32, packets: u64) {
        self.reported(client, |reported| {
            let counts = reported.counts.as_mut().expect("the sample has counts");
            (counts.scheduled, counts.sent) = (packets, packets);
            reported.acknowledged = Some(packets);
            reported.kernel_acknowledged_bytes = Some(packets * 32);
        });
        let before = self.counters().clients[client as usize].counts.received;
        let worker = &mut self.counters().workers[0];
        worker.packets = worker.packets - before + packets;
        self.counted(client, |counted| {
            (counted.counts.received, counted.counts.in_time) = (packets, Some(packets));
            (counted.next_sequence, counted.reported_sent) = (packets, Some(packets));
        });
    }

    /// One client loses its last packets on a broken connection, all figures consistent.
    pub(super) fn break_connection(&mut self, client: u32, received: u64) {
        self.reported(client, |reported| {
            reported.acknowledged = None;
            reported.kernel_acknowledged_bytes = Some(received * 32);
            let failure = Failure::new(FailureCode::ConnectionBroken, "the connection broke");
            reported.failure = Some(failure);
        });
        let lost = PACKETS
            - self.counters().clients[client as usize]
                .counts
                .received
                .min(received);
        self.counted(client, |counted| {
            counted.counts.received = received;
            counted.counts.in_time = counted.counts.in_time.and(Some(received));
            counted.next_sequence = received;
            counted.last_due_ns = due_ns(received.saturating_sub(1));
            counted.reported_sent = None;
            counted.digest = 0;
            counted.end = ClientEnd::Broken;
        });
        self.counters().workers[0].packets -= lost;
        self.retime();
    }
}

/// So many packets were written 2 ms late, none of them blocked.
pub(super) fn late(sample: &mut Sample, packets: u64) {
    let counters = sample.counters();
    let all = counters.times.lateness.count();
    let mut lateness = times(all - packets).lateness;
    lateness.add_count(metronome_proto::histogram::bucket(2_000_000), packets);
    counters.times.lateness = lateness;
}

/// A run that was spoiled like this is invalid, for these reasons and no others.
#[track_caller]
pub(super) fn breaks(expected: &[ReasonCode], spoil: impl FnOnce(&mut Sample)) {
    let mut sample = Sample::of(2, 2);
    spoil(&mut sample);
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), expected);
    let verdict = verdict(&conclusion);
    assert_eq!(verdict.status(), v1::VerdictStatus::Invalid);
    let is_broken = |law: &&v1::Law| law.status() == LawStatus::Broken;
    let broken: Vec<_> = verdict.laws.iter().filter(is_broken).collect();
    assert!(
        !broken.is_empty() && broken.iter().all(|law| !law.figures.is_empty()),
        "{:?}",
        verdict.laws
    );
}

pub(super) fn verdict(conclusion: &Conclusion) -> &v1::Verdict {
    let verdict = conclusion.report.verdict.as_ref();
    verdict.expect("a report has a verdict")
}

/// The codes of a conclusion's reasons.
pub(super) fn codes(conclusion: &Conclusion) -> Vec<ReasonCode> {
    let reasons = verdict(conclusion).reasons.iter();
    reasons.map(v1::Reason::code).collect()
}

/// How a law came out, by its code.
pub(super) fn law(conclusion: &Conclusion, code: ReasonCode) -> &v1::Law {
    let mut laws = verdict(conclusion).laws.iter();
    let law = laws.find(|law| law.code() == code);
    law.expect("a verdict has every law")
}

/// Takes out every sentence, so that the others can be compared.
pub(super) fn blank_sentences(conclusion: &mut Conclusion) {
    let report = &mut conclusion.report;
    let verdict = report.verdict.as_mut().expect("a report has a verdict");
    let notes = verdict.notes.iter_mut().map(|note| &mut note.sentence);
    let laws = verdict.laws.iter_mut().map(|law| &mut law.sentence);
    let reasons = verdict.reasons.iter_mut();
    let (sentences, causes): (Vec<_>, Vec<_>) = reasons
        .map(|reason| (&mut reason.sentence, &mut reason.failure))
        .unzip();
    laws.chain(notes).chain(sentences).for_each(String::clear);
    let agents = report.agents.iter_mut().map(|agent| &mut agent.failure);
    let clients = conclusion.clients.iter_mut();
    let failures = clients.map(|client| &mut client.failure).chain(agents);
    let failures = failures.chain(causes).flatten();
    failures.for_each(|failure| failure.sentence.clear());
}

/// A client has so many times of lateness, transit, latency and spread, counted and in its
/// histograms.
pub(super) fn set_timed(counted: &mut ClientCounters, counts: [u64; 4]) {
    (counted.timed, counted.histogram_counts) = (PerTime(counts), PerTime(counts));
}

/// A histogram of each kind with `count` values of 10 µs.
pub(super) fn times(count: u64) -> Times {
    let mut histogram = Histogram::default();
    histogram.add_count(metronome_proto::histogram::bucket(10_000), count);
    Times {
        lateness: histogram.clone(),
        transit: histogram.clone(),
        latency: histogram.clone(),
        spread: histogram,
    }
}

fn clean_record(client: u32) -> v1::ClientRecord {
    v1::ClientRecord {
        client,
        counts: Some(v1::GeneratorCounts {
            scheduled: PACKETS,
            sent: PACKETS,
            ..v1::GeneratorCounts::default()
        }),
        digest: digest(client),
        acknowledged: Some(PACKETS),
        kernel_acknowledged_bytes: Some(PACKETS * 32),
        attempts: 1,
        failure: None,
    }
}

fn clean_counters(clients: u32) -> FinalCounters {
    let count = |client| ClientCounters {
        client,
        worker: client % 2,
        counts: v1::ReceiverCounts {
            received: PACKETS,
            in_time: Some(PACKETS),
            ..v1::ReceiverCounts::zero()
        },
        least_ns: Some(0),
        digest: digest(client),
        reported_sent: Some(PACKETS),
        first_read_ns: START_NS + 10_000,
        last_read_ns: START_NS + 100_000_000,
        first_due_ns: due_ns(0),
        last_due_ns: due_ns(PACKETS - 1),
        next_sequence: PACKETS,
        bytes: (PACKETS + 2) * 32,
        bytes_taken: Some((PACKETS + 2) * 32),
        timed: PerTime(TIMED),
        histogram_counts: PerTime(TIMED),
        end: ClientEnd::Clean,
        ..ClientCounters::default()
    };
    let packets = u64::from(clients) * PACKETS;
    let worker = |worker, packets| WorkerCounters {
        worker,
        packets,
        cpu_ns: Some(500_000),
        reads: Some(0),
        wakeups: Some(0),
        pauses: Some(0),
        paused_ns: Some(0),
        ..WorkerCounters::default()
    };
    FinalCounters {
        clients: (0..clients).map(count).collect(),
        workers: vec![worker(0, packets), worker(1, 0)],
        times: Times {
            spread: times(packets - u64::from(clients)).spread,
            ..times(packets)
        },
        ..FinalCounters::default()
    }
}

/// When a packet of the sample is due, ns: one every millisecond.
pub(super) fn due_ns(sequence: u64) -> u64 {
    START_NS + sequence * 1_000_000
}

fn digest(client: u32) -> u64 {
    u64::from(client).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
