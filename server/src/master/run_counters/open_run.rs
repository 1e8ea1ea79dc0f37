//! What was counted of one run, from its admission until its final record.

use std::collections::{BTreeMap, BTreeSet};

use metronome_proto::{counters::CounterList as _, v1::ReceiverCounts};

use super::{
    second_record::{has_packets, together},
    sparse_histogram::SparseHistogram,
};
use crate::{
    ledger::{ConnectionCounters, SLOWEST_KEPT, Slot, Stage, with_pace_counts},
    master::admission::Admission,
    model::{
        ClientCounters, ClientReadings, ClockRelation, FinalCounters, GroupCounters, INCIDENTS_MAX,
        Incident, KernelFigures, LiveCounters, OpenRun, PerTime, SlowestPacket, TimeKind, Times,
        Work, WorkerCounters, WorkerTotals,
    },
};

impl OpenRun {
    /// Nothing is counted yet; `baseline` are the workers as they are.
    pub(super) fn new(admission: &Admission, row: usize, baseline: Vec<WorkerTotals>) -> Self {
        let shares = || admission.agents.iter().flat_map(|(agent, _)| &agent.shares);
        // Where one of the clients has no schedule, or is on our clock, what only those with one
        // have, or on another, is not known of all of them.
        let agents = || admission.agents.iter().map(|(agent, _)| agent.clock);
        let have_lines = agents().next().is_some() && agents().all(ClockRelation::has_lines);
        let none = ReceiverCounts {
            below_floor: have_lines.then_some(0),
            ..ReceiverCounts::zero()
        };
        let all_zero = |is_one: &dyn Fn(u16) -> bool| {
            let mut shares = shares().filter(|share| is_one(admission.group_of(share)));
            let have_schedules = shares.all(|share| !share.profile.is_flood());
            with_pace_counts(none, have_schedules)
        };
        let groups = (0..)
            .zip(&admission.groups)
            .map(|(index, _)| GroupCounters {
                counts: all_zero(&|group| group == index),
                times: Times::default(),
            });
        Self {
            clients_max: admission.clients,
            row,
            work: vec![Work::default(); baseline.len()],
            baseline,
            is_shared: false,
            clients: BTreeMap::new(),
            second_records: 0,
            times: Times::default(),
            counts: all_zero(&|_| true),
            groups: groups.collect(),
            recovered_packets: 0,
            incidents: Vec::new(),
            slowest: Vec::new(),
            client_time: client_time(admission),
            client_readings: ClientReadings::of_new_run(),
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
        kernel: KernelFigures,
    ) {
        let client = u32::from(connection_counters.client);
        self.counts = self.counts.plus(&connection_counters.counts);
        add_times(&mut self.times, record);
        // A ledger that is damaged may name another group: then it is in the run's sums alone, and
        // those of the groups are less.
        let group = usize::from(connection_counters.group);
        if let Some(group) = self.groups.get_mut(group) {
            group.counts = group.counts.plus(&connection_counters.counts);
            add_times(&mut group.times, record);
        }
        self.slowest
            .extend(record.slowest().map(|packet| SlowestPacket {
                client,
                worker,
                packet,
            }));
        self.slowest
            .sort_by_key(|slow| std::cmp::Reverse(slow.packet.total_ns));
        self.slowest.truncate(SLOWEST_KEPT);
        if let Some(kind) = self.client_time_of(connection_counters) {
            let of = (client, connection_counters.attempt);
            self.client_readings.end(of, record.counts(kind as usize));
        }
        let counted = client_count(connection_counters, record, worker, kernel);
        self.record_client((connection_counters.attempt, counted));
    }

    /// Only the last attempt of a client has packets: an agent that tries again had no ack. One
    /// that has sent on an earlier attempt has two records. What is in the sums stays in that of
    /// the client, so that they agree, and the verdict learns of it.
    fn record_client(&mut self, counted: (u8, ClientCounters)) {
        let client = counted.1.client;
        let last = match self.clients.remove(&client) {
            None => counted,
            Some(known) => {
                let (older, newer) = if known.0 > counted.0 {
                    (counted, known)
                } else {
                    (known, counted)
                };
                if has_packets(&older.1) {
                    self.second_records = self.second_records.saturating_add(1);
                    (newer.0, together(&older.1, &newer.1))
                } else {
                    newer
                }
            }
        };
        self.clients.insert(client, last);
    }

    /// How the run stands, together with those of its clients that have not ended.
    pub(super) fn read<'a>(
        &mut self,
        histograms: bool,
        live: impl Iterator<Item = (ConnectionCounters, &'a Slot)>,
    ) -> LiveCounters {
        let mut live_counters = LiveCounters {
            presences: Vec::new(),
            connected: 0,
            ended: self.clients.len() as u32,
            unreleased: 0,
            counts: self.counts,
            times: histograms.then(|| self.times.clone()),
            counts_of_groups: self.groups.iter().map(|group| group.counts).collect(),
            times_of_groups: Vec::new(),
            client_times: None,
            sockets: None,
            broken: Vec::new(),
            priorities: Vec::new(),
        };
        let groups = if histograms { self.groups.len() } else { 0 };
        let mut times_of_groups = vec![Times::default(); groups];
        let mut again = BTreeSet::new();
        let mut of_clients = Vec::new();
        for (connection_counters, record) in live {
            again.insert(u32::from(connection_counters.client));
            live_counters.unreleased += 1;
            match connection_counters.stage {
                Stage::Packets | Stage::Ended => live_counters.connected += 1,
                _ => live_counters.ended += 1,
            }
            live_counters.counts = live_counters.counts.plus(&connection_counters.counts);
            let group = usize::from(connection_counters.group);
            if let Some(group) = live_counters.counts_of_groups.get_mut(group) {
                *group = group.plus(&connection_counters.counts);
            }
            // An idle client has no times, and looking at its histograms would cost memory.
            if connection_counters.counts.received == 0 {
                continue;
            }
            // What names no group of the run is in its sums alone.
            let of_group = times_of_groups.get_mut(group);
            if let Some(times) = of_group.or(live_counters.times.as_mut()) {
                add_times(times, record);
                of_clients.extend(self.read_client(&connection_counters, record));
            }
        }
        if histograms {
            let (readings, time) = (&mut self.client_readings, self.client_time);
            live_counters.client_times = readings.all_were_read(time, self.clients_max, of_clients);
        }
        if let Some(times) = &mut live_counters.times {
            for (live, group) in times_of_groups.iter_mut().zip(&self.groups) {
                times.merge(live);
                live.merge(&group.times);
            }
        }
        live_counters.times_of_groups = times_of_groups;
        live_counters.broken = self.broken(&again);
        live_counters
    }

    /// What the packets of a client needed since it was read before.
    fn read_client(
        &mut self,
        connection_counters: &ConnectionCounters,
        record: &Slot,
    ) -> Option<(u32, i64)> {
        let kind = self.client_time_of(connection_counters)?;
        let client = u32::from(connection_counters.client);
        let of = (client, connection_counters.attempt);
        let buckets = record.counts(kind as usize);
        Some((client, self.client_readings.read(of, buckets)?))
    }

    /// What is read of the client. `None` of one that the run does not have: the ledger is damaged.
    fn client_time_of(&self, connection_counters: &ConnectionCounters) -> Option<TimeKind> {
        let is_known = u32::from(connection_counters.client) < self.clients_max;
        self.client_time.filter(|_| is_known)
    }

    /// The clients whose connection has ended otherwise than it should, and that have no other one:
    /// not those that are connected `again`.
    fn broken(&self, again: &BTreeSet<u32>) -> Vec<u32> {
        let clients = self.clients.iter();
        let broken = clients
            .filter(|(client, (_, counted))| counted.end.is_broken() && !again.contains(client));
        broken.map(|(client, _)| *client).collect()
    }

    /// The final record; `now` are the workers as they are, whose pauses are asked for or not.
    pub(crate) fn into_record(
        mut self,
        now: &[WorkerTotals],
        pauses_are_asked_for: bool,
    ) -> FinalCounters {
        let readings = &mut self.client_readings;
        let client_times = readings.all_were_read(self.client_time, self.clients_max, Vec::new());
        let since_baseline = |(index, now): (usize, &WorkerTotals)| {
            let before = self.baseline.get(index).copied().unwrap_or_default();
            let work = self.work.get(index).copied().unwrap_or_default();
            // What a worker counts for all that it reads is the run's where it read nothing else.
            let own = |figure: fn(&WorkerTotals) -> u64| {
                (!self.is_shared).then(|| figure(now).saturating_sub(figure(&before)))
            };
            WorkerCounters {
                worker: now.worker,
                pid: now.pid,
                packets: work.packets,
                cpu_ns: own(|of| of.cpu_ns),
                reads: Some(work.reads),
                wakeups: own(|of| of.wakeups),
                pauses: own(|of| of.pauses),
                paused_ns: own(|of| of.paused_ns),
                restarts: now.restarts.saturating_sub(before.restarts),
            }
        };
        let workers = now.iter().enumerate().map(since_baseline).collect();
        FinalCounters {
            client_times,
            clients: self.clients.into_values().map(|(_, count)| count).collect(),
            second_records: self.second_records,
            workers,
            pauses_are_asked_for,
            times: self.times,
            times_of_groups: self.groups.into_iter().map(|group| group.times).collect(),
            recovered_packets: self.recovered_packets,
            incidents: self.incidents,
            slowest: self.slowest,
            // The pool has them.
            presences: Vec::new(),
        }
    }
}

/// The first of the times that count from due, or by which clocks are compared, that all clients of
/// the run have. `None` where there is none.
fn client_time(admission: &Admission) -> Option<TimeKind> {
    let agents = || admission.agents.iter().map(|(agent, _)| agent);
    let shares = || agents().flat_map(|agent| &agent.shares);
    let has = [
        (TimeKind::Latency, agents().all(|of| of.clock.is_same())),
        (TimeKind::Spread, shares().all(|of| !of.profile.is_flood())),
        (TimeKind::OneWay, agents().all(|of| of.clock.has_lines())),
    ];
    let (kind, _) = has.into_iter().find(|(_, is_known)| *is_known)?;
    Some(kind)
}

fn client_count(
    connection_counters: &ConnectionCounters,
    record: &Slot,
    worker: u32,
    kernel: KernelFigures,
) -> ClientCounters {
    let [lateness, transit, latency, spread, one_way, queueing] =
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
        start: connection_counters.start,
        next_sequence: connection_counters.next_sequence,
        bytes: connection_counters.bytes,
        bytes_taken: kernel.bytes_taken,
        least_ns: connection_counters.least_ns(),
        timed: connection_counters.timed,
        histogram_counts: PerTime([&lateness, &transit, &latency, &spread, &one_way, &queueing])
            .map(SparseHistogram::count),
        lateness_p99_ns: lateness.quantile_ns(0.99),
        lateness_p99_9_ns: lateness.quantile_ns(0.999),
        transit_p99_ns: transit.quantile_ns(0.99),
        latency_p99_ns: latency.quantile_ns(0.99),
        latency_max_ns: latency.quantile_ns(1.0),
        spread_p99_ns: spread.quantile_ns(0.99),
        one_way_p99_ns: one_way.quantile_ns(0.99),
        queueing_p99_ns: queueing.quantile_ns(0.99),
        partial_frame_bytes: u32::from(connection_counters.partial_frame_bytes),
        tcp: kernel.tcp,
        end: connection_counters.end,
    }
}

