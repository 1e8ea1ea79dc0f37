//! What was counted of all runs, of clients outside of them, and of connections that were refused.

use std::{collections::BTreeMap, net::SocketAddr};

use metronome_proto::{
    counters::CounterList as _, handshake::Refusal, run_id::RunId, v1::ReceiverCounts,
};

use super::open_run::add_times;
use crate::{
    ledger::{ConnectionCounters, Slot, Stage},
    master::admission::Admission,
    model::{
        ClientEnd, Incident, KernelFigures, LiveCounters, OpenRun, RawClientCounters, RunCounters,
        ServerStatus, Times, TotalCounters, Work, WorkerTotals,
    },
};

/// Raw clients that have ended and are still shown.
const RAW_ENDED_MAX: usize = 100;

/// A connection that has ended, as it is recorded.
pub(crate) struct ClosedConnection<'a> {
    pub(crate) connection_counters: &'a ConnectionCounters,
    pub(crate) record: &'a Slot,
    pub(crate) peer: SocketAddr,
    /// The worker that read it last.
    pub(crate) worker: Option<usize>,
    /// Asked before its socket was closed.
    pub(crate) kernel: KernelFigures,
}

impl RunCounters {
    /// Starts the counters of a run.
    pub(crate) fn open(&mut self, admission: &Admission, row: usize, baseline: Vec<WorkerTotals>) {
        let counted = OpenRun::new(admission, row, baseline);
        self.runs.insert(admission.run, counted);
    }

    /// Clients that the running runs have places for.
    pub(crate) fn reserved_clients(&self) -> u32 {
        self.runs
            .values()
            .fold(0, |sum, counted| sum.saturating_add(counted.clients_max))
    }

    /// Attributes what was done for a connection to a worker, or to the recovery without one.
    pub(crate) fn credit(
        &mut self,
        connection_counters: &ConnectionCounters,
        worker: Option<usize>,
        work: Work,
    ) {
        if let Some(counted) = self.run_of(connection_counters) {
            counted.credit(worker, work);
        }
    }

    /// Counts a connection that was accepted.
    pub(crate) fn count_accepted(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }

    /// Counts a connection that was accepted and found no place.
    pub(crate) fn count_refused_full(&mut self) {
        self.refused_full = self.refused_full.saturating_add(1);
    }

    /// Notes something that went wrong in the time of every run.
    pub(crate) fn note_incident(&mut self, at_ns: u64, what: &'static str, text: &str) {
        for counted in self.runs.values_mut() {
            counted.note_incident(Incident {
                at_ns,
                what: what.into(),
                text: text.to_owned(),
            });
        }
    }

    /// Counts a connection that has ended, once.
    pub(crate) fn record_closed(&mut self, closed: &ClosedConnection<'_>) {
        let ClosedConnection {
            connection_counters,
            record,
            peer,
            worker,
            kernel,
        } = *closed;
        let worker = worker.map_or(u32::MAX, |worker| worker as u32);
        // It is no client, however it has ended.
        if connection_counters.is_probes {
            return;
        }
        if connection_counters.is_client() {
            self.totals.add(connection_counters, record);
        }
        self.share_with(connection_counters);
        if let ClientEnd::Refused(code) = connection_counters.end {
            self.record_refusal(code);
        } else if let Some(counted) = self.run_of(connection_counters) {
            counted.record_closed(connection_counters, record, worker, kernel);
        } else if is_shown_as_raw(connection_counters) {
            self.raw.connections = self.raw.connections.saturating_add(1);
            self.raw.packets = self
                .raw
                .packets
                .saturating_add(connection_counters.counts.received);
            self.raw.bytes = self.raw.bytes.saturating_add(connection_counters.bytes);
            self.raw_ended
                .push_front(raw_client(connection_counters, peer, worker, false));
            self.raw_ended.truncate(RAW_ENDED_MAX);
        } else {
            // It ended before it had sent anything that decides what it is.
            self.refused_hello = self.refused_hello.saturating_add(1);
        }
    }

