//! One connection as its worker reads it: bytes in, account committed, replies out.
//!
//! What the bytes mean is decided in `ledger::work`. Here is only what needs the socket: when to
//! receive, what to write, and how it ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use metronome_os::{clock::now_ns, socket::receive_into};
use metronome_proto::{handshake::Refusal, packet::FRAME_BYTES, run_id::RunId};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use crate::ledger::{
    Account, BUFFER_BYTES, End, Gate, Gates, Ink, Ledger, OUTBOX_FRAMES, Slot, Stage, place_rest,
    refuse, work,
};

/// For the whole hello, from the accept on.
const HELLO_TIME_NS: u64 = 5_000_000_000;

/// For the peer to close after its end-ack.
const CLOSE_TIME_NS: u64 = 5_000_000_000;

/// For the peer to read a refusal before the connection is closed under it.
const REFUSAL_TIME_NS: u64 = 1_000_000_000;

/// Batches that are still read when the master cuts a connection: 4 MiB, more than any buffer.
const BATCHES_AFTER_CUT: usize = 64;

/// A connection that this worker reads.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Where it waits: among those that nobody knows, or among the clients.
    pub(super) is_in_lobby: bool,
    account: Account,
    /// When it is ended if nothing happens before; `u64::MAX` for never.
    deadline_ns: u64,
}

/// What one receive brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reading {
    /// When it was, ns; 0 when nothing had come, not even an end.
    pub(super) at_ns: u64,
    /// Bytes taken from the socket.
    pub(super) bytes: usize,
    /// All the space given was filled, so there is likely to be more.
    pub(super) is_full: bool,
    pub(super) next: Next,
}

impl Reading {
    /// No bytes.
    fn empty(at_ns: u64, next: Next) -> Self {
        Self {
            at_ns,
            bytes: 0,
            is_full: false,
            next,
        }
    }
}

/// What becomes of a connection after an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// It stays as it is.
    Read,
    /// Part of a reply could not be written: wake for that as well.
    ReadAndWrite,
    /// The account says how it ended; let go of it.
    LetGo,
}

impl Connection {
    /// Takes a connection over where its account in the ledger stands: at its very beginning, or
    /// where another worker left off.
    pub(super) fn adopt(
        socket: OwnedFd,
        slot: u32,
        generation: u32,
        record: &Slot,
    ) -> Option<Self> {
        let account = record.account()?;
        let opened_ns = record
            .lease
            .opened_ns
            .load(std::sync::atomic::Ordering::Acquire);
        let mut connection = Self {
            socket,
            slot,
            generation,
            is_in_lobby: false,
            account,
            deadline_ns: u64::MAX,
        };
        connection.is_in_lobby = connection.is_stranger();
        connection.deadline_ns = connection.deadline(opened_ns, now_ns());
        Some(connection)
    }

    /// Receives once and works it off.
    pub(super) fn read(&mut self, ledger: &Ledger, gates: &Gates) -> Reading {
        let Some(record) = ledger.slots().get(self.slot as usize) else {
            return Reading::empty(0, Next::LetGo);
        };
        let at = place_rest(record, &self.account, &Ink);
        match receive_into(&self.socket, &record.buffer.0, at) {
            Ok(0) => Reading::empty(now_ns(), self.end_of_stream(record)),
            Ok(taken) => {
                let read_ns = now_ns();
                let gate = Gate {
                    gates,
                    ledger,
                    slot: self.slot,
                    generation: self.generation,
                };
                let stage = self.account.stage;
                work(record, &mut self.account, taken, read_ns, &gate, &Ink);
                if self.account.stage != stage {
                    self.deadline_ns = self.deadline(read_ns, read_ns);
                }
                let is_full = at + taken == BUFFER_BYTES;
                Reading {
                    at_ns: read_ns,
                    bytes: taken,
                    is_full,
                    next: self.pay(record),
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                    Reading::empty(0, Next::Read)
                }
                _ => Reading::empty(now_ns(), self.end(record, End::Broken)),
            },
        }
    }

    /// Writes what is owed, as far as the socket takes it.
    #[inline]
    pub(super) fn pay(&mut self, record: &Slot) -> Next {
        if self.account.written >= self.account.owed {
            Next::Read
        } else {
            self.pay_rest(record)
        }
    }

