//! What was counted of one run, from its admission until its final record.

use std::collections::BTreeMap;

use metronome_proto::{counters::CounterList as _, histogram::Histogram, v1::ReceiverCounts};

use crate::{
    ledger::{ConnectionCounters, SLOWEST_KEPT, Slot, Stage},
    master::admission::Admission,
    model::{
        ClientCounters, FinalCounters, Incident, LiveCounters, OpenRun, SlowestPacket, Times, Work,
        WorkerCounters,
    },
};

/// Most incidents that are kept of a run; later ones are only logged.
const INCIDENTS_MAX: usize = 100;

impl OpenRun {
    /// Nothing is counted yet; `baseline` are the workers as they are.
    pub(super) fn new(admission: &Admission, row: usize, baseline: Vec<WorkerCounters>) -> Self {
        Self {
            clients_max: admission.clients,
            row,
            work: vec![Work::default(); baseline.len()],
            baseline,
            clients: BTreeMap::new(),
            times: Times::default(),
            counts: ReceiverCounts::zero(),
            recovered_packets: 0,
            incidents: Vec::new(),
            slowest: Vec::new(),
        }
    }

    /// Attributes what was done to a worker, or to the recovery without one. A read whose batch the
    /// recovery has completed was a worker's that is gone, and is no worker's.
    pub(super) fn credit(&mut self, worker: Option<usize>, work: Work) {
        match worker.and_then(|worker| self.work.get_mut(worker)) {
            Some(sum) => *sum = sum.plus(work),
            None => self.recovered_packets = self.recovered_packets.saturating_add(work.packets),
        }
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
            counts: self.counts,
            times: histograms.then(|| self.times.clone()),
        };
        for (connection_counters, record) in live {
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

    /// The final record; `now` are the workers as they are.
    pub(crate) fn into_record(self, now: &[WorkerCounters]) -> FinalCounters {
        let since_baseline = |(index, now): (usize, &WorkerCounters)| {
            let before = self.baseline.get(index).copied().unwrap_or_default();
            let work = self.work.get(index).copied().unwrap_or_default();
            WorkerCounters {
                packets: work.packets,
                cpu_ns: now.cpu_ns.saturating_sub(before.cpu_ns),
                reads: work.reads,
                wakeups: now.wakeups.saturating_sub(before.wakeups),
                pauses: now.pauses.saturating_sub(before.pauses),
                paused_ns: now.paused_ns.saturating_sub(before.paused_ns),
                ..*now
            }
        };
        FinalCounters {
            clients: self.clients.into_values().map(|(_, count)| count).collect(),
            workers: now.iter().enumerate().map(since_baseline).collect(),
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
    let [lateness, transit, latency, spread] =
        std::array::from_fn(|index| histogram(record, index));
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
        least_ns: connection_counters.least_ns(),
        timed: connection_counters.timed,
        histogram_counts: [&lateness, &transit, &latency, &spread].map(Histogram::count),
        lateness_p99_ns: lateness.quantile_ns(0.99),
        lateness_p99_9_ns: lateness.quantile_ns(0.999),
        transit_p99_ns: transit.quantile_ns(0.99),
        latency_p99_ns: latency.quantile_ns(0.99),
        latency_max_ns: latency.quantile_ns(1.0),
        spread_p99_ns: spread.quantile_ns(0.99),
        partial_frame_bytes: u32::from(connection_counters.partial_frame_bytes),
        end: connection_counters.end,
    }
}

fn histogram(record: &Slot, index: usize) -> Histogram {
    let mut histogram = Histogram::default();
    record
        .counts(index)
        .for_each(|(bucket, count)| histogram.add_count(bucket, count));
    histogram
}

/// Adds a connection's histograms.
pub(super) fn add_times(times: &mut Times, record: &Slot) {
    let Times {
        lateness,
        transit,
        latency,
        spread,
    } = times;
    for (index, sum) in [lateness, transit, latency, spread].into_iter().enumerate() {
        record
            .counts(index)
            .for_each(|(bucket, count)| sum.add_count(bucket, count));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            duration: Duration::from_secs(1),
            agents: Vec::new(),
        };
        let worker = WorkerCounters {
            cpu_ns: 100,
            reads: 10,
            ..WorkerCounters::default()
        };
        OpenRun::new(&admission, 1, vec![worker; workers])
    }

    #[test]
    fn packets_and_reads_belong_to_the_worker_that_did_them_or_were_recovered() {
        let mut run = run(2);
        for (worker, packets) in [(Some(0), 1), (Some(1), 20), (None, 300), (Some(9), 4000)] {
            let reads = packets / 10;
            run.credit(worker, Work { packets, reads });
        }
        let now = WorkerCounters {
            cpu_ns: 150,
            reads: 9,
            packets: 77,
            ..WorkerCounters::default()
        };
        let record = run.into_record(&[now; 2]);
        let workers: Vec<_> = record
            .workers
            .iter()
            .map(|worker| (worker.packets, worker.cpu_ns, worker.reads))
            .collect();
        assert_eq!(workers, [(1, 50, 0), (20, 50, 2)]);
        assert_eq!(record.recovered_packets, 4300, "a worker that is none, too");
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
        let clients = run.into_record(&[]).clients;
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
        assert_eq!(run.into_record(&[]).incidents.len(), INCIDENTS_MAX);
    }
}
