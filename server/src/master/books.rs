//! The master's books: what the ledger said of connections that have ended, by run, and what it
//! says of those that have not.
//!
//! A connection is booked exactly once, after its worker has let go of it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use metronome_proto::{handshake::Refusal, histogram::Histogram, run_id::RunId};
use serde::{Deserialize, Serialize};

use super::request::{
    Admission, ClientCount, Incident, RawClientReading, RawReading, Reply, RunReading, RunRecord,
    ServerReading, SlowOfRun, Times, Totals, WorkerCount,
};
use crate::ledger::{Account, End, SLOWEST_KEPT, Slot, Stage};

/// Raw clients that have ended and are still shown.
const RAW_ENDED_MAX: usize = 100;

/// Incidents kept per run; the rest is a number.
const INCIDENTS_MAX: usize = 100;

/// All books. A successor gets them as they are.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Books {
    pub(super) runs: BTreeMap<RunId, RunBook>,
    pub(super) accepted: u64,
    pub(super) refused_full: u64,
    refused_hello: u64,
    refused_late: u64,
    refused_raw: u64,
    raw: RawReading,
    raw_ended: VecDeque<RawClientReading>,
    /// Of the clients that have ended, of all runs.
    totals: Totals,
}

/// A connection that has ended, as it is booked.
pub(super) struct Ended<'a> {
    pub(super) account: &'a Account,
    pub(super) record: &'a Slot,
    pub(super) peer: SocketAddr,
    /// The worker that read it last.
    pub(super) worker: Option<usize>,
    /// Bytes ever taken off its socket, as the kernel says.
    pub(super) bytes_taken: Option<u64>,
}

/// The book of an admitted run.
#[derive(Deserialize, Serialize)]
pub(super) struct RunBook {
    /// Clients that it has places for.
    clients_max: u32,
    /// Row of its seats in the ledger.
    pub(super) row: usize,
    /// The workers as they were when the run was admitted.
    baseline: Vec<WorkerCount>,
    /// By index, with the attempt that was booked.
    clients: BTreeMap<u32, (u8, ClientCount)>,
    times: Times,
    received: u64,
    corrupt: u64,
    /// Packets of the run by worker.
    worker_packets: Vec<u64>,
    pub(super) recovered_packets: u64,
    incidents: Vec<Incident>,
    slowest: Vec<SlowOfRun>,
    /// Set once the run is to end. No server hands over before it has.
    #[serde(skip)]
    pub(super) closing: Option<Reply<Option<RunRecord>>>,
}

impl Books {
    /// Opens the book of a run.
    pub(super) fn open(&mut self, admission: &Admission, row: usize, baseline: Vec<WorkerCount>) {
        let book = RunBook {
            clients_max: admission.clients,
            row,
            worker_packets: vec![0; baseline.len()],
            baseline,
            clients: BTreeMap::new(),
            times: Times::default(),
            received: 0,
            corrupt: 0,
            recovered_packets: 0,
            incidents: Vec::new(),
            slowest: Vec::new(),
            closing: None,
        };
        self.runs.insert(admission.run, book);
    }

    /// Clients that the running runs have places for.
    pub(super) fn reserved_clients(&self) -> u32 {
        self.runs
            .values()
            .fold(0, |sum, book| sum.saturating_add(book.clients_max))
    }

    /// A run is to end and has connections left.
    pub(super) fn has_closing(&self) -> bool {
        self.runs.values().any(|book| book.closing.is_some())
    }

    /// Puts packets down to a worker, or to the master when it worked them off itself.
    pub(super) fn credit(&mut self, account: &Account, worker: Option<usize>, packets: u64) {
        let Some(book) = self.run_of(account) else {
            return;
        };
        match worker.and_then(|worker| book.worker_packets.get_mut(worker)) {
            Some(sum) => *sum = sum.saturating_add(packets),
            None => book.recovered_packets = book.recovered_packets.saturating_add(packets),
        }
    }

    /// Notes something that went wrong in the time of every run.
    pub(super) fn note_incident(&mut self, at_ns: u64, what: &'static str, text: &str) {
        for book in self
            .runs
            .values_mut()
            .filter(|book| book.incidents.len() < INCIDENTS_MAX)
        {
            book.incidents.push(Incident {
                at_ns,
                what: what.into(),
                text: text.to_owned(),
            });
        }
    }

