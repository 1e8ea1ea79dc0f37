//! A worker is dead: what it had taken but not committed is worked off, and its connections go on.
//!
//! How much it had taken the kernel knows; the bytes lie in the ledger. Clients notice nothing but
//! the wait. The same path serves a worker that was killed because it hung and one that was asked
//! to quit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use tracing::{info, warn};

use super::{Master, seats::Unread};
use crate::{
    ledger::{Account, BUFFER_BYTES, End, Gate, Ink, Stage, ToWorker, resume},
    sys::{
        clock::now_ns,
        socket::{bytes_put, bytes_taken},
    },
};

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
enum Unrecoverable {
    #[error("the kernel does not tell what was taken: {0}")]
    Kernel(#[from] std::io::Error),
    #[error("the kernel says {taken} bytes were taken, the ledger says {committed} were committed")]
    Disagreement { taken: u64, committed: u64 },
    #[error("its data has ended its worker and cannot be worked off here either")]
    Deadly,
}

impl Master {
    /// Takes over from a worker that has ended.
    pub(super) fn recover_worker(&mut self, worker: usize, how: &str) {
        let found_ns = now_ns();
        let last_sign_ns = self.ledger.worker(worker).heartbeat_ns.load(Ordering::Acquire);
        let slots = self.seats.of_worker(Some(worker));
        let (connections, recovered_before) = (slots.len(), self.recovered_packets);
        self.workers[worker].connections = 0;
        for slot in slots {
            self.note_pause(slot);
            self.recover(slot, worker, last_sign_ns);
        }
        let packets = self.recovered_packets - recovered_before;
        let pause_us = now_ns().saturating_sub(found_ns) / 1_000;
        let text = format!(
            "{how}; its {connections} connections went on elsewhere after {pause_us} us, {packets} packets were worked off for it"
        );
        if self.is_stopping {
            info!("{text}");
        } else {
            warn!("{text}");
            self.books.note_incident(&text);
        }
    }

    fn recover(&mut self, slot: u32, worker: usize, last_sign_ns: u64) {
        let Some(committed) = self.ledger.slots().get(slot as usize).and_then(crate::ledger::Slot::account) else {
            return;
        };
        self.credit(slot, &committed, Some(worker));
        let mut account = committed;
        if let Err(error) = self.work_off(slot, &mut account) {
            warn!(slot, "a connection is lost with its worker: {error}");
            self.books.note_incident(&format!("client {} was lost with worker {worker}: {error}", account.client));
            account = committed;
            account.end = End::Unrecoverable;
            account.stage = Stage::Closed;
            self.connections_lost += 1;
        }
        self.credit(slot, &account, None);
        let is_cut = self.seats.get(slot).is_some_and(|seat| seat.is_cut);
        if is_cut && account.stage != Stage::Closed {
            account.end = End::Cut;
            account.stage = Stage::Closed;
        }
        self.ledger.slots()[slot as usize].commit(&account, &Ink);
        if account.stage == Stage::Closed {
            self.finish(slot);
        } else {
            if let Some(seat) = self.seats.get_mut(slot) {
                seat.unread = Some(Unread { since_ns: last_sign_ns, worked_ns: account.worked_ns });
            }
            self.place(slot);
        }
    }

    fn work_off(&mut self, slot: u32, account: &mut Account) -> Result<(), Unrecoverable> {
        if account.stage == Stage::Closed {
            return Ok(());
        }
        let Some(seat) = self.seats.get(slot) else { return Ok(()) };
        let committed = account.bytes;
        let taken = bytes_taken(&seat.socket)?;
        let left = taken.checked_sub(committed).and_then(|left| usize::try_from(left).ok());
        let room = BUFFER_BYTES - usize::from(account.rest_bytes);
        let left = left.filter(|left| *left <= room).ok_or(Unrecoverable::Disagreement { taken, committed })?;
        if left > 0 {
            let record = &self.ledger.slots()[slot as usize];
            let gate = Gate { gates: &self.gates, ledger: &self.ledger, slot, generation: seat.generation };
            // What ended the worker may be a fault of ours in this very code: then it costs this one
            // client, not the server.
            let resumed = catch_unwind(AssertUnwindSafe(|| resume(record, account, left, now_ns(), &gate, &Ink)));
            resumed.map_err(|_| Unrecoverable::Deadly)?;
        }
        let put = bytes_put(&seat.socket)?.saturating_sub(seat.put_at_start);
        account.written = put.min(account.owed).max(account.written.min(account.owed));
        Ok(())
    }

    /// Puts the packets that are new in `account` down to whoever counted them.
    fn credit(&mut self, slot: u32, account: &Account, worker: Option<usize>) {
        let Some(seat) = self.seats.get_mut(slot) else { return };
        let packets = account.packets.saturating_sub(seat.credited_packets);
        seat.credited_packets = account.packets;
        match worker {
            Some(worker) => self.workers[worker].packets += packets,
            None => self.recovered_packets += packets,
        }
        self.books.credit(account, worker, packets);
    }

    /// Books a connection whose account is closed and frees all it had.
    pub(super) fn finish(&mut self, slot: u32) {
        let Some(account) = self.ledger.slots().get(slot as usize).and_then(crate::ledger::Slot::account) else {
            return;
        };
        let Some(worker) = self.seats.get(slot).map(|seat| seat.worker) else { return };
        self.credit(slot, &account, worker);
        let Some(seat) = self.seats.vacate(slot) else { return };
        self.books.book(&account, &self.ledger.slots()[slot as usize], seat.peer, worker);
        self.leave_seat(slot, seat.generation, &account);
        if let Err(error) = self.ledger.clear_slot(slot as usize) {
            warn!(slot, "the ledger's memory cannot be freed: {error}");
        }
        self.answer_closed_runs();
    }

    /// Notes how long each connection went unread that is read again.
    pub(super) fn note_pauses(&mut self) {
        let unread = self.seats.all().filter(|(_, seat)| seat.unread.is_some());
        for slot in unread.map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.note_pause(slot);
        }
    }

    fn note_pause(&mut self, slot: u32) {
        let Some(account) = self.ledger.slots().get(slot as usize).and_then(crate::ledger::Slot::account) else {
            return;
        };
        let Some(seat) = self.seats.get_mut(slot) else { return };
        if let Some(unread) = seat.unread.filter(|unread| account.worked_ns > unread.worked_ns) {
            seat.unread = None;
            self.pauses.record(account.worked_ns.saturating_sub(unread.since_ns));
        }
    }

    /// Connections that found no worker go to the ones that serve now.
    pub(super) fn place_waiting(&mut self) {
        for slot in self.seats.of_worker(None) {
            self.place(slot);
        }
    }

    /// Ends a connection: its worker works off what is there and lets go.
    pub(super) fn cut(&mut self, slot: u32) {
        let Some(seat) = self.seats.get_mut(slot) else { return };
        seat.is_cut = true;
        let generation = seat.generation;
        if let Some(worker) = seat.worker {
            self.say(worker, ToWorker::Cut { slot, generation }, None);
        }
    }
}