    fn pay_rest(&mut self, record: &Slot) -> Next {
        let (from, to) = (self.account.written, self.account.owed);
        let mut frames = [[0; FRAME_BYTES]; OUTBOX_FRAMES];
        let first = from - from % FRAME_BYTES as u64;
        let starts = (first..to).step_by(FRAME_BYTES);
        let count = frames
            .iter_mut()
            .zip(starts)
            .map(|(frame, at)| *frame = record.outgoing(at))
            .count();
        let bytes = &frames[..count].as_flattened()[(from - first) as usize..];
        match send(
            &self.socket,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(sent) => {
                self.account.written += sent as u64;
                record.commit(&self.account, &Ink);
                if self.account.written < self.account.owed {
                    Next::ReadAndWrite
                } else {
                    self.paid()
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Next::ReadAndWrite,
            Err(_) => self.end(record, End::Broken),
        }
    }

    fn paid(&self) -> Next {
        if self.account.stage == Stage::Refused {
            // The peer sees the refusal and then the end; closing now could reset it away.
            let _ = shutdown(&self.socket, Shutdown::Write);
        }
        Next::Read
    }

    /// It has not said who it is, or was refused.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(self.account.stage, Stage::Opening | Stage::Refused)
    }

    /// It waits in the lobby and is known by now.
    #[inline]
    pub(super) fn is_to_be_let_in(&self) -> bool {
        self.is_in_lobby
            && matches!(
                self.account.stage,
                Stage::Packets | Stage::Raw | Stage::Ended
            )
    }

    /// Whether its time is up.
    pub(super) fn is_overdue(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns
    }

    /// Ends it, since its time is up.
    pub(super) fn end_overdue(&mut self, ledger: &Ledger, gates: &Gates, now_ns: u64) -> Next {
        let Some(record) = ledger.slots().get(self.slot as usize) else {
            return Next::LetGo;
        };
        match self.account.stage {
            Stage::Opening => self.end_opening(record, ledger, gates, now_ns),
            Stage::Ended if self.account.written == self.account.owed => {
                self.end(record, End::Clean)
            }
            Stage::Refused => self.end(record, End::Refused),
            _ => self.end(record, End::Broken),
        }
    }

    /// Refuses a peer whose hello has not come in time. One whose hello is there and was not read
    /// yet was in time: it is we who are late, on a busy machine or between two workers.
    fn end_opening(&mut self, record: &Slot, ledger: &Ledger, gates: &Gates, now_ns: u64) -> Next {
        let Reading { next, .. } = self.read(ledger, gates);
        if next == Next::LetGo || self.account.stage != Stage::Opening {
            return next;
        }
        refuse(record, &mut self.account, Refusal::Late, &Ink);
        self.deadline_ns = self.deadline(now_ns, now_ns);
        record.commit(&self.account, &Ink);
        self.pay(record)
    }

    /// Reads what is there and ends it, because the master says so.
    pub(super) fn cut(&mut self, ledger: &Ledger, gates: &Gates) {
        for _ in 0..BATCHES_AFTER_CUT {
            match self.read(ledger, gates) {
                Reading {
                    next: Next::LetGo, ..
                } => return,
                Reading { at_ns: 0, .. } => break,
                _ => {}
            }
        }
        if let Some(record) = ledger.slots().get(self.slot as usize) {
            self.end(record, self.account.end_of_cut());
        }
    }

    /// Whether it is a client of a run.
    pub(super) fn is_of(&self, run: RunId) -> bool {
        self.account.is_client() && self.account.run == run.bits()
    }

    /// Tells the peer that this is the end. Our copy of the socket closes on return; the master's
    /// keeps the connection until it has heard that we let go.
    pub(super) fn let_go(self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    fn end_of_stream(&mut self, record: &Slot) -> Next {
        match self.account.stage {
            Stage::Ended => {
                if self.pay(record) == Next::ReadAndWrite {
                    return Next::ReadAndWrite;
                }
                self.end(record, End::Clean)
            }
            Stage::Raw => self.end(record, End::Clean),
            Stage::Refused => self.end(record, End::Refused),
            _ => self.end(record, End::Abrupt),
        }
    }

    fn end(&mut self, record: &Slot, end: End) -> Next {
        if self.account.stage != Stage::Closed {
            self.account.stage = Stage::Closed;
            self.account.end = end;
            record.commit(&self.account, &Ink);
        }
        Next::LetGo
    }

    fn deadline(&self, opened_ns: u64, now_ns: u64) -> u64 {
        match self.account.stage {
            Stage::Opening => opened_ns.saturating_add(HELLO_TIME_NS),
            Stage::Ended => now_ns + CLOSE_TIME_NS,
            Stage::Refused => now_ns + REFUSAL_TIME_NS,
            Stage::Packets | Stage::Raw => u64::MAX,
            Stage::Closed => 0,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixStream, sync::atomic::Ordering};

    use super::*;
    use crate::ledger::Dimensions;

    /// A connection that was accepted when the clock began, so that its time is long up, and its
    /// peer.
    fn overdue(ledger: &Ledger) -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        ledger.raw_seats().store(1, Ordering::Release);
        let record = &ledger.slots()[0];
        record.lease.opened_ns.store(1, Ordering::Release);
        (
            Connection::adopt(ours.into(), 0, 1, record).unwrap(),
            theirs,
        )
    }

    #[test]
    fn a_first_packet_that_waits_to_be_read_when_time_is_up_was_in_time() {
        let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
        let gates = Gates::new(true);
        let (mut connection, mut peer) = overdue(&ledger);
        peer.write_all(&[b'x'; 70]).unwrap();
        assert!(connection.is_overdue(now_ns()) && connection.is_stranger());
        assert_eq!(
            connection.end_overdue(&ledger, &gates, now_ns()),
            Next::Read
        );
        assert_eq!(
            (connection.account.stage, connection.account.packets),
            (Stage::Raw, 2)
        );
        assert!(!connection.is_overdue(now_ns()) && !connection.is_stranger());
    }

    #[test]
    fn a_peer_that_has_said_nothing_or_half_a_hello_when_time_is_up_is_refused_late() {
        for said in [&[][..], &metronome_proto::packet::MAGIC[..]] {
            let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
            let gates = Gates::new(true);
            let (mut connection, mut peer) = overdue(&ledger);
            peer.write_all(said).unwrap();
            assert_eq!(
                connection.end_overdue(&ledger, &gates, now_ns()),
                Next::Read
            );
            assert_eq!(connection.account.stage, Stage::Refused, "{said:?}");
            assert!(
                !connection.is_overdue(now_ns()),
                "it has a moment to read that"
            );
            assert_eq!(connection.account.refusal, Refusal::Late as u8);
            let mut answer = [0; FRAME_BYTES];
            std::io::Read::read_exact(&mut peer, &mut answer).unwrap();
            assert_eq!(answer, Refusal::Late.encode());
        }
    }
}
