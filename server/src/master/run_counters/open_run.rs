//! What was counted of one run, from its admission until its final record.

use std::collections::BTreeMap;

use metronome_proto::{counters::CounterList as _, v1::ReceiverCounts};

use super::sparse_histogram::SparseHistogram;
use crate::{
    ledger::{ConnectionCounters, SLOWEST_KEPT, Slot, Stage},
    master::admission::Admission,
    model::{
        ClientCounters, FinalCounters, Incident, LiveCounters, OpenRun, SlowestPacket, Times,
        WorkerCounters, WorkerTotals,
    },
};

/// Most incidents that are kept of a run; later ones are only logged.
const INCIDENTS_MAX: usize = 100;

impl OpenRun {
    /// Nothing is counted yet; `baseline` are the workers as they are.
    pub(super) fn new(admission: &Admission, row: usize, baseline: Vec<WorkerTotals>) -> Self {
        Self {
            clients_max: admission.clients,
            row,
            worker_packets: vec![0; baseline.len()],
            baseline,
            is_shared: false,
            clients: BTreeMap::new(),
            times: Times::default(),
            counts: ReceiverCounts::zero(),
            recovered_packets: 0,
            incidents: Vec::new(),
            slowest: Vec::new(),
        }
    }

    /// Attributes packets to the worker that counted them, or to the recovery when there is none.
    pub(super) fn credit(&mut self, worker: Option<usize>, packets: u64) {
        let sum = worker
            .and_then(|worker| self.worker_packets.get_mut(worker))
            .unwrap_or(&mut self.recovered_packets);
        *sum = sum.saturating_add(packets);
    }

    /// Notes something that went wrong in the time of the run.
    pub(super) fn note_incident(&mut self, incident: Incident) {
        if self.incidents.len() < INCIDENTS_MAX {
            self.incidents.push(incident);
        }
    }

    /// Counts a client's connection that has ended.
    pub(super) fn record_closed(
        &mut self,
        connection_counters: &ConnectionCounters,
        record: &Slot,
        worker: u32,
        bytes_taken: Option<u64>,
    ) {
        let client = u32::from(connection_counters.client);
        self.counts = self.counts.plus(&connection_counters.counts);
        add_times(&mut self.times, record);
        self.slowest
            .extend(record.slowest().map(|packet| SlowestPacket {
                client,
                worker,
                packet,
            }));
        self.slowest
            .sort_by_key(|slow| std::cmp::Reverse(slow.packet.total_ns));
        self.slowest.truncate(SLOWEST_KEPT);
        // Only the last attempt of a client has packets: an agent that tries again had no ack.
        let is_older = self
            .clients
            .get(&client)
            .is_some_and(|(attempt, _)| *attempt > connection_counters.attempt);
        if !is_older {
            self.clients.insert(
                client,
                (
                    connection_counters.attempt,
                    client_count(connection_counters, record, worker, bytes_taken),
                ),
            );
        }
    }

    /// How the run stands, together with those of its clients that have not ended.
    pub(super) fn read<'a>(
        &self,
        histograms: bool,
        live: impl Iterator<Item = (ConnectionCounters, &'a Slot)>,
    ) -> LiveCounters {
        let mut live_counters = LiveCounters {
            connected: 0,
            ended: self.clients.len() as u32,
            unreleased: 0,
            counts: self.counts,
            times: histograms.then(|| self.times.clone()),
        };
        for (connection_counters, record) in live {
            live_counters.unreleased += 1;
            match connection_counters.stage {
                Stage::Packets | Stage::Ended => live_counters.connected += 1,
                _ => live_counters.ended += 1,
            }
            live_counters.counts = live_counters.counts.plus(&connection_counters.counts);
            // An idle client has no times, and looking at its histograms would cost memory.
            if let Some(times) = live_counters
                .times
                .as_mut()
                .filter(|_| connection_counters.counts.received > 0)
            {
                add_times(times, record);
            }
        }
        live_counters
    }

    /// The final record; `now` are the workers as they are, whose pauses are asked for or not.
    pub(crate) fn into_record(
        self,
        now: &[WorkerTotals],
        pauses_are_asked_for: bool,
    ) -> FinalCounters {
        let since_baseline = |(index, now): (usize, &WorkerTotals)| {
            let before = self.baseline.get(index).copied().unwrap_or_default();
            // What a worker counts for all that it reads is the run's where it read nothing else.
            let own = |figure: fn(&WorkerTotals) -> u64| {
                (!self.is_shared).then(|| figure(now).saturating_sub(figure(&before)))
            };
            WorkerCounters {
                worker: now.worker,
                pid: now.pid,
                packets: self.worker_packets.get(index).copied().unwrap_or(0),
                cpu_ns: own(|of| of.cpu_ns),
                reads: own(|of| of.reads),
                wakeups: own(|of| of.wakeups),
                pauses: own(|of| of.pauses),
                paused_ns: own(|of| of.paused_ns),
                restarts: now.restarts.saturating_sub(before.restarts),
            }
        };
        let workers = now.iter().enumerate().map(since_baseline).collect();
        FinalCounters {
            clients: self.clients.into_values().map(|(_, count)| count).collect(),
            workers,
            pauses_are_asked_for,
            times: self.times,
            recovered_packets: self.recovered_packets,
            incidents: self.incidents,
            slowest: self.slowest,
        }
    }
}