    /// Notes in every run that a worker has read this connection besides the run's own. Every
    /// connection in the time of a run comes here: at its end or, at the end of the run, as one
    /// that is still open.
    pub(crate) fn share_with(&mut self, connection_counters: &ConnectionCounters) {
        if !connection_counters.is_client() && !connection_counters.is_raw {
            return;
        }
        let own = connection_counters
            .is_client()
            .then_some(connection_counters.run);
        for (run, counted) in &mut self.runs {
            counted.is_shared |= Some(run.bits()) != own;
        }
    }

    fn record_refusal(&mut self, code: u8) {
        let counter = match Refusal::from_number(code) {
            Some(Refusal::Full) => &mut self.refused_full,
            Some(Refusal::Late) => &mut self.refused_late,
            Some(Refusal::Raw) => &mut self.refused_raw,
            _ => &mut self.refused_hello,
        };
        *counter = counter.saturating_add(1);
    }

    fn run_of(&mut self, connection_counters: &ConnectionCounters) -> Option<&mut OpenRun> {
        connection_counters
            .is_client()
            .then(|| {
                self.runs
                    .get_mut(&RunId::from_bits(connection_counters.run))
            })
            .flatten()
    }

    /// How a run stands: its counters, and the connections that have not ended.
    pub(crate) fn read_run<'a>(
        &mut self,
        run: RunId,
        histograms: bool,
        live: impl Iterator<Item = (ConnectionCounters, &'a Slot)>,
    ) -> Option<LiveCounters> {
        let counted = self.runs.get_mut(&run)?;
        let of_run = live.filter(|(connection_counters, _)| {
            connection_counters.is_client() && connection_counters.run == run.bits()
        });
        Some(counted.read(histograms, of_run))
    }

    /// What all clients have sent, those that have ended and those that have not.
    pub(crate) fn read_totals<'a>(
        &self,
        live: impl Iterator<Item = (ConnectionCounters, &'a Slot)>,
    ) -> TotalCounters {
        let mut totals = self.totals.clone();
        for (connection_counters, record) in live.filter(|(connection_counters, _)| {
            connection_counters.is_client() && connection_counters.counts.received > 0
        }) {
            totals.add(&connection_counters, record);
        }
        totals
    }

    /// The times of the groups of each run, of the clients that have ended and of those that have
    /// not.
    pub(crate) fn read_group_times<'a>(
        &self,
        live: impl Iterator<Item = (ConnectionCounters, &'a Slot)>,
    ) -> Vec<(RunId, Vec<Times>)> {
        let of_run = |run: &OpenRun| run.groups.iter().map(|group| group.times.clone()).collect();
        let runs = self
            .runs
            .iter()
            .map(|(run, counted)| (*run, of_run(counted)));
        let mut runs: BTreeMap<RunId, Vec<Times>> = runs.collect();
        for (connection_counters, record) in live.filter(|(connection_counters, _)| {
            connection_counters.is_client() && connection_counters.counts.received > 0
        }) {
            let group = usize::from(connection_counters.group);
            let groups = runs.get_mut(&RunId::from_bits(connection_counters.run));
            if let Some(times) = groups.and_then(|groups| groups.get_mut(group)) {
                add_times(times, record);
            }
        }
        runs.into_iter().collect()
    }

    /// The server as a whole, but for the workers.
    pub(crate) fn read_server(
        &self,
        live: impl Iterator<Item = (ConnectionCounters, SocketAddr, u32)>,
    ) -> ServerStatus {
        let mut status = ServerStatus {
            accepted: self.accepted,
            refused_full: self.refused_full,
            refused_hello: self.refused_hello,
            refused_late: self.refused_late,
            refused_raw: self.refused_raw,
            raw: self.raw.clone(),
            ..ServerStatus::default()
        };
        for (connection_counters, peer, worker) in live {
            match connection_counters.stage {
                _ if connection_counters.is_probes => {}
                Stage::Opening | Stage::Challenged | Stage::Refused => status.pending += 1,
                Stage::Packets | Stage::Raw | Stage::Ended => status.admitted += 1,
                // Its worker has released it: no place is in use, and the record follows at once.
                Stage::Closed | Stage::Probes => {}
            }
            if is_shown_as_raw(&connection_counters) {
                status.raw.connections = status.raw.connections.saturating_add(1);
                status.raw.packets = status
                    .raw
                    .packets
                    .saturating_add(connection_counters.counts.received);
                status.raw.bytes = status.raw.bytes.saturating_add(connection_counters.bytes);
                status
                    .raw
                    .clients
                    .push(raw_client(&connection_counters, peer, worker, true));
            }
        }
        status.raw.clients.extend(self.raw_ended.iter().cloned());
        status
    }
}