fn histogram(record: &Slot, index: usize) -> SparseHistogram {
    SparseHistogram::new(record.counts(index))
}

/// Adds a connection's histograms.
pub(super) fn add_times(times: &mut Times, record: &Slot) {
    let Times {
        lateness,
        transit,
        latency,
        spread,
        one_way,
        queueing,
    } = times;
    let sums = [lateness, transit, latency, spread, one_way, queueing];
    for (index, sum) in sums.into_iter().enumerate() {
        record
            .counts(index)
            .for_each(|(bucket, count)| sum.add_count(bucket, count));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metronome_proto::{
        handshake::Key, histogram::bucket, profile::Profile, run_id::RunId, share::Share,
    };

    use super::*;
    use crate::{
        ledger::{Dimensions, Ledger, ReleaseStore},
        model::{AgentShare, ClientEnd},
    };

    fn run(workers: usize) -> OpenRun {
        let admission = Admission {
            run: RunId::from_bits(7),
            clients: 3,
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            seed: 1,
            groups: vec!["default".into()],
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
    fn packets_and_reads_belong_to_the_worker_that_did_them_or_were_recovered() {
        let mut run = run(2);
        for (worker, packets) in [(Some(0), 1), (Some(1), 20), (None, 300), (Some(9), 4000)] {
            let reads = packets / 10;
            run.credit(worker, Work { packets, reads });
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
        let cpu_ns = Some(50);
        assert_eq!(workers, [(1, cpu_ns, Some(0), 2), (20, cpu_ns, Some(2), 2)]);
        assert_eq!(record.recovered_packets, 4300, "a worker that is none, too");
    }

    #[test]
    fn the_places_of_a_flood_are_unknown_before_a_client_has_come() {
        for (profile, off_schedule) in [(Profile::constant(1_000), Some(0)), (Profile::Flood, None)]
        {
            let mut share = AgentShare::of(0..1, ClockRelation::Same);
            share.shares[0].profile = profile;
            let admission = Admission {
                run: RunId::from_bits(7),
                clients: 1,
                duration: Duration::from_secs(1),
                warm_up: Duration::ZERO,
                seed: 1,
                groups: vec!["default".into()],
                agents: vec![(share, Key::from_bytes([0; 32]))],
            };
            let mut run = OpenRun::new(&admission, 1, Vec::new());
            let counts = run.read(false, std::iter::empty()).counts;
            assert_eq!(counts.off_schedule, off_schedule);
            assert_eq!(counts.read_before_written, Some(0));
        }
    }

    #[test]
    fn each_group_has_its_sums_and_a_run_that_mixes_floods_has_those_that_all_have() {
        let ledger = Ledger::create(Dimensions { slots: 3 }).unwrap();
        let shares = [("a", Profile::constant(1_000)), ("b", Profile::Flood)];
        let shares = (0..).zip(shares).map(|(client, (group, profile))| {
            let share = AgentShare::of(client..client + 1, ClockRelation::Same).shares;
            Share {
                group: group.into(),
                profile,
                ..share[0].clone()
            }
        });
        let agent = AgentShare {
            shares: shares.collect(),
            ..AgentShare::of(0..2, ClockRelation::Same)
        };
        let admission = Admission {
            run: RunId::from_bits(7),
            clients: 2,
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            seed: 1,
            groups: vec!["a".into(), "b".into()],
            agents: vec![(agent, Key::from_bytes([0; 32]))],
        };
        let mut run = OpenRun::new(&admission, 1, Vec::new());
        // The last one names a group that the run does not have.
        for (client, slot) in (0..).zip(ledger.slots()) {
            let packets = u64::from(client) + 1;
            slot.record(0, 5, packets, &ReleaseStore);
            let counts = ReceiverCounts {
                received: packets,
                warm_up: Some(1),
                ..ReceiverCounts::zero()
            };
            let connection_counters = ConnectionCounters {
                client,
                group: client,
                attempt: 1,
                counts: with_pace_counts(counts, client == 0),
                stage: Stage::Packets,
                ..ConnectionCounters::default()
            };
            if client != 1 {
                run.record_closed(&connection_counters, slot, 0, KernelFigures::default());
                continue;
            }
            let live = run.read(false, std::iter::once((connection_counters, slot)));
            let [paced, flood] = live.counts_of_groups[..] else {
                panic!("a sum of each group");
            };
            assert_eq!((paced.received, paced.off_schedule), (1, Some(0)));
            assert_eq!((flood.received, flood.off_schedule), (2, None));
            let sum = live.counts;
            assert_eq!(
                (sum.received, sum.off_schedule, sum.warm_up),
                (3, None, Some(2))
            );
            run.record_closed(&connection_counters, slot, 0, KernelFigures::default());
        }
        let record = run.into_record(&[], false);
        let groups = record.times_of_groups.iter();
        let groups: Vec<_> = groups.map(|times| times.lateness.count()).collect();
        assert_eq!((groups, record.times.lateness.count()), (vec![1, 2], 6));
    }

    #[test]
    fn times_by_lines_are_summed_and_packets_below_the_floor_where_every_agent_has_lines() {
        use ClockRelation::{Offset, Same};
        let ledger = Ledger::create(Dimensions { slots: 2 }).unwrap();
        for (index, slot) in ledger.slots().iter().enumerate() {
            slot.record(TimeKind::OneWay as usize, bucket(9_000), 5, &ReleaseStore);
            let queueing_ns = 1_000 * (index as u64 + 1);
            slot.record(
                TimeKind::Queueing as usize,
                bucket(queueing_ns),
                4,
                &ReleaseStore,
            );
        }
        for (clocks, below_floor) in [([Offset, Offset], Some(2)), ([Offset, Same], None)] {
            let agents = (0..).zip(clocks).map(|(agent, clock)| {
                let share = AgentShare::of(agent..agent + 1, clock);
                (share, Key::from_bytes([0; 32]))
            });
            let admission = Admission {
                run: RunId::from_bits(7),
                clients: 2,
                duration: Duration::from_secs(1),
                warm_up: Duration::ZERO,
                seed: 1,
                groups: vec!["default".into()],
                agents: agents.collect(),
            };
            let mut run = OpenRun::new(&admission, 1, Vec::new());
            let before = run.read(false, std::iter::empty()).counts;
            assert_eq!(before.below_floor, below_floor.map(|_| 0));
            for ((client, slot), clock) in (0..).zip(ledger.slots()).zip(clocks) {
                let counts = ReceiverCounts {
                    received: 5,
                    below_floor: clock.has_lines().then_some(1),
                    ..ReceiverCounts::zero()
                };
                let connection_counters = ConnectionCounters {
                    client,
                    attempt: 1,
                    clock,
                    counts,
                    ..ConnectionCounters::default()
                };
                run.record_closed(&connection_counters, slot, 0, KernelFigures::default());
            }
            let sum = run.read(false, std::iter::empty()).counts;
            assert_eq!((sum.received, sum.below_floor), (10, below_floor));
            let record = run.into_record(&[], false);
            let [group] = &record.times_of_groups[..] else {
                panic!("one group")
            };
            for times in [&record.times, group] {
                assert_eq!((times.one_way.count(), times.queueing.count()), (10, 8));
                assert_eq!(times.spread.count(), 0);
            }
            for (client, queueing_ns) in record.clients.iter().zip([1_000, 2_000]) {
                let [.., one_way, queueing] = client.histogram_counts.0;
                assert_eq!((one_way, queueing), (5, 4));
                let p99 = [client.one_way_p99_ns, client.queueing_p99_ns].map(bucket);
                assert_eq!(p99, [9_000, queueing_ns].map(bucket));
            }
        }
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
        assert_eq!([worker.cpu_ns, worker.wakeups], [None; 2]);
        assert_eq!(worker.reads, Some(0), "each read is of one run");
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
            run.record_closed(
                &connection_counters,
                &ledger.slots()[0],
                0,
                KernelFigures::default(),
            );
        }
        assert_eq!(run.read(false, std::iter::empty()).ended, 2);
        let record = run.into_record(&[], false);
        assert_eq!(record.second_records, 0);
        let clients = record.clients;
        let counted: Vec<_> = clients
            .iter()
            .map(|client| (client.client, client.counts.received))
            .collect();
        assert_eq!(counted, [(0, 9), (1, 50)]);
    }

    #[test]
    fn packets_under_two_attempts_are_in_the_sums_and_in_the_client_and_are_noted() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        for attempts in [[1, 2], [2, 1]] {
            let mut run = run(1);
            for attempt in attempts {
                let connection_counters = ConnectionCounters {
                    attempt,
                    counts: ReceiverCounts {
                        received: 50 * u64::from(attempt),
                        ..ReceiverCounts::default()
                    },
                    timed: PerTime([7; 6]),
                    ..ConnectionCounters::default()
                };
                run.record_closed(
                    &connection_counters,
                    &ledger.slots()[0],
                    0,
                    KernelFigures::default(),
                );
            }
            let sum = run.counts.received;
            let record = run.into_record(&[], false);
            assert_eq!((record.clients.len(), record.second_records), (1, 1));
            let client = &record.clients[0];
            assert_eq!((client.counts.received, sum), (150, 150));
            assert_eq!(client.timed.0, [14; 6]);
        }
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
