//! A run in which everything went well, for tests to spoil.

use std::time::Duration;

use metronome_proto::{histogram::Histogram, plan::Plan, rate::Rate, v1};

use super::{AgentAccount, Conclusion, Evidence, StopCause, conclude};
use crate::master::request::{ClientCount, RunRecord, Times, WorkerCount};

/// Packets of each client.
pub(super) const PACKETS: u64 = 100;

/// When the sample's run starts, ns.
pub(super) const START_NS: u64 = 1_000_000_000;

/// Both ends' records of a run of 100 packets per client at 1 kHz, two workers.
pub(super) struct Sample {
    pub(super) plan: Plan,
    pub(super) agents: Vec<AgentAccount>,
    pub(super) record: Option<RunRecord>,
    pub(super) start_at_ns: Option<u64>,
    pub(super) stopped: Option<StopCause>,
}

impl Sample {
    /// `agents` agents with `clients_each` clients each.
    pub(super) fn of(agents: u32, clients_each: u32) -> Self {
        let clients = agents * clients_each;
        let account = |index: u32| {
            let first = index * clients_each;
            let mut account =
                AgentAccount::new(format!("agent-{index}"), first, clients_each, true);
            let records = (first..first + clients_each).map(clean_record).collect();
            account.take(v1::ClientRecords {
                run_id: String::new(),
                clients: records,
            });
            account.finish(v1::Finished {
                cpu_ns: 1_000_000,
                writes: PACKETS,
                ..v1::Finished::default()
            });
            account
        };
        Self {
            plan: Plan {
                clients,
                rate: Rate::Millihertz(1_000_000),
                duration: Duration::from_millis(PACKETS),
                batch: 1,
                phase: v1::Phase::Staggered,
                threads: 1,
                agents: Vec::new(),
                target: String::new(),
            },
            agents: (0..agents).map(account).collect(),
            record: Some(clean_run_record(clients)),
            start_at_ns: Some(START_NS),
            stopped: None,
        }
    }

    pub(super) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            plan: &self.plan,
            agents: &self.agents,
            record: self.record.as_ref(),
            start_at_ns: self.start_at_ns,
            stopped: self.stopped,
            notes: &[],
        }
    }

    pub(super) fn conclude(&self) -> Conclusion {
        conclude(&self.evidence())
    }

    /// Changes what its agent told of one client.
    pub(super) fn told(&mut self, client: u32, change: impl FnOnce(&mut v1::ClientRecord)) {
        let account = self
            .agents
            .iter_mut()
            .find(|account| account.owns(client))
            .expect("a client of the sample");
        let mut clients: Vec<_> = account
            .part()
            .filter_map(|client| account.record(client).cloned())
            .collect();
        change(
            clients
                .iter_mut()
                .find(|record| record.client == client)
                .expect("a client of the sample"),
        );
        let finished = account
            .finished()
            .cloned()
            .expect("the sample's agents finish");
        *account = AgentAccount::new(
            account.name.clone(),
            account.first_client,
            account.clients,
            account.shares_clock,
        );
        account.take(v1::ClientRecords {
            run_id: String::new(),
            clients,
        });
        account.finish(finished);
    }

    /// Changes what the workers counted of one client.
    pub(super) fn counted(&mut self, client: u32, change: impl FnOnce(&mut ClientCount)) {
        change(&mut self.record().clients[client as usize]);
    }

    pub(super) fn record(&mut self) -> &mut RunRecord {
        self.record.as_mut().expect("the sample has a record")
    }

    /// One agent's clock is not the server's: none of its one-way times are counted.
    pub(super) fn forget_clock(&mut self, agent: usize) {
        self.agents[agent].shares_clock = false;
        for client in self.agents[agent].part().collect::<Vec<_>>() {
            self.counted(client, |counted| {
                counted.histogram_counts = [counted.received, 0, 0]
            });
        }
        let one_way = self
            .record()
            .clients
            .iter()
            .map(|counted| counted.histogram_counts[1])
            .sum();
        let Times {
            transit, latency, ..
        } = times(one_way);
        let record = self.record();
        (record.times.transit, record.times.latency) = (transit, latency);
    }

    /// One client loses its last packets on a broken connection, all figures consistent.
    pub(super) fn break_connection(&mut self, client: u32, received: u64) {
        self.told(client, |told| {
            told.acknowledged = None;
            told.kernel_acknowledged_bytes = Some(received * 32);
            told.error = "the connection broke".into();
        });
        let lost = PACKETS
            - self.record().clients[client as usize]
                .received
                .min(received);
        self.counted(client, |counted| {
            counted.received = received;
            counted.histogram_counts = [received; 3];
            counted.next_sequence = received;
            counted.last_due_ns = due_ns(received.saturating_sub(1));
            counted.told_sent = None;
            counted.digest = 0;
            counted.error = Some("the connection was reset".into());
        });
        let clients = self.plan.clients;
        let record = self.record();
        record.workers[0].packets -= lost;
        record.times = times(u64::from(clients) * PACKETS - lost);
    }
}