fn client_count(
    connection_counters: &ConnectionCounters,
    record: &Slot,
    worker: u32,
    bytes_taken: Option<u64>,
) -> ClientCounters {
    let [lateness, transit, latency] = std::array::from_fn(|index| histogram(record, index));
    ClientCounters {
        client: u32::from(connection_counters.client),
        worker,
        counts: connection_counters.counts,
        digest: connection_counters.digest,
        reported_sent: connection_counters
            .has_end
            .then_some(connection_counters.reported_sent),
        first_read_ns: connection_counters.first_read_ns,
        last_read_ns: connection_counters.last_read_ns,
        first_due_ns: connection_counters.first_due_ns,
        last_due_ns: connection_counters.last_due_ns,
        next_sequence: connection_counters.next_sequence,
        bytes: connection_counters.bytes,
        bytes_taken,
        least_ns: None,
        timed: with_spread(connection_counters.timed),
        histogram_counts: with_spread([lateness.count(), transit.count(), latency.count()]),
        lateness_p99_ns: lateness.quantile_ns(0.99),
        lateness_p99_9_ns: lateness.quantile_ns(0.999),
        transit_p99_ns: transit.quantile_ns(0.99),
        latency_p99_ns: latency.quantile_ns(0.99),
        latency_max_ns: latency.quantile_ns(1.0),
        spread_p99_ns: 0,
        partial_frame_bytes: u32::from(connection_counters.partial_frame_bytes),
        end: connection_counters.end,
    }
}

/// The ledger has no spread yet.
fn with_spread([lateness, transit, latency]: [u64; 3]) -> [u64; 4] {
    [lateness, transit, latency, 0]
}

fn histogram(record: &Slot, index: usize) -> SparseHistogram {
    SparseHistogram::new(record.counts(index))
}

/// Adds a connection's three histograms.
pub(super) fn add_times(times: &mut Times, record: &Slot) {
    for (index, sum) in [&mut times.lateness, &mut times.transit, &mut times.latency]
        .into_iter()
        .enumerate()
    {
        record
            .counts(index)
            .for_each(|(bucket, count)| sum.add_count(bucket, count));
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::run_id::RunId;

    use super::*;
    use crate::{
        ledger::{Dimensions, Ledger},
        model::ClientEnd,
    };

    fn run(workers: usize) -> OpenRun {
        let admission = Admission {
            run: RunId::from_bits(7),
            clients: 3,
            agents: Vec::new(),
        };
        let worker = WorkerTotals {
            cpu_ns: 100,
            reads: 10,
            restarts: 3,
            ..WorkerTotals::default()
        };
        OpenRun::new(&admission, 1, vec![worker; workers])
    }

    #[test]
    fn packets_belong_to_the_worker_that_counted_them_or_were_recovered() {
        let mut run = run(2);
        for (worker, packets) in [(Some(0), 1), (Some(1), 20), (None, 300), (Some(9), 4000)] {
            run.credit(worker, packets);
        }
        let now = WorkerTotals {
            cpu_ns: 150,
            reads: 9,
            packets: 77,
            restarts: 5,
            ..WorkerTotals::default()
        };
        let record = run.into_record(&[now; 2], false);
        let workers: Vec<_> = record
            .workers
            .iter()
            .map(|worker| (worker.packets, worker.cpu_ns, worker.reads, worker.restarts))
            .collect();
        let (cpu_ns, reads) = (Some(50), Some(0));
        assert_eq!(workers, [(1, cpu_ns, reads, 2), (20, cpu_ns, reads, 2)]);
        assert_eq!(record.recovered_packets, 4300, "a worker that is none, too");
    }

    #[test]
    fn what_a_worker_has_for_several_loads_is_of_none_of_them() {
        let mut run = run(1);
        run.is_shared = true;
        let now = WorkerTotals {
            cpu_ns: 150,
            restarts: 4,
            ..WorkerTotals::default()
        };
        let worker = run.into_record(&[now], false).workers[0];
        assert_eq!([worker.cpu_ns, worker.reads, worker.wakeups], [None; 3]);
        assert_eq!([worker.pauses, worker.paused_ns], [None; 2]);
        assert_eq!(
            (worker.packets, worker.restarts),
            (0, 1),
            "these are the run's own"
        );
    }

    #[test]
    fn the_last_attempt_of_a_client_is_the_one_that_counts() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let mut run = run(1);
        for (client, attempt, packets) in [(1, 2, 50), (1, 1, 0), (0, 1, 9)] {
            let connection_counters = ConnectionCounters {
                client,
                attempt,
                counts: ReceiverCounts {
                    received: packets,
                    ..ReceiverCounts::default()
                },
                end: ClientEnd::Clean,
                ..ConnectionCounters::default()
            };
            run.record_closed(&connection_counters, &ledger.slots()[0], 0, None);
        }
        assert_eq!(run.read(false, std::iter::empty()).ended, 2);
        let clients = run.into_record(&[], false).clients;
        let counted: Vec<_> = clients
            .iter()
            .map(|client| (client.client, client.counts.received))
            .collect();
        assert_eq!(counted, [(0, 9), (1, 50)]);
    }

    #[test]
    fn incidents_beyond_the_first_hundred_are_not_kept() {
        let mut run = run(1);
        for at_ns in 0..150 {
            run.note_incident(Incident {
                at_ns,
                what: "worker died".into(),
                text: "it did".into(),
            });
        }
        assert_eq!(run.into_record(&[], false).incidents.len(), INCIDENTS_MAX);
    }
}