    /// Books a connection that has ended.
    pub(super) fn book(&mut self, ended: &Ended<'_>) {
        let Ended {
            account,
            record,
            peer,
            worker,
            bytes_taken,
        } = *ended;
        let worker = worker.map_or(u32::MAX, |worker| worker as u32);
        if account.is_client() {
            self.totals.add(account, record);
        }
        if account.end == End::Refused {
            self.book_refusal(account.refusal);
        } else if let Some(book) = self.run_of(account) {
            book.book(account, record, worker, bytes_taken);
        } else if is_shown_as_raw(account) {
            self.raw.connections = self.raw.connections.saturating_add(1);
            self.raw.packets = self.raw.packets.saturating_add(account.packets);
            self.raw.bytes = self.raw.bytes.saturating_add(account.bytes);
            self.raw_ended
                .push_front(raw_client(account, peer, worker, false));
            self.raw_ended.truncate(RAW_ENDED_MAX);
        } else {
            // It ended before it had said anything that decides what it is.
            self.refused_hello = self.refused_hello.saturating_add(1);
        }
    }

    fn book_refusal(&mut self, code: u8) {
        let counter = match code {
            code if code == Refusal::Full as u8 => &mut self.refused_full,
            code if code == Refusal::Late as u8 => &mut self.refused_late,
            code if code == Refusal::Raw as u8 => &mut self.refused_raw,
            _ => &mut self.refused_hello,
        };
        *counter = counter.saturating_add(1);
    }

    fn run_of(&mut self, account: &Account) -> Option<&mut RunBook> {
        account
            .is_client()
            .then(|| self.runs.get_mut(&RunId::from_bits(account.run)))
            .flatten()
    }

    /// How a run stands: its book, and the connections that have not ended.
    pub(super) fn read_run<'a>(
        &self,
        run: RunId,
        histograms: bool,
        live: impl Iterator<Item = (Account, &'a Slot)>,
    ) -> Option<RunReading> {
        let book = self.runs.get(&run)?;
        let mut reading = RunReading {
            connected: 0,
            ended: book.clients.len() as u32,
            received: book.received,
            corrupt: book.corrupt,
            times: histograms.then(|| book.times.clone()),
        };
        for (account, record) in
            live.filter(|(account, _)| account.is_client() && account.run == run.bits())
        {
            match account.stage {
                Stage::Packets | Stage::Ended => reading.connected += 1,
                _ => reading.ended += 1,
            }
            reading.received = reading.received.saturating_add(account.packets);
            reading.corrupt = reading.corrupt.saturating_add(account.corrupt);
            // An idle client has no times, and looking at its histograms would cost memory.
            if let Some(times) = reading.times.as_mut().filter(|_| account.packets > 0) {
                add_times(times, record);
            }
        }
        Some(reading)
    }

    /// What all clients have sent, those that have ended and those that have not.
    pub(super) fn read_totals<'a>(
        &self,
        live: impl Iterator<Item = (Account, &'a Slot)>,
    ) -> Totals {
        let mut totals = self.totals.clone();
        for (account, record) in
            live.filter(|(account, _)| account.is_client() && account.packets > 0)
        {
            totals.add(&account, record);
        }
        totals
    }