/// A run that was spoiled like this is invalid, for these reasons and no others.
#[track_caller]
pub(super) fn breaks(expected: &[&str], spoil: impl FnOnce(&mut Sample)) {
    let mut sample = Sample::of(2, 2);
    spoil(&mut sample);
    let conclusion = sample.conclude();
    assert_eq!(codes(&conclusion), expected);
    let report = conclusion.report;
    assert_eq!(
        report.verdict.map(|verdict| verdict.status()),
        Some(v1::VerdictStatus::Invalid)
    );
    let broken: Vec<_> = report.laws.iter().filter(|law| !law.holds).collect();
    assert!(
        !broken.is_empty() && broken.iter().all(|law| !law.figures.is_empty()),
        "{:?}",
        report.laws
    );
}

/// The codes of a conclusion's reasons.
pub(super) fn codes(conclusion: &Conclusion) -> Vec<String> {
    let verdict = conclusion
        .report
        .verdict
        .as_ref()
        .expect("a report has a verdict");
    verdict
        .reasons
        .iter()
        .map(|reason| reason.code.clone())
        .collect()
}

/// A histogram of each kind with `count` values of 10 µs.
pub(super) fn times(count: u64) -> Times {
    let mut histogram = Histogram::default();
    histogram.add_count(metronome_proto::histogram::bucket(10_000), count);
    Times {
        lateness: histogram.clone(),
        transit: histogram.clone(),
        latency: histogram,
    }
}

fn clean_record(client: u32) -> v1::ClientRecord {
    v1::ClientRecord {
        client,
        scheduled: PACKETS,
        sent: PACKETS,
        skipped: 0,
        digest: digest(client),
        acknowledged: Some(PACKETS),
        kernel_acknowledged_bytes: Some(PACKETS * 32),
        attempts: 1,
        error: String::new(),
        blocked: 0,
    }
}

fn clean_run_record(clients: u32) -> RunRecord {
    let count = |client| ClientCount {
        client,
        worker: client % 2,
        received: PACKETS,
        digest: digest(client),
        told_sent: Some(PACKETS),
        first_read_ns: START_NS + 10_000,
        last_read_ns: START_NS + 100_000_000,
        first_due_ns: due_ns(0),
        last_due_ns: due_ns(PACKETS - 1),
        next_sequence: PACKETS,
        bytes: (PACKETS + 2) * 32,
        bytes_taken: Some((PACKETS + 2) * 32),
        histogram_counts: [PACKETS; 3],
        ..ClientCount::default()
    };
    let packets = u64::from(clients) * PACKETS;
    let worker = |worker, packets| WorkerCount {
        worker,
        packets,
        cpu_ns: 500_000,
        ..WorkerCount::default()
    };
    RunRecord {
        clients: (0..clients).map(count).collect(),
        workers: vec![worker(0, packets), worker(1, 0)],
        times: times(packets),
        ..RunRecord::default()
    }
}

/// When a packet of the sample is due, ns: one every millisecond.
pub(super) fn due_ns(sequence: u64) -> u64 {
    START_NS + sequence * 1_000_000
}

fn digest(client: u32) -> u64 {
    u64::from(client).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
