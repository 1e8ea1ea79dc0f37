//! What was counted of all runs, of clients outside of them, and of connections that were refused.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use metronome_proto::{run_id::RunId, seal::Refusal};
use serde::{Deserialize, Serialize};

use super::open_run::{OpenRun, add_times};
use crate::{
    ledger::{Account, End, Slot, Stage},
    master::admission::Admission,
    model::{
        Incident, LiveCounters, RawClientCounters, RawCounters, ServerStatus, TotalCounters,
        WorkerCounters,
    },
};

/// Raw clients that have ended and are still shown.
const RAW_ENDED_MAX: usize = 100;

/// All counters. A new server process gets them as they are: the order of the fields is part of
/// what an upgrade hands over.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RunCounters {
    pub(crate) runs: BTreeMap<RunId, OpenRun>,
    pub(crate) accepted: u64,
    refused_full: u64,
    refused_hello: u64,
    refused_late: u64,
    refused_raw: u64,
    raw: RawCounters,
    raw_ended: VecDeque<RawClientCounters>,
    /// Sums over the clients that have ended, of all runs.
    totals: TotalCounters,
}

/// A connection that has ended, as it is recorded.
pub(crate) struct ClosedConnection<'a> {
    pub(crate) account: &'a Account,
    pub(crate) record: &'a Slot,
    pub(crate) peer: SocketAddr,
    /// The worker that read it last.
    pub(crate) worker: Option<usize>,
    /// Bytes ever taken off its socket, by the kernel's count.
    pub(crate) bytes_taken: Option<u64>,
}

impl RunCounters {
    /// Starts the counters of a run.
    pub(crate) fn open(
        &mut self,
        admission: &Admission,
        row: usize,
        baseline: Vec<WorkerCounters>,
    ) {
        let counted = OpenRun::new(admission, row, baseline);
        self.runs.insert(admission.run, counted);
    }

    /// Clients that the running runs have places for.
    pub(crate) fn reserved_clients(&self) -> u32 {
        self.runs
            .values()
            .fold(0, |sum, counted| sum.saturating_add(counted.clients_max))
    }

    /// Rows of the ledger that the admitted runs have.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.runs.values().map(|counted| counted.row)
    }

    /// Attributes packets to the worker that counted them, or to the recovery when there is none.
    pub(crate) fn credit(&mut self, account: &Account, worker: Option<usize>, packets: u64) {
        if let Some(counted) = self.run_of(account) {
            counted.credit(worker, packets);
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
            account,
            record,
            peer,
            worker,
            bytes_taken,
        } = *closed;
        let worker = worker.map_or(u32::MAX, |worker| worker as u32);
        if account.is_client() {
            self.totals.add(account, record);
        }
        if account.end == End::Refused {
            self.record_refusal(account.refusal);
        } else if let Some(counted) = self.run_of(account) {
            counted.record_closed(account, record, worker, bytes_taken);
        } else if is_shown_as_raw(account) {
            self.raw.connections = self.raw.connections.saturating_add(1);
            self.raw.packets = self.raw.packets.saturating_add(account.packets);
            self.raw.bytes = self.raw.bytes.saturating_add(account.bytes);
            self.raw_ended
                .push_front(raw_client(account, peer, worker, false));
            self.raw_ended.truncate(RAW_ENDED_MAX);
        } else {
            // It ended before it had sent anything that decides what it is.
            self.refused_hello = self.refused_hello.saturating_add(1);
        }
    }

    fn record_refusal(&mut self, code: u8) {
        let counter = match code {
            code if code == Refusal::Full as u8 => &mut self.refused_full,
            code if code == Refusal::Late as u8 => &mut self.refused_late,
            code if code == Refusal::Raw as u8 => &mut self.refused_raw,
            _ => &mut self.refused_hello,
        };
        *counter = counter.saturating_add(1);
    }

    fn run_of(&mut self, account: &Account) -> Option<&mut OpenRun> {
        account
            .is_client()
            .then(|| self.runs.get_mut(&RunId::from_bits(account.run)))
            .flatten()
    }

    /// How a run stands: its counters, and the connections that have not ended.
    pub(crate) fn read_run<'a>(
        &self,
        run: RunId,
        histograms: bool,
        live: impl Iterator<Item = (Account, &'a Slot)>,
    ) -> Option<LiveCounters> {
        let counted = self.runs.get(&run)?;
        let of_run = live.filter(|(account, _)| account.is_client() && account.run == run.bits());
        Some(counted.read(histograms, of_run))
    }

    /// What all clients have sent, those that have ended and those that have not.
    pub(crate) fn read_totals<'a>(
        &self,
        live: impl Iterator<Item = (Account, &'a Slot)>,
    ) -> TotalCounters {
        let mut totals = self.totals.clone();
        for (account, record) in
            live.filter(|(account, _)| account.is_client() && account.packets > 0)
        {
            totals.add(&account, record);
        }
        totals
    }

    /// The server as a whole, but for the workers.
    pub(crate) fn read_server(
        &self,
        live: impl Iterator<Item = (Account, SocketAddr, u32)>,
    ) -> ServerStatus {
        let mut reading = ServerStatus {
            accepted: self.accepted,
            refused_full: self.refused_full,
            refused_hello: self.refused_hello,
            refused_late: self.refused_late,
            refused_raw: self.refused_raw,
            raw: self.raw.clone(),
            ..ServerStatus::default()
        };
        for (account, peer, worker) in live {
            match account.stage {
                Stage::Opening | Stage::Refused => reading.pending += 1,
                _ => reading.admitted += 1,
            }
            if is_shown_as_raw(&account) {
                reading.raw.connections = reading.raw.connections.saturating_add(1);
                reading.raw.packets = reading.raw.packets.saturating_add(account.packets);
                reading.raw.bytes = reading.raw.bytes.saturating_add(account.bytes);
                reading
                    .raw
                    .clients
                    .push(raw_client(&account, peer, worker, true));
            }
        }
        reading.raw.clients.extend(self.raw_ended.iter().cloned());
        reading
    }
}

