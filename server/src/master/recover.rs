//! A worker is dead: what it had taken but not committed is worked off, and its connections go on.
//!
//! How much it had taken the kernel knows; the bytes lie in the ledger. Clients notice nothing but
//! the wait. The same path serves a worker that was killed because it hung and one that was asked
//! to quit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use metronome_os::{
    clock::now_ns,
    socket::{bytes_put, bytes_taken, receive_into},
};
use tracing::{info, warn};

use super::{Master, Phase, UNREAD_WATCH_NS, books::Ended, seats::Unread, workers};
use crate::{
    ipc::{ConnectionAdmission, ToWorker},
    ledger::{
        BUFFER_BYTES, ConnectionCounters, End, ReleaseStore, Stage, place_partial_frame,
        process_batch, replay,
    },
};

/// Batches that are still read of a connection that is cut: 4 MiB, more than any buffer.
const BATCHES_AFTER_CUT: usize = 64;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
enum Unrecoverable {
    #[error("the kernel does not tell what was taken: {0}")]
    Kernel(#[from] std::io::Error),
    #[error("the kernel says {taken} bytes were taken, the ledger says {committed} were committed")]
    Disagreement { taken: u64, committed: u64 },
    #[error("the ledger's figures contradict each other")]
    Impossible,
    #[error("its data has ended its worker and cannot be worked off here either")]
    Deadly,
}

impl Master {
    /// Takes over from a worker that has ended.
    pub(super) fn recover_worker(
        &mut self,
        worker: usize,
        what: &'static str,
        ended: workers::Ended,
    ) {
        let workers::Ended {
            channel,
            how,
            started_ns,
        } = ended;
        drop(channel);
        let found_ns = now_ns();
        // The beat of one that died before its first is that of the process before it.
        let last_sign_ns = self
            .ledger
            .worker(worker)
            .heartbeat_ns
            .load(Ordering::Acquire)
            .max(started_ns);
        let slots = self.seats.of_worker(Some(worker));
        self.watch_unread_until_ns = found_ns + UNREAD_WATCH_NS;
        let (connections, recovered_before) = (slots.len(), self.recovered_packets);
        self.workers[worker].connections = 0;
        for slot in slots {
            self.note_pause(slot);
            self.recover(slot, worker, last_sign_ns);
        }
        let packets = self.recovered_packets - recovered_before;
        if self.is_stopping || self.phase == Phase::Leaving {
            return info!("{how}; {packets} packets were worked off for it");
        }
        let pause_us = now_ns().saturating_sub(found_ns) / 1_000;
        let text = format!(
            "{how}; its {connections} connections went on elsewhere after {pause_us} us, {packets} packets were worked off for it"
        );
        warn!("{text}");
        self.books.note_incident(found_ns, what, &text);
    }

    fn recover(&mut self, slot: u32, worker: usize, last_sign_ns: u64) {
        let Some(committed) = self
            .ledger
            .slots()
            .get(slot as usize)
            .and_then(crate::ledger::Slot::counters)
        else {
            return;
        };
        self.credit(slot, &committed, Some(worker));
        let mut connection_counters = committed;
        if let Err(error) = self.replay_left(slot, &mut connection_counters) {
            warn!(slot, "a connection is lost with its worker: {error}");
            let text = format!(
                "client {} was lost with worker {worker}: {error}",
                connection_counters.client
            );
            self.books
                .note_incident(now_ns(), "client lost with its worker", &text);
            connection_counters = committed;
            connection_counters.end = End::Unrecoverable;
            connection_counters.stage = Stage::Closed;
            self.connections_lost = self.connections_lost.saturating_add(1);
        }
        self.ledger.slots()[slot as usize].commit(&connection_counters, &ReleaseStore);
        if connection_counters.stage != Stage::Closed
            && self.seats.get(slot).is_some_and(|seat| seat.is_cut)
        {
            self.end_unread(slot, &mut connection_counters);
        }
        self.credit(slot, &connection_counters, None);
        if connection_counters.stage == Stage::Closed {
            self.finish(slot);
        } else {
            // What it had read and not committed ends the pause that a death before this one began.
            self.note_pause(slot);
            let opened_ns = self.ledger.slots()[slot as usize]
                .header
                .opened_ns
                .load(Ordering::Acquire);
            let unread = Unread {
                since_ns: last_sign_ns.max(opened_ns),
                last_batch_ns: connection_counters.last_batch_ns,
            };
            if self
                .seats
                .get_mut(slot)
                .is_some_and(|seat| seat.go_unread(unread))
            {
                self.unread.push(slot);
            }
            self.place(slot);
        }
    }

    fn replay_left(
        &mut self,
        slot: u32,
        connection_counters: &mut ConnectionCounters,
    ) -> Result<(), Unrecoverable> {
        if connection_counters.stage == Stage::Closed {
            return Ok(());
        }
        if !connection_counters.is_possible() {
            return Err(Unrecoverable::Impossible);
        }
        let Some(seat) = self.seats.get(slot) else {
            return Ok(());
        };
        let committed = connection_counters.bytes;
        let taken = bytes_taken(&seat.socket)?;
        let left = taken
            .checked_sub(committed)
            .and_then(|left| usize::try_from(left).ok());
        let room = BUFFER_BYTES - usize::from(connection_counters.partial_frame_bytes);
        let left = left
            .filter(|left| *left <= room)
            .ok_or(Unrecoverable::Disagreement { taken, committed })?;
        if left > 0 {
            let record = &self.ledger.slots()[slot as usize];
            let admission = ConnectionAdmission {
                admission_keys: &self.admission_keys,
                ledger: &self.ledger,
                slot,
                generation: seat.generation,
            };
            // What ended the worker may be a fault of ours in this very code: then it costs this
            // one client, not the server.
            let resumed = catch_unwind(AssertUnwindSafe(|| {
                replay(
                    record,
                    connection_counters,
                    left,
                    now_ns(),
                    &admission,
                    &ReleaseStore,
                )
            }));
            resumed.map_err(|_| Unrecoverable::Deadly)?;
        }
        let put = bytes_put(&seat.socket)?.saturating_sub(seat.put_at_start);
        connection_counters.reply_bytes_sent = put.min(connection_counters.reply_bytes_queued).max(
            connection_counters
                .reply_bytes_sent
                .min(connection_counters.reply_bytes_queued),
        );
        Ok(())
    }