    /// The server as a whole, but for the workers.
    pub(super) fn read_server(
        &self,
        live: impl Iterator<Item = (Account, SocketAddr, u32)>,
    ) -> ServerReading {
        let mut reading = ServerReading {
            accepted: self.accepted,
            refused_full: self.refused_full,
            refused_hello: self.refused_hello,
            refused_late: self.refused_late,
            refused_raw: self.refused_raw,
            raw: self.raw.clone(),
            ..ServerReading::default()
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

impl RunBook {
    fn book(&mut self, account: &Account, record: &Slot, worker: u32, bytes_taken: Option<u64>) {
        let client = u32::from(account.client);
        self.received = self.received.saturating_add(account.packets);
        self.corrupt = self.corrupt.saturating_add(account.corrupt);
        add_times(&mut self.times, record);
        self.slowest
            .extend(record.slowest().map(|packet| SlowOfRun {
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
            .is_some_and(|(attempt, _)| *attempt > account.attempt);
        if !is_older {
            self.clients.insert(
                client,
                (
                    account.attempt,
                    client_count(account, record, worker, bytes_taken),
                ),
            );
        }
    }

    /// The final record; `now` are the workers as they are.
    pub(super) fn into_record(self, now: &[WorkerCount]) -> RunRecord {
        let since_baseline = |(index, now): (usize, &WorkerCount)| {
            let before = self.baseline.get(index).copied().unwrap_or_default();
            WorkerCount {
                packets: self.worker_packets.get(index).copied().unwrap_or(0),
                cpu_ns: now.cpu_ns.saturating_sub(before.cpu_ns),
                reads: now.reads.saturating_sub(before.reads),
                wakeups: now.wakeups.saturating_sub(before.wakeups),
                pauses: now.pauses.saturating_sub(before.pauses),
                paused_ns: now.paused_ns.saturating_sub(before.paused_ns),
                ..*now
            }
        };
        RunRecord {
            clients: self.clients.into_values().map(|(_, count)| count).collect(),
            workers: now.iter().enumerate().map(since_baseline).collect(),
            times: self.times,
            recovered_packets: self.recovered_packets,
            incidents: self.incidents,
            slowest: self.slowest,
        }
    }
}

impl Totals {
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

/// Raw clients, and those of the standing run, which has no book.
fn is_shown_as_raw(account: &Account) -> bool {
    account.is_client() && account.run == 0 || account.is_raw
}

fn raw_client(
    account: &Account,
    peer: SocketAddr,
    worker: u32,
    connected: bool,
) -> RawClientReading {
    RawClientReading {
        peer,
        packets: account.packets,
        bytes: account.bytes,
        worker,
        connected,
    }
}

fn client_count(
    account: &Account,
    record: &Slot,
    worker: u32,
    bytes_taken: Option<u64>,
) -> ClientCount {
    let [lateness, transit, latency] = std::array::from_fn(|index| histogram(record, index));
    ClientCount {
        client: u32::from(account.client),
        worker,
        received: account.packets,
        gaps: account.gaps,
        duplicated: account.duplicated,
        reordered: account.reordered,
        corrupt: account.corrupt,
        digest: account.digest,
        told_sent: account.has_end.then_some(account.told_sent),
        first_read_ns: account.first_read_ns,
        last_read_ns: account.last_read_ns,
        first_due_ns: account.first_due_ns,
        last_due_ns: account.last_due_ns,
        acausal: account.acausal,
        next_sequence: account.next_sequence,
        bytes: account.bytes,
        bytes_taken,
        histogram_counts: [lateness.count(), transit.count(), latency.count()],
        lateness_p99_ns: lateness.quantile_ns(0.99),
        lateness_p99_9_ns: lateness.quantile_ns(0.999),
        transit_p99_ns: transit.quantile_ns(0.99),
        latency_p99_ns: latency.quantile_ns(0.99),
        latency_max_ns: latency.quantile_ns(1.0),
        rest_bytes: u32::from(account.rest_bytes),
        error: error_of(account),
    }
}

fn error_of(account: &Account) -> Option<String> {
    let text = match account.end {
        End::Clean => return None,
        End::NotYet => "it had not ended when it was booked",
        End::Abrupt => "the client closed the connection without an end",
        End::Broken => "the connection broke",
        End::Cut => "the connection was still open when the run was closed",
        End::Refused => "the server refused it",
        End::Unrecoverable => "its worker died and what it left behind could not be worked off",
    };
    let rest = account.rest_bytes;
    Some(if rest == 0 {
        text.to_owned()
    } else {
        format!("{text}, {rest} bytes into a packet")
    })
}

fn histogram(record: &Slot, index: usize) -> Histogram {
    let mut histogram = Histogram::default();
    record
        .counts(index)
        .for_each(|(bucket, count)| histogram.add_count(bucket, count));
    histogram
}

fn add_times(times: &mut Times, record: &Slot) {
    for (index, sum) in [&mut times.lateness, &mut times.transit, &mut times.latency]
        .into_iter()
        .enumerate()
    {
        record
            .counts(index)
            .for_each(|(bucket, count)| sum.add_count(bucket, count));
    }
}