impl TotalCounters {
    fn add(&mut self, account: &Account, record: &Slot) {
        let sums = [
            (&mut self.received, account.packets),
            (&mut self.corrupt, account.corrupt),
            (&mut self.duplicated, account.duplicated),
            (&mut self.reordered, account.reordered),
            (&mut self.gaps, account.gaps),
        ];
        // What is in the ledger may be anything; a sum that stands still is better than a panic.
        sums.into_iter()
            .for_each(|(sum, amount)| *sum = sum.saturating_add(amount));
        add_times(&mut self.times, record);
    }
}

/// Raw clients, and those of the static run, which has no counters.
fn is_shown_as_raw(account: &Account) -> bool {
    account.is_client() && account.run == 0 || account.is_raw
}

fn raw_client(
    account: &Account,
    peer: SocketAddr,
    worker: u32,
    connected: bool,
) -> RawClientCounters {
    RawClientCounters {
        peer,
        packets: account.packets,
        bytes: account.bytes,
        worker,
        connected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Dimensions, Ledger};

    fn record(counters: &mut RunCounters, account: Account) {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        counters.record_closed(&ClosedConnection {
            account: &account,
            record: &ledger.slots()[0],
            peer: ([127, 0, 0, 1], 1).into(),
            worker: None,
            bytes_taken: None,
        });
    }

    #[test]
    fn a_connection_that_has_ended_is_counted_under_what_it_was() {
        let refused = |refusal: Refusal| Account {
            end: End::Refused,
            refusal: refusal as u8,
            ..Account::default()
        };
        let raw = Account {
            is_raw: true,
            packets: 5,
            ..Account::default()
        };
        let mut counters = RunCounters::default();
        counters.count_accepted();
        for (account, times) in [
            (refused(Refusal::Full), 1),
            (refused(Refusal::Late), 2),
            (refused(Refusal::Raw), 3),
            (refused(Refusal::Hello), 4),
            (Account::default(), 1),
            (raw, 6),
        ] {
            (0..times).for_each(|_| record(&mut counters, account));
        }
        let reading = counters.read_server(std::iter::empty());
        let refused = [
            reading.refused_full,
            reading.refused_late,
            reading.refused_raw,
            reading.refused_hello,
        ];
        assert_eq!(reading.accepted, 1);
        assert_eq!(refused, [1, 2, 3, 5], "one without a hello is a bad hello");
        assert_eq!((reading.raw.connections, reading.raw.packets), (6, 30));
    }

    #[test]
    fn raw_clients_that_have_ended_are_shown_up_to_the_last_hundred() {
        let mut counters = RunCounters::default();
        for packets in 0..150 {
            let account = Account {
                is_raw: true,
                packets,
                ..Account::default()
            };
            record(&mut counters, account);
        }
        let shown = counters.read_server(std::iter::empty()).raw.clients;
        assert_eq!((shown.len(), shown[0].packets), (RAW_ENDED_MAX, 149));
    }

    #[test]
    fn sums_of_a_damaged_ledger_stand_still_at_the_most() {
        let mut counters = RunCounters::default();
        let account = Account {
            attempt: 1,
            packets: u64::MAX,
            ..Account::default()
        };
        (0..2).for_each(|_| record(&mut counters, account));
        assert_eq!(counters.read_totals(std::iter::empty()).received, u64::MAX);
    }
}