    /// Puts the packets that are new in `account` down to whoever counted them.
    fn credit(
        &mut self,
        slot: u32,
        connection_counters: &ConnectionCounters,
        worker: Option<usize>,
    ) {
        let Some(seat) = self.seats.get_mut(slot) else {
            return;
        };
        let packets = connection_counters
            .packets
            .saturating_sub(seat.credited_packets);
        seat.credited_packets = connection_counters.packets;
        match worker {
            Some(worker) => {
                let sum = &mut self.workers[worker].packets;
                *sum = sum.saturating_add(packets);
            }
            None => self.recovered_packets = self.recovered_packets.saturating_add(packets),
        }
        self.books.credit(connection_counters, worker, packets);
    }

    /// Books a connection whose account is closed and frees all it had.
    pub(super) fn finish(&mut self, slot: u32) {
        let Some(connection_counters) = self
            .ledger
            .slots()
            .get(slot as usize)
            .and_then(crate::ledger::Slot::counters)
        else {
            return;
        };
        let Some(worker) = self.seats.get(slot).map(|seat| seat.worker) else {
            return;
        };
        self.credit(slot, &connection_counters, worker);
        let Some(seat) = self.seats.vacate(slot) else {
            return;
        };
        self.books.book(&Ended {
            connection_counters: &connection_counters,
            record: &self.ledger.slots()[slot as usize],
            peer: seat.peer,
            worker,
            bytes_taken: bytes_taken(&seat.socket).ok(),
        });
        self.leave_seat(slot, seat.generation, &connection_counters);
        if let Err(error) = self.ledger.clear_slot(slot as usize) {
            warn!(slot, "the ledger's memory cannot be freed: {error}");
        }
        self.has_finished = true;
    }

    /// Notes how long each connection went unread that is read again.
    pub(super) fn note_pauses(&mut self) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|slot| !self.note_pause(*slot));
        self.unread = unread;
    }

    /// Notes the pause of a connection if it is over. False while it is not.
    fn note_pause(&mut self, slot: u32) -> bool {
        // The seat first: looking at the ledger of one that is free again would give it memory.
        let Some(seat) = self.seats.get_mut(slot) else {
            return true;
        };
        let Some(unread) = seat.unread else {
            return true;
        };
        let connection_counters = self
            .ledger
            .slots()
            .get(slot as usize)
            .and_then(crate::ledger::Slot::counters);
        let Some(connection_counters) = connection_counters
            .filter(|connection_counters| connection_counters.last_batch_ns > unread.last_batch_ns)
        else {
            return false;
        };
        seat.unread = None;
        self.pauses.record(
            connection_counters
                .last_batch_ns
                .saturating_sub(unread.since_ns),
        );
        true
    }

    /// Connections that found no worker go to the ones that serve now.
    pub(super) fn place_waiting(&mut self) {
        for slot in self.seats.of_worker(None) {
            self.place(slot);
        }
    }

    /// Ends a connection: its worker works off what is there and lets go.
    pub(super) fn cut(&mut self, slot: u32) {
        let Some(seat) = self.seats.get_mut(slot) else {
            return;
        };
        seat.is_cut = true;
        let generation = seat.generation;
        match seat.worker {
            Some(worker) => self.say(worker, ToWorker::Cut { slot, generation }, None),
            None => {
                let Some(mut connection_counters) = self
                    .ledger
                    .slots()
                    .get(slot as usize)
                    .and_then(crate::ledger::Slot::counters)
                else {
                    return;
                };
                self.end_unread(slot, &mut connection_counters);
                self.credit(slot, &connection_counters, None);
                self.finish(slot);
            }
        }
    }

    /// Works off what still lies in the socket of a connection that no worker reads, and closes its
    /// account.
    fn end_unread(&mut self, slot: u32, connection_counters: &mut ConnectionCounters) {
        let Some(seat) = self.seats.get(slot) else {
            return;
        };
        let record = &self.ledger.slots()[slot as usize];
        let admission = ConnectionAdmission {
            admission_keys: &self.admission_keys,
            ledger: &self.ledger,
            slot,
            generation: seat.generation,
        };
        for _ in 0..BATCHES_AFTER_CUT {
            let at = place_partial_frame(record, connection_counters, &ReleaseStore);
            match receive_into(&seat.socket, &record.buffer.0, at) {
                Ok(taken) if taken > 0 => process_batch(
                    record,
                    connection_counters,
                    taken,
                    now_ns(),
                    &admission,
                    &ReleaseStore,
                ),
                _ => break,
            }
        }
        connection_counters.end = connection_counters.end_of_cut();
        connection_counters.stage = Stage::Closed;
        record.commit(connection_counters, &ReleaseStore);
    }
}