impl TotalCounters {
    fn add(&mut self, connection_counters: &ConnectionCounters, record: &Slot) {
        // A sum over all runs covers the clients of which a counter is known.
        let known = ReceiverCounts::from_words(&connection_counters.counts.to_words());
        self.counts = ReceiverCounts::from_words(&self.counts.to_words()).plus(&known);
        add_times(&mut self.times, record);
    }
}

/// Raw clients, and those of the static run, which has no counters.
fn is_shown_as_raw(connection_counters: &ConnectionCounters) -> bool {
    connection_counters.is_client() && connection_counters.run == 0 || connection_counters.is_raw
}

fn raw_client(
    connection_counters: &ConnectionCounters,
    peer: SocketAddr,
    worker: u32,
    connected: bool,
) -> RawClientCounters {
    RawClientCounters {
        peer,
        packets: connection_counters.counts.received,
        bytes: connection_counters.bytes,
        worker,
        connected,
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::ledger::{Dimensions, Ledger, ReleaseStore};

    fn received(received: u64) -> ReceiverCounts {
        ReceiverCounts {
            received,
            ..ReceiverCounts::default()
        }
    }

    fn record(counters: &mut RunCounters, connection_counters: ConnectionCounters) {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        counters.record_closed(&ClosedConnection {
            connection_counters: &connection_counters,
            record: &ledger.slots()[0],
            peer: ([127, 0, 0, 1], 1).into(),
            worker: None,
            kernel: KernelFigures::default(),
        });
    }

    #[test]
    fn a_connection_that_has_ended_is_counted_under_what_it_was() {
        let refused = |refusal: Refusal| ConnectionCounters {
            end: ClientEnd::Refused(refusal as u8),
            ..ConnectionCounters::default()
        };
        let raw = ConnectionCounters {
            is_raw: true,
            counts: received(5),
            ..ConnectionCounters::default()
        };
        let mut counters = RunCounters::default();
        counters.count_accepted();
        for (connection_counters, times) in [
            (refused(Refusal::Full), 1),
            (refused(Refusal::Late), 2),
            (refused(Refusal::Raw), 3),
            (refused(Refusal::Hello), 4),
            (ConnectionCounters::default(), 1),
            (raw, 6),
        ] {
            (0..times).for_each(|_| record(&mut counters, connection_counters));
        }
        let status = counters.read_server(std::iter::empty());
        let refused = [
            status.refused_full,
            status.refused_late,
            status.refused_raw,
            status.refused_hello,
        ];
        assert_eq!(status.accepted, 1);
        assert_eq!(refused, [1, 2, 3, 5], "one without a hello is a bad hello");
        assert_eq!((status.raw.connections, status.raw.packets), (6, 30));
    }

    #[test]
    fn a_connection_of_probes_is_counted_under_nothing_however_it_ends() {
        let mut counters = RunCounters::default();
        let nothing = format!("{:?}", counters.read_server(std::iter::empty()));
        let probes = ConnectionCounters {
            is_probes: true,
            ..ConnectionCounters::default()
        };
        for (stage, end) in [
            (Stage::Probes, ClientEnd::NotYet),
            (Stage::Refused, ClientEnd::Refused(Refusal::Protocol as u8)),
            (Stage::Closed, ClientEnd::Cut),
            (Stage::Closed, ClientEnd::Unrecoverable),
        ] {
            let probes = ConnectionCounters {
                stage,
                end,
                ..probes
            };
            let live = (probes, ([127, 0, 0, 1], 1).into(), 0);
            let shown = format!("{:?}", counters.read_server(std::iter::once(live)));
            assert_eq!(shown, nothing);
            record(&mut counters, probes);
            let shown = format!("{:?}", counters.read_server(std::iter::empty()));
            assert_eq!(shown, nothing);
        }
    }

    #[test]
    fn the_times_of_a_group_are_those_of_its_clients_that_have_ended_and_of_those_that_have_not() {
        let admission = Admission {
            run: RunId::from_bits(7),
            clients: 2,
            duration: std::time::Duration::from_secs(1),
            warm_up: std::time::Duration::ZERO,
            seed: 1,
            groups: vec!["a".into(), "b".into()],
            agents: Vec::new(),
        };
        let mut counters = RunCounters::default();
        counters.open(&admission, 1, Vec::new());
        let ledger = Ledger::create(Dimensions { slots: 5 }).unwrap();
        // One client of each group, then one of a group that the run does not have, one of another
        // run, and one that is none.
        let clients = [(7, 0, 1), (7, 1, 1), (7, 2, 1), (8, 0, 1), (7, 0, 0)];
        let client = |(run, group, attempt)| ConnectionCounters {
            run,
            group,
            client: group,
            attempt,
            counts: received(1),
            ..ConnectionCounters::default()
        };
        let clients: Vec<_> = clients
            .into_iter()
            .map(client)
            .zip(ledger.slots())
            .collect();
        for (number, (_, slot)) in (1..).zip(&clients) {
            slot.record(0, 5, number, &ReleaseStore);
        }
        let lateness = |times: Vec<(RunId, Vec<Times>)>| -> Vec<Vec<u64>> {
            let of_run = |of: Vec<Times>| of.iter().map(|times| times.lateness.count()).collect();
            times.into_iter().map(|(_, of)| of_run(of)).collect()
        };
        let live = clients.iter().copied();
        assert_eq!(lateness(counters.read_group_times(live)), [[1, 2]]);
        counters.record_closed(&ClosedConnection {
            connection_counters: &clients[1].0,
            record: clients[1].1,
            peer: ([127, 0, 0, 1], 1).into(),
            worker: None,
            kernel: KernelFigures::default(),
        });
        let live = clients.iter().copied().filter(|(of, _)| of.group != 1);
        assert_eq!(lateness(counters.read_group_times(live)), [[1, 2]]);
    }

    #[test]
    fn a_run_shares_its_workers_with_every_client_of_another_load_and_with_none_of_its_own() {
        let client = |run| ConnectionCounters {
            run,
            attempt: 1,
            ..ConnectionCounters::default()
        };
        let raw = ConnectionCounters {
            is_raw: true,
            ..ConnectionCounters::default()
        };
        let never_read = ConnectionCounters {
            end: ClientEnd::Refused(Refusal::Full as u8),
            ..ConnectionCounters::default()
        };
        let shared_by = |connection_counters| {
            let mut counters = RunCounters::default();
            for run in [7, 8] {
                let admission = Admission {
                    run: RunId::from_bits(run),
                    clients: 1,
                    duration: std::time::Duration::from_secs(1),
                    warm_up: std::time::Duration::ZERO,
                    seed: 1,
                    groups: vec!["default".into()],
                    agents: Vec::new(),
                };
                counters.open(&admission, run as usize, Vec::new());
            }
            record(&mut counters, connection_counters);
            counters
                .runs
                .into_values()
                .map(|run| run.is_shared)
                .collect::<Vec<_>>()
        };
        assert_eq!(shared_by(client(7)), [false, true]);
        assert_eq!(shared_by(client(8)), [true, false]);
        assert_eq!(shared_by(client(0)), [true, true], "the static run's");
        assert_eq!(shared_by(raw), [true, true]);
        assert_eq!(shared_by(never_read), [false, false]);
    }

    #[test]
    fn raw_clients_that_have_ended_are_shown_up_to_the_last_hundred() {
        let mut counters = RunCounters::default();
        for packets in 0..150 {
            let connection_counters = ConnectionCounters {
                is_raw: true,
                counts: received(packets),
                ..ConnectionCounters::default()
            };
            record(&mut counters, connection_counters);
        }
        let shown = counters.read_server(std::iter::empty()).raw.clients;
        assert_eq!((shown.len(), shown[0].packets), (RAW_ENDED_MAX, 149));
    }

    #[test]
    fn sums_of_a_damaged_ledger_stand_still_at_the_most() {
        let mut counters = RunCounters::default();
        let connection_counters = ConnectionCounters {
            attempt: 1,
            counts: received(u64::MAX),
            ..ConnectionCounters::default()
        };
        (0..2).for_each(|_| record(&mut counters, connection_counters));
        assert_eq!(
            counters.read_totals(std::iter::empty()).counts.received,
            u64::MAX
        );
    }
}
